-- Prolongs a lease: 1, 0 if it is not the valid one, or -1 if this Redis cannot know, because it is another one.
local key, lease, due, known = arg(), number(), number(), arg()
local old = find(key)
if not old or old.state ~= 1 or old.lease ~= lease then return is_another(known) and -1 or 0 end
local d = find(key)
d.due = due
save(key, old, d)
return 1
