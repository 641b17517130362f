-- Removes a submission that does not run, also one that cannot be read. Returns 1 if it did, or 0.
if not value or is_running() then return 0 end
return redis.call('DEL', key)
