-- What all scripts share; put before each of them. KEYS[1] is "<prefix>:ver", and every other key begins as it does, so that
-- one slot holds them all. KEYS[2] is never written. Numbers are whole and below 2^53, which Lua keeps exactly.
local p = string.sub(KEYS[1], 1, -4)
local call = redis.call
local next_argument = 0
local NEVER = '\128\0\0\0\0\0\0\0'
local NEVER_YET = '-9007199254740992'
-- submission, state, lane, due, attempt, lease, unsettled, version, length of the destination
local HEAD, HEAD_BYTES = '>c16BBi8I4i8I4i8H', 52

local function arg()
  next_argument = next_argument + 1
  return ARGV[next_argument]
end

local function number() return tonumber(arg()) end
local function pack(n) return struct.pack('>i8', n) end
local function unpack8(bytes) return (struct.unpack('>i8', bytes)) end

local function now_us()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Whether this is another Redis than the one a node knows, by its data, its process and its history; '' if any will do.
local function is_another(known)
  if known == '' then return false end
  local function told(section, name) return string.match(call('INFO', section), name .. ':(%w+)') or '' end
  local epoch = call('GET', p .. 'epoch') or ''
  return known ~= epoch .. ' ' .. told('server', 'run_id') .. ' ' .. told('replication', 'master_replid')
end

-- The next version: later than every other one, also after everything was lost.
local function stamp(known)
  local last = tonumber(call('GET', p .. 'ver') or '0')
  if known and known > last then last = known end
  local version = math.max(now_us(), last + 1)
  call('SET', p .. 'ver', string.format('%.0f', version))
  return version
end

local function record_version(packed) return unpack8(packed) end

local function unbury(name)
  if call('HDEL', p .. 'x', name) == 1 then call('ZREM', p .. 'xlog', name) end
end

-- A tombstone: whatever is not newer than it is not taken again.
local function bury(t, key, version, at)
  local name = string.char(t) .. key
  call('HSET', p .. 'x', name, pack(version))
  call('ZADD', p .. 'xlog', at, name)
end

-- The submission that the key of a record about it names, if it does: a trace begins with it, an entry of the timeline (8
-- bytes) and of the index of persons (32 bytes) end with it, the record of its files has its key.
local function owner(t, key)
  if t == 11 and #key > 16 then return string.sub(key, 1, 16) end
  if t == 2 and #key == 24 or t == 10 and #key == 48 then return string.sub(key, -16) end
  if t == 26 and #key == 16 then return key end
  return nil
end

local function tombstone(name)
  local version = call('HGET', p .. 'x', name)
  return version and unpack8(version)
end

-- The version of the tombstone of a record, or of the submission that it belongs to: one is enough for all of it.
local function buried(t, key, submission)
  submission = submission or owner(t, key)
  local own, whole = tombstone(string.char(t) .. key), submission and tombstone('\1' .. submission)
  return own and whole and math.max(own, whole) or own or whole
end

local function traces_of(submission)
  return call('ZRANGEBYLEX', p .. 'k:11', '[' .. submission, '[' .. submission .. string.rep('\255', 256))
end

-- Submissions and the keys of their files. Other nodes have copies, and have to learn that one was written again.
local COPIED = {[1] = true, [26] = true}

local function put(t, key, value, expires, logged, version, at)
  local name = string.char(t) .. key
  logged = logged or COPIED[t] and value ~= '' and call('HEXISTS', p .. 'v:' .. t, key) == 1
  call('HSET', p .. 'v:' .. t, key, pack(version) .. (expires and pack(expires) or NEVER) .. value)
  call('ZADD', p .. 'k:' .. t, 0, key)
  if expires then call('ZADD', p .. 'exp', expires, name) else call('ZREM', p .. 'exp', name) end
  if logged then call('ZADD', p .. 'log', at, name) end
  -- What a submission was before it was erased stays buried, also if it comes anew.
  if t ~= 1 then unbury(name) end
end

local function forget(t, key)
  local name = string.char(t) .. key
  call('HDEL', p .. 'v:' .. t, key)
  call('ZREM', p .. 'k:' .. t, key)
  call('ZREM', p .. 'exp', name)
  call('ZREM', p .. 'log', name)
end

-- Reads the arguments of a put.
local function put_argument()
  return number(), arg(), arg(), tonumber(arg()), arg() == '1'
end

local function put_all(version)
  for _ = 1, number() do
    local t, key, value, expires, logged = put_argument()
    put(t, key, value, expires, logged, version, version)
  end
end

-- A row of deliveries; nil if it cannot be one.
local function read(row)
  if #row < HEAD_BYTES then return nil end
  local submission, state, lane, due, attempt, lease, unsettled, version, length = struct.unpack(HEAD, row)
  local known = state == 0 or state == 1 or state == 3 or state == 4 or state == 6
  if not known or lane > 2 or #row < HEAD_BYTES + length then return nil end
  return {
    submission = submission, state = state, lane = lane, due = due, attempt = attempt, lease = lease,
    unsettled = unsettled, version = version,
    destination = string.sub(row, HEAD_BYTES + 1, HEAD_BYTES + length),
    history = string.sub(row, HEAD_BYTES + 1 + length),
  }
end

-- Whether a row that cannot be read is whole, in a state or a lane that only a later release knows: that one looks after it.
local function is_later(row)
  if #row < HEAD_BYTES then return false end
  local _, state, lane, _, _, _, _, _, length = struct.unpack(HEAD, row)
  return #row >= HEAD_BYTES + length and (state > 6 or lane > 2)
end

-- What a row counts as that cannot be read, as long as it is in a queue.
local function state_of_damaged(row) return #row >= HEAD_BYTES and string.byte(row, 17) == 1 and 1 or 0 end

local function row_of(d)
  return struct.pack(HEAD, d.submission, d.state, d.lane, d.due, d.attempt, d.lease, d.unsettled, d.version,
    #d.destination) .. d.destination .. d.history
end

-- The delivery and whether there is a row of it at all.
local function find(key)
  local row = call('HGET', p .. 'd', key)
  if not row then return nil, false end
  return read(row), true
end

local function queue(d) return p .. 'q:' .. d.lane .. ':' .. d.destination end

-- Whether a key comes before another or is it, as sorted sets have them; Lua itself compares as the locale does.
local function is_up_to(key, last)
  for at = 1, math.min(#key, #last) do
    local one, other = string.byte(key, at), string.byte(last, at)
    if one ~= other then return one < other end
  end
  return #key <= #last
end

-- Counts what each destination has in each state. While a sweep counts anew, what it has been at counts there, too.
local swept
local function count(key, d, by)
  local name = d.destination .. '\0' .. d.state
  call('HINCRBY', p .. 'n', name, by)
  if swept == nil then swept = call('HGET', p .. 'sweep', 'after') end
  if swept and is_up_to(key, swept) then call('HINCRBY', p .. 'anew', name, by) end
end

-- Writes a delivery over what it was, in every structure that it is in.
local function save(key, old, d)
  local row = row_of(d)
  call('HSET', p .. 'd', key, row)
  if not old then
    call('ZADD', p .. 'dk', 0, key)
    call('SADD', p .. 'dests', d.destination)
    local siblings = call('HGET', p .. 'sub', d.submission) or ''
    call('HSET', p .. 'sub', d.submission, siblings .. key)
  elseif old.state < 2 and (d.state >= 2 or queue(old) ~= queue(d)) then
    call('ZREM', queue(old), key)
  end
  if d.state < 2 then call('ZADD', queue(d), d.due, key) end
  if d.state == 4 then
    call('ZADD', p .. 'dead', 0, key)
  elseif old and old.state == 4 then
    call('ZREM', p .. 'dead', key)
  end
  if not old or old.state ~= d.state or old.destination ~= d.destination then
    if old then count(key, old, -1) end
    count(key, d, 1)
  end
  return row
end

-- Takes a key out of the list of its submission's deliveries.
local function leave(key, submission)
  local siblings, kept = call('HGET', p .. 'sub', submission) or '', ''
  for at = 1, #siblings, 16 do
    local sibling = string.sub(siblings, at, at + 15)
    if sibling ~= key then kept = kept .. sibling end
  end
  if kept == '' then call('HDEL', p .. 'sub', submission) else call('HSET', p .. 'sub', submission, kept) end
end

-- Deletes a delivery; one that cannot be read is looked for everywhere.
local function remove(key, d)
  call('HDEL', p .. 'd', key)
  call('ZREM', p .. 'dk', key)
  call('ZREM', p .. 'dead', key)
  if d then
    if d.state < 2 then call('ZREM', queue(d), key) end
    count(key, d, -1)
    leave(key, d.submission)
  else
    for _, destination in ipairs(call('SMEMBERS', p .. 'dests')) do
      for lane = 0, 2 do call('ZREM', p .. 'q:' .. lane .. ':' .. destination, key) end
    end
  end
end

-- Makes a dead delivery due again, under a lease that makes every older outcome stale.
local function reopen(key, new_key, due, lane, version)
  local old = find(key)
  if not old or old.state ~= 4 then return false end
  if new_key ~= key and call('HEXISTS', p .. 'd', new_key) == 1 then return false end
  local d = {}
  for name, value in pairs(old) do d[name] = value end
  d.state, d.due, d.lane, d.attempt, d.unsettled = 0, due, lane, 0, 0
  d.lease, d.version = d.lease + 1, version
  if new_key ~= key then
    remove(key, old)
    bury(0, key, version, version)
    old = nil
  end
  save(new_key, old, d)
  return true
end

