-- The successor of this token is used, so the token ends after the overlap.
local function start_overlap(digest, now)
  local renewed = redis.call('HGET', key, digest)
  if renewed and head(renewed) == RENEWED then
    local ends = now + number(renewed, 19)
    if ends < number(renewed, 11) then
      renewed = string.sub(renewed, 1, 10) .. struct.pack('>I8', ends) .. string.sub(renewed, 19)
      redis.call('HSET', key, digest, renewed)
    end
  end
end

-- Whether this successor has not been used yet.
local function is_unused(value)
  return string.byte(value, 59) >= 8
end

local function used(value)
  return string.sub(value, 1, 58) .. string.char(string.byte(value, 59) - 8) .. string.sub(value, 60)
end
