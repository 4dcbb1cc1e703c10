-- Prolongs a lease: 1, or 0 if it is not the valid one.
local key, lease, due = arg(), number(), number()
local old = find(key)
if not old or old.state ~= 1 or old.lease ~= lease then return 0 end
local d = find(key)
d.due = due
save(key, old, d)
return 1
