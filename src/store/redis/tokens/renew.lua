-- Renews a token. Returns 0 if it is not live, 1 if it was renewed too often, 2 if the offer is kept. Returns the renewed
-- token and its successor if it has one already.
local digest, now, successor, offered, overlap, seed = ARGV[1], number(ARGV[2], 1), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local value = redis.call('HGET', key, digest)
if not value then return 0 end
local tag, ends = head(value)
if not tag then return redis.error_reply(UNREADABLE) end
if tag == ENDED or ends <= now then return 0 end
if tag == RENEWED then
  local kept = redis.call('HGET', key, string.sub(value, 75, 106))
  return kept and { value, kept } or 0
end
if string.byte(value, 60) == 3 then return 0 end

-- The earlier tokens of the session, from the newest to the oldest.
local count = string.byte(value, 61)
local earlier, gone = {}, {}
for i = 1, count do
  local other = string.sub(value, -32 * i, -32 * (i - 1) - 1)
  local renewed = redis.call('HGET', key, other)
  local other_tag, other_ends = head(renewed or '')
  if other_tag == RENEWED then
    -- A loop of renewals with a short overlap must not fill the hash.
    if other_ends <= now then gone[#gone + 1] = other else table.insert(earlier, 1, other) end
  end
end
if #earlier >= 4 then return 1 end
earlier[#earlier + 1] = digest

local bare = string.sub(value, 1, #value - 32 * count)
if is_unused(value) then bare = used(bare) end
local renewed = 'R\1' .. string.sub(value, 3, 18) .. overlap .. string.sub(offered, 43, 50) .. string.sub(offered, 35, 42)
  .. seed .. successor .. string.sub(bare, 1, 60) .. '\0' .. string.sub(bare, 62)
local new = string.sub(offered, 1, 2) .. string.sub(value, 3, 10) .. string.sub(offered, 11, 60)
  .. string.char(#earlier) .. string.sub(offered, 62) .. table.concat(earlier)
redis.call('HSET', key, digest, renewed, successor, new)
remove(gone)
-- A token that is renewed was used.
if is_unused(value) then start_overlap(string.sub(value, -32), now) end
prolong(number(offered, 11), now)
return 2
