-- Puts open deliveries back into the queues that they are missing in: {whether it looked, how many, where to go on or false}.
-- It looks only if fewer are queued than are open. Queues are made of nothing else, so they may be lost at any time.
local after, looked = arg(), number()

local function are_missing()
  local destinations = call('SMEMBERS', p .. 'dests')
  if #destinations == 0 then return call('EXISTS', p .. 'd') == 1 end
  for _, destination in ipairs(destinations) do
    local missing = 0
    for state = 0, 1 do
      missing = missing + tonumber(call('HGET', p .. 'n', destination .. '\0' .. state) or '0')
    end
    for lane = 0, 2 do
      missing = missing - call('ZCOUNT', p .. 'q:' .. lane .. ':' .. destination, '-inf', '+inf')
    end
    if missing > 0 then return true end
  end
  return false
end

if after == '' and not are_missing() then return {0, 0, false} end
local first = after == '' and '-' or '(' .. after
local keys, found = call('ZRANGEBYLEX', p .. 'dk', first, '+', 'LIMIT', 0, looked), 0
for _, key in ipairs(keys) do
  local d = find(key)
  if d then
    call('SADD', p .. 'dests', d.destination)
    if d.state < 2 then found = found + call('ZADD', queue(d), d.due, key) end
  end
end
return {1, found, #keys == looked and keys[#keys] or false}
