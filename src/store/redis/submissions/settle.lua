-- Ends a submission whose outcome is unknown. Returns 1 if it did, or 0.
local finish = ARGV[1]
if not value then return 0 end
if not tag() then return UNREADABLE end
if is_running() or tag() == DONE then return 0 end
end_as(finish)
return 1
