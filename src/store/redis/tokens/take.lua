-- Removes a live token, and nothing else. Returns 1 if it did, or 0.
local digest, now = ARGV[1], number(ARGV[2], 1)
local value = redis.call('HGET', key, digest)
if not value then return 0 end
local tag, ends = head(value)
if not tag then return redis.error_reply(UNREADABLE) end
if tag ~= LIVE or ends <= now then return 0 end
redis.call('HDEL', key, digest)
remove_empty()
return 1
