-- Deletes the first records of a table, in the order of their keys, that are before one: how many. Nobody keeps a copy of them for
-- others, so there are no tombstones.
local t, before, limit = number(), arg(), number()
local keys = call('ZRANGEBYLEX', p .. 'k:' .. t, '-', '(' .. before, 'LIMIT', 0, limit)
for _, key in ipairs(keys) do forget(t, key) end
return #keys
