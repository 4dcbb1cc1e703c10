-- Counts: {destination, due, in flight, delivered, dead, oldest due or false, ...}.
local destinations, found = call('SMEMBERS', p .. 'dests'), {}
table.sort(destinations)
for _, destination in ipairs(destinations) do
  local counts, ended = {}, call('HGET', p .. 'n', destination .. '\0' .. 6)
  for index, state in ipairs({0, 1, 3, 4}) do
    counts[index] = tonumber(call('HGET', p .. 'n', destination .. '\0' .. state) or '0')
  end
  local oldest = false
  for lane = 0, 2 do
    local q, at, searching = p .. 'q:' .. lane .. ':' .. destination, 0, counts[1] > 0
    -- Leased ones stand between them with the ends of their leases.
    while searching and at <= counts[2] do
      local page = call('ZRANGE', q, at, at + 63, 'WITHSCORES')
      searching = #page > 0
      for index = 1, #page, 2 do
        local due = tonumber(page[index + 1])
        local d = find(page[index])
        if oldest and due >= oldest then
          searching = false
        elseif d and d.state == 0 then
          oldest, searching = due, false
        end
        if not searching then break end
      end
      at = at + 64
    end
  end
  if counts[1] + counts[2] + counts[3] + counts[4] + tonumber(ended or '0') > 0 then
    found[#found + 1] = destination
    for index = 1, 4 do found[#found + 1] = counts[index] end
    found[#found + 1] = oldest
  end
end
return found
