-- Leases deliveries that are due: {how many were damaged, key, row, key, row, ...}, or {-1} if this is another Redis than the
-- node knows: what it and the others have to tell first is not held up yet.
local destination, now, lease_ms = arg(), number(), number()
local shares = {number(), number(), number()}
local limits = {number(), number(), number()}
-- By so much the clock was set forward while leases were under way: those end later.
local grace, known = number(), arg()
local claimed = {0}
-- A store that lost everything gives nothing out before somebody has noticed it.
if call('EXISTS', p .. 'epoch') == 0 or call('HEXISTS', p .. 'v:16', destination) == 1 then return claimed end
if call('ZCOUNT', p .. 'refill', '(' .. string.format('%.0f', now_us() / 1000), '+inf') > 0 then return claimed end

local taken, version = {0, 0, 0}, nil
-- How many more a lane may have: each limit is for a lane and those behind it.
local function room(lane)
  local least = math.huge
  for first = 1, lane do
    local sum = 0
    for behind = first, 3 do sum = sum + taken[behind] end
    least = math.min(least, math.max(limits[first] - sum, 0))
  end
  return least
end

local function quarantine(key, row)
  claimed[1] = claimed[1] + 1
  local submission = #row >= 16 and string.sub(row, 1, 16) or string.rep('\0', 16)
  for lane = 0, 2 do call('ZREM', p .. 'q:' .. lane .. ':' .. destination, key) end
  count(key, {destination = destination, state = state_of_damaged(row)}, -1)
  if #key ~= 16 then
    call('HDEL', p .. 'd', key)
    call('ZREM', p .. 'dk', key)
    return
  end
  local d = {
    submission = submission, state = 4, lane = 0, due = now, attempt = 0, lease = 0, unsettled = 0,
    version = version, destination = destination, history = '',
  }
  call('HSET', p .. 'd', key, row_of(d))
  call('ZADD', p .. 'dead', 0, key)
  count(key, d, 1)
end

-- First what each lane has for itself, then what is left over.
for pass = 1, 2 do
  for lane = 1, 3 do
    local left = math.min(room(lane), pass == 1 and shares[lane] or math.huge)
    local again, skipped = left > 0, 0
    while again do
      again = false
      local q = p .. 'q:' .. (lane - 1) .. ':' .. destination
      local due = call('ZRANGEBYSCORE', q, '-inf', now, 'LIMIT', skipped, left)
      if #due > 0 and known ~= '' then
        if is_another(known) then return {-1} end
        known = ''
      end
      for _, key in ipairs(due) do
        version = version or stamp()
        local row = call('HGET', p .. 'd', key)
        local old = row and #key == 16 and read(row)
        if not row then
          -- In the queue and nowhere else: nothing to attempt.
          call('ZREM', q, key)
          again = true
        elseif not old then
          quarantine(key, row)
          again = true
        elseif old.state >= 2 then
          -- It has ended: a queue is no proof that it has not.
          call('ZREM', q, key)
          again = true
        elseif old.state == 1 and old.due > now - grace then
          skipped, again = skipped + 1, true
        else
          local d = read(row)
          d.state, d.due, d.version = 1, now + lease_ms, version
          d.attempt = math.min(d.attempt + 1, 4294967295)
          d.lease, d.unsettled = d.lease + 1, math.min(d.unsettled + 1, 4294967295)
          claimed[#claimed + 1] = key
          claimed[#claimed + 1] = save(key, old, d)
          left = left - 1
          taken[lane] = taken[lane] + 1
        end
      end
      -- Those behind the damaged ones have their turn at once.
      again = again and left > 0
    end
  end
end
return claimed
