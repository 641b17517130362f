-- Renews a lease that has not ended. Returns 1 if it holds the submission, or 0.
local lease, lasts = ARGV[1], number(ARGV[2], 1)
if not value then return 0 end
if not tag() then return UNREADABLE end
if not is_held_by(lease) or not is_running() then return 0 end
redis.call('PEXPIRE', key, lasts + ttl())
return 1
