-- Deletes records whose time is over, and tombstones that nobody can ask for any more.
local now, limit, kept_us = number(), number(), number()
local names = call('ZRANGEBYSCORE', p .. 'exp', '-inf', now, 'LIMIT', 0, limit)
for _, name in ipairs(names) do forget(string.byte(name), string.sub(name, 2)) end
local old = call('ZRANGEBYSCORE', p .. 'xlog', '-inf', now_us() - kept_us, 'LIMIT', 0, limit)
for _, name in ipairs(old) do unbury(name) end
return #names
