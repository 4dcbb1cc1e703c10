-- Takes rows that are newer than what is here: 1 taken, 0 known, -1 buried, for each; -2 an open outcome of what is not here.
local at = stamp(number())
local answers = {}

local function offer_record(t, key, value, expires, logged, version)
  local tomb = buried(t, key)
  -- What is left of a submission that was erased is as old as its tombstone, and stays beside it.
  local is_left = t == 1 and value == ''
  if tomb and (tomb > version or tomb == version and not is_left) then return -1 end
  local here = call('HGET', p .. 'v:' .. t, key)
  if here and record_version(here) >= version then
    -- Whoever has an older copy has to learn of this one, which was new here when it came, or was told before.
    if COPIED[t] and record_version(here) > version then call('ZADD', p .. 'log', at, string.char(t) .. key) end
    return 0
  end
  put(t, key, value, expires, logged, version, at)
  -- It says by itself that the submission was erased.
  if is_left then bury(t, key, math.max(tomb or 0, version), at) end
  return 1
end

local function offer_delivery(key, d)
  local tomb = buried(0, key, d.submission)
  if tomb and tomb >= d.version then return -1 end
  local old, exists = find(key)
  if exists and not old then
    if is_later(call('HGET', p .. 'd', key)) then return 0 end
    remove(key, nil)
  end
  if old then
    if old.state == 3 or old.state == 6 and d.state ~= 3 then return 0 end
    local newer = d.version > old.version and d.lease >= old.lease
    if d.state ~= 3 and not newer then return 0 end
    -- A lease never goes back, nor does a version.
    d.lease = math.max(d.lease, old.lease)
    d.version = math.max(d.version, old.version)
  end
  unbury('\0' .. key)
  save(key, old, d)
  return 1
end

-- Deletes what is not newer than this version and belongs to a submission; says whether there was anything.
local function forget_whole(submission, version)
  local found = false
  local function forget_older(t, key)
    local here = call('HGET', p .. 'v:' .. t, key)
    if here and record_version(here) <= version then
      forget(t, key)
      found = true
    end
  end
  for _, trace in ipairs(traces_of(submission)) do
    if #trace > 16 then forget_older(string.byte(trace, 17), string.sub(trace, 18)) end
    forget_older(11, trace)
  end
  local siblings = call('HGET', p .. 'sub', submission) or ''
  for from = 1, #siblings, 16 do
    local key = string.sub(siblings, from, from + 15)
    local d, exists = find(key)
    if exists and not (d and d.version > version) then
      remove(key, d)
      found = true
    end
  end
  return found
end

local function offer_deleted(t, key, version)
  local here, newer
  if t == 0 then
    local d, exists = find(key)
    newer = d and d.version > version
    here = exists and not newer
    if here then remove(key, d) end
  else
    local record = call('HGET', p .. 'v:' .. t, key)
    newer = record and record_version(record) > version
    -- What is left of a submission that was erased stays, so that a late repeat finds it.
    here = record and not newer and not (t == 1 and #record == 16)
    if here then forget(t, key) end
  end
  if t == 1 then here = forget_whole(key, version) or here end
  -- It was in the log.
  if here then call('SET', p .. 'erased', string.format('%.0f', at)) end
  -- What a submission was before it came anew stays buried.
  if newer and t ~= 1 then return 0 end
  local tomb = buried(t, key)
  if tomb and tomb >= version then return 0 end
  bury(t, key, version, at)
  return 1
end

local function record_argument()
  local t, key, value, expires, logged = put_argument()
  return t, key, value, expires, logged, number()
end

local function delivery_argument()
  return arg(), {
    submission = arg(), state = number(), lane = number(), due = number(), attempt = number(), lease = number(),
    unsettled = number(), destination = arg(), history = arg(), version = number(),
  }
end

for index = 1, number() do
  local kind = arg()
  if kind == 'record' then
    answers[index] = offer_record(record_argument())
  elseif kind == 'deleted' then
    answers[index] = offer_deleted(number(), arg(), number())
  elseif kind == 'outcome' then
    local key, d = delivery_argument()
    local _, exists = find(key)
    local is_lost = d.state < 2 and not exists and not buried(0, key, d.submission)
    answers[index] = is_lost and -2 or offer_delivery(key, d)
  else
    local records, deliveries, answer = {}, {}, 0
    for _ = 1, number() do records[#records + 1] = {record_argument()} end
    for _ = 1, number() do deliveries[#deliveries + 1] = {delivery_argument()} end
    -- Nothing of a submission that was erased comes back.
    for _, record in ipairs(records) do
      local tomb = record[1] == 1 and buried(1, record[2])
      if tomb and tomb >= record[6] then answer = -1 end
    end
    if answer == 0 then
      for _, record in ipairs(records) do
        if offer_record(record[1], record[2], record[3], record[4], record[5], record[6]) == 1 then answer = 1 end
      end
      for _, delivery in ipairs(deliveries) do
        if offer_delivery(delivery[1], delivery[2]) == 1 then answer = 1 end
      end
    end
    answers[index] = answer
  end
end
return answers
