local MAX_ENDED = 64

-- Reads all tokens of the owner: those that count, the fields whose end is long over, and those of other releases.
local function scan(now)
  local found, dead, unreadable = {}, {}, {}
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local field, value = all[i], all[i + 1]
    if #field == 32 then
      local tag, ends = head(value)
      if not tag then
        unreadable[#unreadable + 1] = field
      elseif ends + KEPT <= now then
        dead[#dead + 1] = field
      else
        found[#found + 1] = { field = field, value = value, tag = tag, ends = ends }
      end
    end
  end
  return found, dead, unreadable
end

-- The place of the record in a live or renewed token.
local function record_at(token)
  return token.tag == RENEWED and 107 or 1
end

local function session_of(token)
  local at = record_at(token)
  return string.sub(token.value, at + 61, at + 76)
end

local function app_of(token)
  if token.tag == ENDED then return string.sub(token.value, 20) end
  return (struct.unpack('>Bc0', token.value, record_at(token) + 77))
end

-- Ends tokens. The newest 64 of each app are remembered.
local function finish(ended, found, reason, remembered, now)
  local fields, by_app = {}, {}
  for i, token in ipairs(ended) do fields[i] = token.field end
  -- A full Redis lets a script write after it has removed something.
  remove(fields)
  if number(remembered, 1) <= now or #ended == 0 then return end
  local function add(token, is_new)
    local app = app_of(token)
    by_app[app] = by_app[app] or {}
    table.insert(by_app[app], { token = token, is_new = is_new, sequence = number(token.value, 3) })
  end
  for _, token in ipairs(found) do
    if token.tag == ENDED then add(token, false) end
  end
  for _, token in ipairs(ended) do add(token, true) end
  for app, tokens in pairs(by_app) do
    table.sort(tokens, function(a, b) return a.sequence > b.sequence end)
    for i, item in ipairs(tokens) do
      local field, sequence = item.token.field, string.sub(item.token.value, 3, 10)
      if i > MAX_ENDED then
        if not item.is_new then redis.call('HDEL', key, field) end
      elseif item.is_new then
        redis.call('HSET', key, field, 'K\1' .. sequence .. remembered .. reason .. app)
      end
    end
  end
  prolong(number(remembered, 1), now)
end
