-- Append events to the histories of their channels, link each to the one before, and publish them.
--
-- KEYS, four for each event: stream, meta, own ids, result of the publication with this key
-- ARGV, nine for each event: channel, envelope, kept events, milliseconds they are kept, milliseconds that
--   meta is kept, own id, fresh epoch, seconds that the result is kept (0: no key), "1" if there is an own id
-- Returns for each event "RECEIVERS CURSOR", and behind that " OWN-ID" if it has one. An event that fails is
--   the last one: "!ERROR".

-- Return the time in milliseconds; nil where the user may not ask.
local function clock()
  local time = redis.pcall('TIME')
  return time[1] and time[1] * 1000 + math.floor(time[2] / 1000)
end

local function is_after(id, top)
  local ms, seq = string.match(id, '(%d+)-(%d+)')
  local top_ms, top_seq = string.match(top, '(%d+)-(%d+)')
  ms, seq, top_ms, top_seq = tonumber(ms), tonumber(seq), tonumber(top_ms), tonumber(top_seq)
  return ms > top_ms or (ms == top_ms and seq > top_seq)
end

local function append_and_publish(k, a)
  local stream, meta, own_ids, result = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4]
  local channel, envelope, size, kept = ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3]), ARGV[a + 4]
  local own_id, fresh_epoch, once = ARGV[a + 6], ARGV[a + 7], tonumber(ARGV[a + 8])
  local has_own_id = ARGV[a + 9] == '1'
  if once > 0 then
    local first = redis.call('GET', result)
    if first then
      return first
    end
  end
  local cursor = ''
  if size > 0 then
    local epoch, top = begin(stream, meta, own_ids, fresh_epoch)
    local now = clock()
    local function append()
      if not has_own_id then
        return redis.call('XADD', stream, 'MAXLEN', '=', size, '*', 'd', envelope, 'p', top)
      end
      local function append_as(id)
        return redis.pcall('XADD', stream, 'MAXLEN', '=', size, id, 'd', envelope, 'p', top, 'i', own_id)
      end
      -- Each has a millisecond of its own, for own ids are ordered by it, and equal ones by their text: of a batch,
      -- and while the clock is behind, others than the oldest would be forgotten.
      local added = now and append_as(string.format('%.0f-0', math.max(now, string.match(top, '%d+') + 1)))
      if type(added) ~= 'string' then
        -- The clock may not be asked, or another program has appended a later id.
        added = append_as('*')
      end
      return type(added) == 'string' and added or error(added)
    end
    -- Asked before anything is written, for it fails where the key is of another type.
    local is_again = has_own_id and redis.call('ZSCORE', own_ids, own_id)
    local id = append()
    if not is_after(id, top) then
      -- The stream was deleted and the clock has stepped back: an id must never come again.
      redis.call('DEL', stream, own_ids)
      epoch, top = fresh_epoch, '0-0'
      id = append()
    end
    redis.call('HSET', meta, 'e', epoch, 't', id)
    local ms = string.match(id, '%d+')
    if has_own_id then
      -- It is not known which of two events with the same id a client has seen: half a millisecond is no
      -- event's time.
      redis.call('ZADD', own_ids, is_again and ms + 0.5 or ms, own_id)
      redis.call('ZREMRANGEBYRANK', own_ids, 0, -size - 1)
      redis.call('PEXPIRE', own_ids, kept)
    end
    -- Ids may be ahead of the clock.
    redis.call('XTRIM', stream, 'MINID', '~', string.format('%.0f', math.max(0, math.min(ms, now or ms) - kept)))
    redis.call('PEXPIRE', stream, kept)
    extend_ttl(meta, ARGV[a + 5])
    cursor = epoch .. '.' .. id
    envelope = '{"data": "' .. cursor .. ' ' .. top .. '", ' .. string.sub(envelope, 2)
  end
  local name = ' ' .. cursor .. (has_own_id and ' ' .. own_id or '')
  if once > 0 then
    -- Before the event is out, so that it cannot come twice where the server has no room for the result.
    redis.call('SET', result, '0' .. name, 'EX', once)
  end
  local receipt = redis.call('PUBLISH', channel, envelope) .. name
  if once > 0 then
    redis.call('SET', result, receipt, 'EX', once)
  end
  return receipt
end

local receipts = {}
for event = 0, #KEYS / 4 - 1 do
  local done, receipt = pcall(append_and_publish, event * 4, event * 9)
  if not done then
    receipts[event + 1] = '!' .. (type(receipt) == 'table' and receipt.err or receipt)
    break
  end
  receipts[event + 1] = receipt
end
return receipts
