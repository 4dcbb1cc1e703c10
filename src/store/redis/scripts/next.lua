-- When the next delivery of each lane is due or its lease ends.
local destination, times = arg(), {}
for lane = 0, 2 do
  local first = call('ZRANGE', p .. 'q:' .. lane .. ':' .. destination, 0, 0, 'WITHSCORES')
  times[lane + 1] = first[2] and tonumber(first[2]) or false
end
return times
