-- Read a piece of a history.
--
-- KEYS: stream, meta, own ids
-- ARGV: fresh epoch, milliseconds that meta is kept at least, what to resume from ("now", "earliest",
--   "cursor", "own id"), its epoch or the own id, its id, most events, bytes after which the page ends,
--   milliseconds that meta is kept at least where nothing was ever published
-- Returns epoch, top, the id behind which the events follow or "", whether nothing follows ("1"), and then
--   id, id of the event before, and envelope of each event.

local stream, meta, own_ids = KEYS[1], KEYS[2], KEYS[3]
local kind, count, bytes = ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7])
local epoch, top = begin(stream, meta, own_ids, ARGV[1])
listen(meta, top, ARGV[2], ARGV[8])

-- Fields of an entry by name; another program may have appended other ones.
local function fields(entry)
  local named = {}
  for i = 1, #entry[2], 2 do
    named[entry[2][i]] = entry[2][i + 1]
  end
  return named
end

local function start()
  if kind == 'cursor' then
    return ARGV[4] == epoch and ARGV[5] or ''
  elseif kind == 'earliest' then
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if not first then
      return top
    end
    return string.match(fields(first).p or '', '^%d+%-%d+$') or ''
  elseif kind == 'own id' then
    local ms = redis.call('ZSCORE', own_ids, ARGV[4])
    local found = ''
    if ms and ms % 1 == 0 then
      ms = string.format('%.0f', ms)
      for _, entry in ipairs(redis.call('XRANGE', stream, ms, ms, 'COUNT', 1000)) do
        if fields(entry).i == ARGV[4] then
          found = entry[1]
        end
      end
    end
    return found
  end
  return top
end

local since = start()
local page = {epoch, top, since, '1'}
if since ~= '' and since ~= top then
  local size = 0
  for _, entry in ipairs(redis.call('XRANGE', stream, '(' .. since, '+', 'COUNT', count + 1)) do
    if #page == 4 + 3 * count or size > bytes then
      page[4] = '0'
      break
    end
    local named = fields(entry)
    page[#page + 1] = entry[1]
    page[#page + 1] = named.p or ''
    page[#page + 1] = named.d or ''
    size = size + #(named.d or '')
  end
end
return page
