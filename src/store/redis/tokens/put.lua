-- Stores a token of a user. Returns how many sessions it ends, or -1 if a limit refuses it.
local digest, value, now, max = ARGV[1], ARGV[2], number(ARGV[3], 1), tonumber(ARGV[4])
-- Without a limit, or for a token that limits do not count, there is no number.
local limit, refuses, remembered = tonumber(ARGV[5]), ARGV[6] == '1', ARGV[7]

-- A client of a cluster may send the command twice.
if redis.call('HEXISTS', key, digest) == 1 then return 0 end
local found, dead, unreadable = scan(now)
if #unreadable > 0 then return redis.error_reply(UNREADABLE) end
remove(dead)

local app, device = struct.unpack('>Bc0Bc0', value, 78)
local live, sessions = 0, {}
for _, token in ipairs(found) do
  if token.tag == LIVE and token.ends > now then
    local other_app, other_device = struct.unpack('>Bc0Bc0', token.value, 78)
    if other_app == app then
      live = live + 1
      if limit and other_device == device and string.byte(token.value, 60) == 1 then
        sessions[#sessions + 1] = token
      end
    end
  end
end

local replaced = 0
if limit and refuses then
  if #sessions >= limit then return -1 end
elseif limit then
  replaced = math.max(#sessions + 1 - math.max(limit, 1), 0)
end
if live - replaced >= max then return -1 end

if replaced > 0 then
  table.sort(sessions, function(a, b) return number(a.value, 3) < number(b.value, 3) end)
  local is_replaced, ended = {}, {}
  for i = 1, replaced do is_replaced[session_of(sessions[i])] = true end
  for _, token in ipairs(found) do
    if token.tag ~= ENDED and is_replaced[session_of(token)] then ended[#ended + 1] = token end
  end
  finish(ended, found, 'r', remembered, now)
end
append(digest, value, now)
return replaced
