-- One hash has all tokens of an owner. `layout.rs` describes its fields. Offsets begin at 1 here.
-- Times are numbers with 53 bits here: a later time is rounded, and the value keeps its 8 bytes as they are.
local key = KEYS[1]
local LIVE, RENEWED, ENDED = 83, 82, 75
local KEPT = 60
local UNREADABLE = 'UNREADABLE a token has a format of another release'

local function number(value, at)
  return (struct.unpack('>I8', value, at))
end

-- Returns the tag and the end of a value, or nothing if another release wrote it.
local function head(value)
  if #value < 19 or string.byte(value, 2) ~= 1 then return nil end
  local tag = string.byte(value, 1)
  if tag == LIVE or tag == RENEWED or tag == ENDED then return tag, number(value, 11) end
end

-- The key expires 60 s after the latest end in it. Its time to live is never shortened.
local function prolong(ends, now)
  local left = math.max(math.min((ends + KEPT - now) * 1000, 1e15), 1)
  if redis.call('PTTL', key) < left then redis.call('PEXPIRE', key, string.format('%.0f', left)) end
end

-- Stores a new token as the last one in the order of the owner.
local function append(digest, value, now)
  local sequence = struct.pack('>I8', redis.call('HINCRBY', key, 'n', 1))
  redis.call('HSET', key, digest, string.sub(value, 1, 2) .. sequence .. string.sub(value, 11))
  prolong(number(value, 11), now)
end

local function remove(fields)
  for i = 1, #fields, 1000 do
    redis.call('HDEL', key, unpack(fields, i, math.min(i + 999, #fields)))
  end
end

-- The hash is removed with the last token: only the sequence is left.
local function remove_empty()
  if redis.call('HLEN', key) == 1 then redis.call('DEL', key) end
end
