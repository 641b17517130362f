-- Reserves the place. Returns 1, or the value that the place has and the milliseconds until it expires.
local lease, lasts, head, takes_over = ARGV[1], number(ARGV[2], 1), ARGV[3], ARGV[4] == '1'
if value then
  if not tag() then return UNREADABLE end
  if is_held_by(lease) and is_running() then return 1 end
  local is_lost = tag() == RESERVED and not is_running()
  local is_same = string.sub(value, 11, 42) == string.sub(head, 11)
  if not (takes_over and is_lost and is_same) then return { value, left } end
end
store(head .. lease, lasts + number(head, 3))
return 1
