-- Erases a submission: 0 if it is not settled, or {version, {destination, state, ...}, {table, key, ...}, whether there was one}
-- with what is gone.
local submission, only_settled = arg(), arg() == '1'
local delivered_by, dead_by, forget_at = number(), number(), number()
local deletes = {}
for index = 1, number() do deletes[index] = {number(), arg()} end
if only_settled then
  -- Whoever saw it settled saw it here, with these; if they are gone, nobody knows whether it is.
  local is_here = #deletes == 0
  for _, record in ipairs(deletes) do
    is_here = is_here or call('HEXISTS', p .. 'v:' .. record[1], record[2]) == 1
  end
  if not is_here then return 0 end
end
local siblings, found, told = call('HGET', p .. 'sub', submission) or '', {}, {}
for at = 1, #siblings, 16 do
  local key = string.sub(siblings, at, at + 15)
  local d, exists = find(key)
  if exists then
    local in_time = d and ((d.state == 3 or d.state == 6) and d.due <= delivered_by or d.state == 4 and d.due <= dead_by)
    if only_settled and not in_time then return 0 end
    found[#found + 1] = {key, d}
    told[#told + 1] = d and d.destination or ''
    told[#told + 1] = d and d.state or 0
  end
end
local version, gone, traced = stamp(), {}, {}
local function name(t, key)
  gone[#gone + 1] = t
  gone[#gone + 1] = key
end
local function delete(t, key, found_by_all)
  forget(t, key)
  -- What names its submission needs no tombstone beside that one's, if every node finds it by a trace.
  if not found_by_all or owner(t, key) ~= submission then bury(t, key, version, version) end
  name(t, key)
end
local traces = traces_of(submission)
for _, trace in ipairs(traces) do
  if #trace > 16 then
    traced[string.sub(trace, 17)] = true
    delete(string.byte(trace, 17), string.sub(trace, 18), true)
  end
end
for _, record in ipairs(deletes) do
  if not traced[string.char(record[1]) .. record[2]] then delete(record[1], record[2], false) end
end
for _, trace in ipairs(traces) do delete(11, trace, true) end
for _, delivery in ipairs(found) do
  remove(delivery[1], delivery[2])
  name(0, delivery[1])
end
call('HDEL', p .. 'sub', submission)
-- An empty submission is one that was: accepting it again finds it.
local was_there = call('HEXISTS', p .. 'v:1', submission)
if was_there == 1 then
  put(1, submission, '', forget_at, false, version, version)
end
bury(1, submission, version, version)
call('SET', p .. 'erased', string.format('%.0f', version))
put_all(version)
return {version, told, gone, was_there}
