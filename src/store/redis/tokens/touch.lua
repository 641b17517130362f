-- Records a use. Returns 1, or 0 if the token is not live.
local digest, now, idle = ARGV[1], number(ARGV[2], 1), ARGV[3]
local value = redis.call('HGET', key, digest)
if not value then return 0 end
local tag, ends = head(value)
if not tag then return redis.error_reply(UNREADABLE) end
if tag == ENDED or ends <= now then return 0 end
if tag == RENEWED then return 1 end

local changed = value
if idle ~= '' and string.byte(value, 59) % 2 == 1 then
  local seen = string.sub(value, 43, 50)
  if now > number(seen, 1) then seen = ARGV[2] end
  if number(idle, 1) < number(value, 35) then idle = string.sub(value, 35, 42) end
  local first = idle
  for at = 19, 27, 8 do
    if number(value, at) < number(first, 1) then first = string.sub(value, at, at + 7) end
  end
  changed = string.sub(value, 1, 10) .. first .. string.sub(value, 19, 34) .. idle .. seen .. string.sub(value, 51)
end
if is_unused(value) then
  start_overlap(string.sub(value, -32), now)
  changed = used(changed)
end
if changed ~= value then
  redis.call('HSET', key, digest, changed)
  prolong(number(changed, 11), now)
end
return 1
