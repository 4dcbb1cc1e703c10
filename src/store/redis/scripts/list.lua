-- Reads deliveries in the order of their keys: {where to go on or false, key, row, ...}. Looks at so many and no more.
local submission, destination, state, after = arg(), arg(), number(), arg()
local limit, looked = number(), number()
local first = after == '' and '-' or '(' .. after
local keys, whole
if submission ~= '' then
  keys, whole = {}, true
  local siblings = call('HGET', p .. 'sub', submission) or ''
  for at = 1, #siblings, 16 do
    local key = string.sub(siblings, at, at + 15)
    if after == '' or key > after then keys[#keys + 1] = key end
  end
  table.sort(keys)
else
  keys = call('ZRANGEBYLEX', p .. (state == 4 and 'dead' or 'dk'), first, '+', 'LIMIT', 0, looked)
  whole = #keys < looked
end
local found = {false}
for _, key in ipairs(keys) do
  local row = call('HGET', p .. 'd', key)
  local d = row and read(row)
  local wanted = row and (not d or (destination == '' or d.destination == destination) and (state < 0 or d.state == state))
  if wanted then
    found[#found + 1] = key
    found[#found + 1] = row
    if d then limit = limit - 1 end
    if limit == 0 then return found end
  end
end
if not whole then found[1] = keys[#keys] end
return found
