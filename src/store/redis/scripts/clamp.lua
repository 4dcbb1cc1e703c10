-- Brings back due times that lie too far ahead, as many as the second argument says at one time.
local latest, limit, changed = number(), number(), 0
for _, destination in ipairs(call('SMEMBERS', p .. 'dests')) do
  for lane = 0, 2 do
    local q = p .. 'q:' .. lane .. ':' .. destination
    local ahead = call('ZRANGEBYSCORE', q, '(' .. string.format('%.0f', latest), '+inf', 'LIMIT', 0, limit - changed)
    for _, key in ipairs(ahead) do
      local old, d = find(key), find(key)
      if old then
        d.due = latest
        save(key, old, d)
        changed = changed + 1
      else
        -- Whatever it is, it is in front from now on, where a claim finds and judges it.
        call('ZADD', q, latest, key)
      end
    end
    if changed >= limit then return changed end
  end
end
return changed
