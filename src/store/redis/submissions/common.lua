-- One string has a submission. `layout.rs` describes it. Offsets begin at 1 here.
local key = KEYS[1]
local RESERVED, UNKNOWN, DONE = 'R', 'U', 'D'
local UNREADABLE = redis.error_reply('UNREADABLE a submission has a format of another release')

local value = redis.call('GET', key)
-- By the clock of Redis, which all machines share. The lease ends when only the time of an ended submission is left, so
-- that a renewal writes no value: a full Redis still renews leases.
local left = value and redis.call('PTTL', key)

-- Numbers of Lua have 53 bits, and `layout.rs` sends shorter durations.
local function number(text, at)
  return (struct.unpack('>I8', text, at))
end

-- Returns the tag, or nothing if another release wrote the value, or if it is not whole.
local function tag()
  if #value < 42 or string.byte(value, 2) ~= 1 or left < 0 then return nil end
  local tag, size = string.sub(value, 1, 1), #value - 42
  if tag == RESERVED and size == 16 or tag == UNKNOWN and size == 0 then return tag end
  if tag == DONE and size >= 8 and size - 8 == number(value, 43) then return tag end
end

local function ttl()
  return number(value, 3)
end

local function is_held_by(lease)
  return tag() == RESERVED and string.sub(value, 43) == lease
end

local function is_running()
  return tag() == RESERVED and left > ttl()
end

local function store(new, expires_in)
  if expires_in > 0 then
    redis.call('SET', key, new, 'PX', expires_in)
  else
    redis.call('DEL', key)
  end
end

-- Ends the submission. `finish` is the new tag, and what follows the fingerprint. It is empty if the place is free again.
local function end_as(finish)
  -- A full Redis lets a script write after it has removed something. What was done must not be forgotten.
  redis.call('DEL', key)
  if finish ~= '' then
    store(string.sub(finish, 1, 1) .. string.sub(value, 2, 42) .. string.sub(finish, 2), ttl())
  end
end
