-- Empties an account's bucket until a time; then one may go first.
local account, every_us, burst, until_ms = arg(), number(), number(), number()
local key = p .. 'tok:' .. account
local function raise(field, to)
  local here = tonumber(call('HGET', key, field) or NEVER_YET)
  call('HSET', key, field, string.format('%.0f', math.max(here, to)))
end
raise('closed', until_ms)
if every_us > 0 then raise('full', until_ms * 1000 + every_us * (burst - 1)) end
return call('PEXPIRE', key, 691200000)
