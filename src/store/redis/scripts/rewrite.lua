-- How far the log is behind what was erased: {whether the wish is noted, newest erasure, what is out of the log, the last
-- wish}. What is out of the log is "version up to which, run of the server"; a wish is "version up to which, when, run of the
-- server, rewrites before it". First notes what it is told: what is out of the log, and a wish, unless the last one is too young.
local done, up_to, run, before, patience_ms = arg(), number(), arg(), arg(), number()
if done ~= '' then call('SET', p .. 'rewritten', done) end
local wish, noted = call('GET', p .. 'rewriting') or '', 0
if run ~= '' then
  local at, now = tonumber(string.match(wish, '^%d+ (%d+)') or '0'), math.floor(now_us() / 1000)
  -- A clock that was set back must not hold it up.
  if now < at or now - at >= patience_ms then
    wish, noted = string.format('%.0f %.0f %s %s', up_to, now, run, before), 1
    call('SET', p .. 'rewriting', wish)
  end
end
return {noted, tonumber(call('GET', p .. 'erased') or '0'), call('GET', p .. 'rewritten') or '', wish}
