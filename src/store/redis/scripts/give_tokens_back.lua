-- Puts tokens back into an account's bucket.
local account, every_us, _, unused = arg(), number(), number(), number()
local key = p .. 'tok:' .. account
local full_at = call('HGET', key, 'full')
if full_at and every_us > 0 then
  call('HSET', key, 'full', string.format('%.0f', tonumber(full_at) - every_us * unused))
end
return 1
