-- Put before each of the other scripts.

-- Return epoch and top of a history; it begins now where there is none, or where its last id is lost.
-- An old stream is never continued under a new epoch: ids of before would point to other events.
local function begin(stream, meta, own_ids, fresh_epoch)
  local known = redis.call('HMGET', meta, 'e', 't')
  if known[1] and known[2] then
    return known[1], known[2]
  end
  redis.call('DEL', stream, own_ids)
  redis.call('HSET', meta, 'e', fresh_epoch, 't', '0-0')
  return fresh_epoch, '0-0'
end

-- Extend the time to live of a key; it is never shortened.
local function extend_ttl(key, milliseconds)
  if redis.call('PTTL', key) < tonumber(milliseconds) then
    redis.call('PEXPIRE', key, milliseconds)
  end
end

-- Keep meta because a hub or an application asks for it; for the second, shorter time where nothing was ever
-- published, since visitors name such channels.
local function listen(meta, top, milliseconds, unused_milliseconds)
  extend_ttl(meta, top == '0-0' and unused_milliseconds or milliseconds)
end
