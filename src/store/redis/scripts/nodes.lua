-- Notes that a node is alive, if one is named, and lists those that were so lately.
local node, patience_ms = arg(), number()
local now = math.floor(now_us() / 1000)
if node ~= '' then call('ZADD', p .. 'nodes', now, node) end
call('ZREMRANGEBYSCORE', p .. 'nodes', '-inf', now - patience_ms)
return call('ZRANGE', p .. 'nodes', 0, -1)
