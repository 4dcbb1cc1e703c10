-- Applies a batch as a whole or not at all: {1, version}, or {0, index, record or false} of the condition that fails.
local now = number()
for index = 1, number() do
  local t, key, kind, wanted = number(), arg(), arg(), number()
  local packed = call('HGET', p .. 'v:' .. t, key)
  if packed then
    local expires = string.sub(packed, 9, 16)
    if expires ~= NEVER and unpack8(expires) <= now then packed = false end
  end
  local holds
  if kind == 'absent' then
    holds = not packed
  elseif kind == 'present' then
    holds = packed
  else
    holds = packed and record_version(packed) == wanted
  end
  if not holds then return {0, index - 1, packed} end
end
local version = stamp()
for _ = 1, number() do
  local t, key = number(), arg()
  forget(t, key)
  bury(t, key, version, version)
end
put_all(version)
for _ = 1, number() do
  local key, submission, destination, due = arg(), arg(), arg(), number()
  if call('HEXISTS', p .. 'd', key) == 0 then
    save(key, nil, {
      submission = submission, state = 0, lane = 0, due = due, attempt = 0, lease = 0, unsettled = 0,
      version = version, destination = destination, history = '',
    })
  end
end
for _ = 1, number() do reopen(arg(), arg(), number(), number(), version) end
return {1, version}
