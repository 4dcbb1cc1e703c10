-- Brings back due times that lie too far ahead, as many as the second argument says at one time; with a third one of 1, only
-- those of deliveries that wait for no schedule.
local latest, limit, untried, changed = number(), number(), number() == 1, 0
for _, destination in ipairs(call('SMEMBERS', p .. 'dests')) do
  for lane = 0, 2, untried and 2 or 1 do
    local q = p .. 'q:' .. lane .. ':' .. destination
    local skipped, ahead = 0, nil
    repeat
      local beyond = '(' .. string.format('%.0f', latest)
      ahead = call('ZRANGEBYSCORE', q, beyond, '+inf', 'LIMIT', skipped, limit - changed)
      local before = skipped
      for _, key in ipairs(ahead) do
        local old, d = find(key), find(key)
        if not old then
          -- Whatever it is, it is in front from now on, where a claim finds and judges it.
          call('ZADD', q, latest, key)
        elseif untried and old.state == 1 then
          skipped = skipped + 1
        else
          d.due = latest
          save(key, old, d)
          changed = changed + 1
        end
      end
    until skipped == before or changed >= limit
    if changed >= limit then return changed end
  end
end
return changed
