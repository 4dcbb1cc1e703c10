-- Reads records in the order of their keys: {key, record, key, record, ...}.
local t, first, last, descending, limit = number(), arg(), arg(), arg() == '1', number()
local keys
if descending then
  keys = call('ZREVRANGEBYLEX', p .. 'k:' .. t, last, first, 'LIMIT', 0, limit)
else
  keys = call('ZRANGEBYLEX', p .. 'k:' .. t, first, last, 'LIMIT', 0, limit)
end
local found = {}
for _, key in ipairs(keys) do
  found[#found + 1] = key
  found[#found + 1] = call('HGET', p .. 'v:' .. t, key)
end
return found
