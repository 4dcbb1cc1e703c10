-- Puts open deliveries back into the queues that they are missing in, and counts all anew: {how many it has put back, whether
-- some seemed to be missing, whether to go on at once}.
-- All nodes together go through everything again and again, some keys at a time; at once, if fewer are queued than are open.
-- Queues, the list of destinations and counts are made of nothing but the deliveries, so they may be lost at any time.
local keys_at_once, every_ms = number(), number()
local now = math.floor(now_us() / 1000)
local s = p .. 'sweep'

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

local function anew(destination, state) call('HINCRBY', p .. 'anew', destination .. '\0' .. state, 1) end

local after, at, hurries = unpack(call('HMGET', s, 'after', 'at', 'hurries'))
if not hurries then
  if are_missing() then
    after, hurries = false, true
  elseif at and now - at < every_ms and now >= tonumber(at) then
    return {0, 0, 0}
  end
end
if not after then
  call('DEL', p .. 'anew')
  call('HSET', s, 'after', '')
  if hurries then call('HSET', s, 'hurries', 1) end
end

local first = after and after ~= '' and '(' .. after or '-'
local keys, found = call('ZRANGEBYLEX', p .. 'dk', first, '+', 'LIMIT', 0, keys_at_once), 0
for _, key in ipairs(keys) do
  local row = call('HGET', p .. 'd', key)
  local d = row and read(row)
  if d then
    call('SADD', p .. 'dests', d.destination)
    anew(d.destination, d.state)
    if d.state < 2 then found = found + call('ZADD', queue(d), d.due, key) end
  elseif row then
    for _, destination in ipairs(call('SMEMBERS', p .. 'dests')) do
      for lane = 0, 2 do
        if call('ZSCORE', p .. 'q:' .. lane .. ':' .. destination, key) then
          anew(destination, state_of_damaged(row))
        end
      end
    end
  end
end

local ended = #keys < keys_at_once
if ended then
  call('DEL', p .. 'n')
  if call('EXISTS', p .. 'anew') == 1 then call('RENAME', p .. 'anew', p .. 'n') end
  call('HDEL', s, 'after', 'hurries')
else
  call('HSET', s, 'after', keys[#keys])
end
call('HSET', s, 'at', now)
return {found, hurries and 1 or 0, hurries and not ended and 1 or 0}
