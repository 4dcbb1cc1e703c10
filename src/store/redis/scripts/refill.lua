-- Holds claims back until a time, or lets them go. Nobody holds them for more than 30 s in 5 minutes.
local node, until_ms = arg(), number()
local now = math.floor(now_us() / 1000)
call('ZREMRANGEBYSCORE', p .. 'refill', '-inf', now)
if not until_ms then return call('ZREM', p .. 'refill', node) end
local since = tonumber(call('GET', p .. 'hold') or '0')
if now - since > 300000 or since > now then
  since = now
  call('SET', p .. 'hold', string.format('%.0f', now))
end
local last = math.min(until_ms, since + 30000)
if last > now then call('ZADD', p .. 'refill', last, node) end
return 1
