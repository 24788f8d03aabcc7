-- Return the cursor behind the last event of each of several channels, or "!ERROR".
--
-- KEYS, three for each channel: stream, meta, own ids
-- ARGV: milliseconds that meta is kept at least where nothing was ever published, and for each channel
--   a fresh epoch and milliseconds that meta is kept at least

local function cursor(i)
  local meta = KEYS[3 * i - 1]
  local epoch, top = begin(KEYS[3 * i - 2], meta, KEYS[3 * i], ARGV[2 * i])
  listen(meta, top, ARGV[2 * i + 1], ARGV[1])
  return epoch .. '.' .. top
end

local cursors = {}
for i = 1, #KEYS / 3 do
  local done, answer = pcall(cursor, i)
  cursors[i] = done and answer or '!' .. (type(answer) == 'table' and answer.err or answer)
end
return cursors
