-- Ends sessions. Returns how many were live.
local now, remembered, which, session, app = number(ARGV[1], 1), ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local function selects(token)
  if token.tag == ENDED then return false end
  if which == 'all' then return true end
  if which == 'one' then return session_of(token) == session end
  if app_of(token) ~= app then return false end
  if which == 'of' then return session_of(token) == session end
  return which == 'app' or session_of(token) ~= session
end

local found, dead, unreadable = scan(now)
if which == 'all' then
  -- They end too, whatever they are.
  remove(unreadable)
elseif #unreadable > 0 then
  return redis.error_reply(UNREADABLE)
end
remove(dead)
local ended, is_counted, count = {}, {}, 0
for _, token in ipairs(found) do
  if selects(token) then
    ended[#ended + 1] = token
    local id = session_of(token)
    if number(token.value, record_at(token) + 10) > now and not is_counted[id] then
      is_counted[id] = true
      count = count + 1
    end
  end
end
finish(ended, found, 'v', remembered, now)
remove_empty()
return count
