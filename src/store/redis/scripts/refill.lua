-- Holds claims back until a time, or lets them go. Nobody holds them for more than 30 s in 5 minutes, as long as it is the
-- same server with the same data: one that was restarted in between, or put back to a backup, has to be told everything again.
local node, until_ms, of = arg(), number(), arg()
local now = math.floor(now_us() / 1000)
call('ZREMRANGEBYSCORE', p .. 'refill', '-inf', now)
if not until_ms then return call('ZREM', p .. 'refill', node) end
local held = call('HMGET', p .. 'held', 'since', 'of')
local since = tonumber(held[1] or '0')
if held[2] ~= of or now - since > 300000 or since > now then
  since = now
  call('HSET', p .. 'held', 'since', string.format('%.0f', now), 'of', of)
end
local last = math.min(until_ms, since + 30000)
if last > now then call('ZADD', p .. 'refill', last, node) end
return 1
