-- Stores a token that no limit counts, of an owner with many. Returns 0, or -1 if there are too many.
local digest, value, now, max = ARGV[1], ARGV[2], number(ARGV[3], 1), tonumber(ARGV[4])

-- A client of a cluster may send the command twice.
if redis.call('HEXISTS', key, digest) == 1 then return 0 end
-- One field is the sequence of the owner.
local count = math.max(redis.call('HLEN', key) - 1, 0)
if count >= max then
  -- A scan would keep Redis from its work for too long.
  local sample, dead = redis.call('HRANDFIELD', key, 32, 'WITHVALUES'), {}
  for i = 1, #sample, 2 do
    if #sample[i] == 32 then
      local tag, ends = head(sample[i + 1])
      if tag == ENDED or tag and ends + KEPT <= now then dead[#dead + 1] = sample[i] end
    end
  end
  remove(dead)
  if count - #dead >= max then return -1 end
end
append(digest, value, now)
return 0
