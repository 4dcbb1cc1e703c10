-- Takes tokens out of an account's bucket: {granted, with none the earliest time for the next}.
local account, every_us, burst, wanted, now = arg(), number(), number(), number(), number()
local key = p .. 'tok:' .. account
-- A clock that was set back must not make a wait longer than any that could have been asked for.
local closed_until = math.min(tonumber(call('HGET', key, 'closed') or NEVER_YET), now + 43200000)
if closed_until > now then return {0, closed_until} end
if every_us == 0 then return {wanted, now} end
local now_at = now * 1000
local latest = now_at + every_us * burst
local full_at = math.max(now_at, math.min(tonumber(call('HGET', key, 'full') or NEVER_YET), latest))
local tokens = math.floor((latest - full_at) / every_us)
if tokens == 0 then return {0, now + math.floor((full_at + every_us - latest + 999) / 1000)} end
local granted = math.min(tokens, wanted)
call('HSET', key, 'full', string.format('%.0f', full_at + every_us * granted))
call('PEXPIRE', key, 691200000)
return {granted, now}
