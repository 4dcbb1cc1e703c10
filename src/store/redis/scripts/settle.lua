-- Ends a lease: the version, 0 if it is not the valid one, or -1 if this Redis cannot know, because it is another one.
local key, lease = arg(), number()
local state, due, lane, given_back, history = number(), number(), number(), number(), arg()
local known = arg()
local old = find(key)
if not old or old.state ~= 1 or old.lease ~= lease then return is_another(known) and -1 or 0 end
local version, d = stamp(), find(key)
d.state, d.due, d.history, d.unsettled, d.version = state, due, history, 0, version
d.lane = math.max(d.lane, lane)
d.attempt = math.max(d.attempt - given_back, 0)
save(key, old, d)
put_all(version)
return version
