-- What was written and deleted after a version: {at, table, key, record or tomb's version, deleted?, ...}. A version is told
-- as a whole, so that whoever goes on after it misses nothing.
local after, limit = number(), number()
local found, cut = {}, math.huge
local function page(log, first, last, most)
  return call('ZRANGEBYSCORE', p .. log, first, last, 'WITHSCORES', 'LIMIT', 0, most)
end
local logs = {}
for _, log in ipairs({'xlog', 'log'}) do
  logs[log] = page(log, '(' .. string.format('%.0f', after), '+inf', limit)
  local length = #logs[log]
  if length == 2 * limit then cut = math.min(cut, tonumber(logs[log][length])) end
end
local function take(log, entries, is_taken)
  for index = 1, #entries, 2 do
    local at = tonumber(entries[index + 1])
    if is_taken(at) then found[#found + 1] = {at, log == 'xlog' and 0 or 1, entries[index]} end
  end
end
for _, log in ipairs({'xlog', 'log'}) do
  take(log, logs[log], function(at) return at < cut end)
  if cut < math.huge then
    local exactly = string.format('%.0f', cut)
    take(log, page(log, exactly, exactly, 1000000), function() return true end)
  end
end
table.sort(found, function(one, other)
  if one[1] ~= other[1] then return one[1] < other[1] end
  if one[2] ~= other[2] then return one[2] < other[2] end
  return one[3] < other[3]
end)
local told = {}
local function tell(change)
  for index = 1, 5 do told[#told + 1] = change[index] end
end
for _, entry in ipairs(found) do
  local at, name = entry[1], entry[3]
  local t, key = string.byte(name), string.sub(name, 2)
  local here = t ~= 0 and call('HGET', p .. 'v:' .. t, key)
  if entry[2] == 1 then
    if here then tell({at, t, key, here, 0}) end
  else
    local tomb = call('HGET', p .. 'x', name)
    -- An erased submission leaves an empty record beside its tombstone.
    local again = here and not (t == 1 and #here == 16) and tomb and record_version(here) >= unpack8(tomb)
    -- Whoever had a copy of an erased submission keeps what is left of it, too: that there was one.
    if t == 1 and here and #here == 16 then tell({at, t, key, here, 0}) end
    if tomb and not again then tell({at, t, key, tomb, 1}) end
  end
end
return told
