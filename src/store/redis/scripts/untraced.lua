-- Keys of timeline records without a trace: {where to go on or false, key, ...}. A timeline key is a time and a submission.
local after, limit, looked = arg(), number(), number()
local keys = call('ZRANGEBYLEX', p .. 'k:2', after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, looked)
local found = {false}
for _, key in ipairs(keys) do
  if call('HEXISTS', p .. 'v:11', string.sub(key, 9) .. '\2' .. key) == 0 then
    found[#found + 1] = key
    if #found > limit then return found end
  end
end
if #keys == looked then found[1] = keys[#keys] end
return found
