-- Makes a dead delivery due again: {its state before or -1, version or 0}.
local key, due = arg(), number()
local old = find(key)
if not old then return {-1, 0} end
if old.state ~= 4 then return {old.state, 0} end
local version = stamp()
reopen(key, key, due, 0, version)
put_all(version)
return {4, version}
