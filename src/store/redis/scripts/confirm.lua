-- Says of records whether they are here, and writes something behind them: whoever waits until that is synced knows that they
-- are, too.
local found = {}
for index = 1, number() do
  found[index] = call('HEXISTS', p .. 'v:' .. number(), arg())
end
call('SET', p .. 'synced', string.format('%.0f', now_us()))
return found
