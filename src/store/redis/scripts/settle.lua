-- Ends a lease: the version, or 0 if it is not the valid one.
local key, lease = arg(), number()
local state, due, lane, given_back, history = number(), number(), number(), number(), arg()
local old = find(key)
if not old or old.state ~= 1 or old.lease ~= lease then return 0 end
local version, d = stamp(), find(key)
d.state, d.due, d.history, d.unsettled, d.version = state, due, history, 0, version
d.lane = math.max(d.lane, lane)
d.attempt = math.max(d.attempt - given_back, 0)
save(key, old, d)
put_all(version)
return version
