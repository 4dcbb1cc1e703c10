-- The name of this store as long as it keeps its data.
call('SET', p .. 'epoch', arg(), 'NX')
return call('GET', p .. 'epoch')
