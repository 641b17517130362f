-- Ends the submission that the lease holds, also after the lease has ended. Returns 1 if it did, or 0.
local lease, finish = ARGV[1], ARGV[2]
if not value then return 0 end
if not tag() then return UNREADABLE end
if not is_held_by(lease) then return 0 end
end_as(finish)
return 1
