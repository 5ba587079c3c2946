"""
What Redis is asked to do: scripts, each of which is one round trip and happens as a whole (docs/spec/records).

They are sent as they are each time (EVAL). To name them by their digest (EVALSHA) would save the server 12 us and the
network 1.5 kB for each, but costs a second round trip whenever the server has forgotten them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from zmqrpc.matchmaker._entry import TopicKey, write_body
from zmqrpc.matchmaker._redis.names import (
    FORMAT_KEY,
    SINCE_KEY,
    TOPIC_PREFIX,
    TOPICS_KEY,
    join,
    new_channel,
    record_field,
    topic_channel,
)
from zmqrpc.record import Record

FORMAT = "1"

Words = tuple[str | int, ...]
"""A command: its name and arguments."""

# KEYS: format, topics, since. ARGV: format, channel for a new database, what the channels of topics begin with, what
# their keys begin with, when the database was found new that the asker knows; then what is asked of topics.
_BEGIN = """
local now, since, before, topic, channel, name

-- An error says what it is about: before Redis 7.2 it does not name a command that is not allowed.
local function call(command, ...)
  local answer = redis.pcall(command, ...)
  if type(answer) == 'table' and answer.err then
    local text = string.gsub(answer.err, 'this command or subcommand', command)
    error(text .. ' (' .. (... or command) .. ')', 0)
  end
  return answer
end

local function use(exchange_and_topic)
  name = exchange_and_topic
  topic, channel = ARGV[4] .. name, ARGV[3] .. name
end

-- Do something with a topic. What is wrong with that topic alone is its answer, and no matter of the others.
local function part(work, ...)
  local done, answer = pcall(work, ...)
  if done or string.find(answer, '^WRONGTYPE') then
    return answer
  end
  -- As Redis 7.2 says it, and as those before do.
  if string.find(answer, 'access a key', 1, true) or string.find(answer, 'one of the keys', 1, true) then
    return answer
  end
  error(answer, 0)
end

local function whole(number)
  return string.format('%.0f', number)
end

-- Whoever else writes here may write anything, and an infinity is no answer that could be read.
local function number(text)
  return text and #text <= 16 and string.match(text, '^%d+$') and tonumber(text) or nil
end

-- When a value was stored (nil: it is malformed), when it ends (nil: never), and what a refresh does not change.
local function read(value)
  local stamp, rest, expire = string.match(value, '^(%d+) ((%d+) .*)$')
  stamp, expire = number(stamp), number(expire)
  return expire and stamp, stamp and expire and expire > 0 and stamp + expire or nil, rest
end

local function version()
  local known = number(call('HGET', topic, ''))
  return known and known < 2^52 and known or 0  -- beyond that one more may be the same
end

local function tell(field, value, gone, soonest)
  local before = version()
  local after = math.max(before + 1, now)
  if call('HLEN', topic) == (before > 0 and 1 or 0) then
    call('DEL', topic)
    call('ZREM', KEYS[2], name)
    after = 0
  else
    call('HSET', topic, '', whole(after))
  end
  call('PUBLISH', channel, cmsgpack.pack({before, after, field, value, gone, soonest}))
  return after
end

-- When this database was found new, and when the one was that somebody has known before it, 0 for none. Where the clock
-- was set back, now: what is new must not seem to be so for ever.
local function begun()
  local since, before = string.match(call('GET', KEYS[3]) or '', '^(%d+) ?(%d*)$')
  since, before = number(since), number(before) or 0
  if not since or since > now then
    since, before = now, 0
    call('SET', KEYS[3], whole(since))
  end
  local seen = tonumber(ARGV[5])
  if before == 0 and seen ~= 0 and seen ~= since then
    before = seen
    call('SET', KEYS[3], whole(since) .. ' ' .. whole(before))
  end
  return since, before
end

local function begin()
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
  local format = call('GET', KEYS[1])
  if not format then
    call('SET', KEYS[1], ARGV[1])
    call('SET', KEYS[3], whole(now))
    call('PUBLISH', ARGV[2], '')
  elseif format ~= ARGV[1] then
    error('FORMAT ' .. format, 0)
  end
  since, before = begun()
end
"""

_END = """
local done, answer = pcall(function()
  begin()
  return cmsgpack.pack(run())
end)
return done and answer or redis.error_reply(answer)
"""

# For each record: the name of its topic, its field, and its value without the time; an empty one removes it.
_WRITE = (
    _BEGIN
    + """
local function register(field, rest)
  local old = call('HGET', topic, field)
  local value = whole(now) .. ' ' .. rest
  call('HSET', topic, field, value)

  local _, ends = read(value)
  local known = call('ZSCORE', KEYS[2], name)
  if not known or (known ~= 'inf' and (not ends or tonumber(known) < ends)) then
    call('ZADD', KEYS[2], ends or '+inf', name)
  end

  if old then
    local _, ended, same = read(old)
    if same == rest and not (ended and ended <= now) then
      return 0
    end
  end
  -- What was stored and not told would not be told when it is stored again.
  local told, trouble = pcall(tell, field, value, {}, -1)
  if not told then
    if old then
      call('HSET', topic, field, old)
    else
      call('HDEL', topic, field)
    end
    error(trouble, 0)
  end
  return 1
end

local function write(named, field, rest)
  use(named)
  if rest ~= '' then
    return register(field, rest)
  end
  local gone = call('HDEL', topic, field)
  if gone == 1 then
    tell('', '', {field}, -1)
  end
  return gone
end

local function run()
  local answers = {}
  for first = 6, #ARGV, 3 do
    answers[#answers + 1] = part(write, ARGV[first], ARGV[first + 1], ARGV[first + 2])
  end
  for _, other in ipairs(call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 10 * #answers)) do
    part(function()
      call('DEL', ARGV[4] .. other)
      call('ZREM', KEYS[2], other)
    end)
  end
  return answers
end
"""
    + _END
)

# For each topic: its name, the version that the reader has, and when the first record expires that the reader knows.
_LOOK = (
    _BEGIN
    + """
local function look(named, known, until_then)
  use(named)
  local before = version()
  -- A version of the future: the clock was set back, and what is known of the expiry is wrong.
  if known == before and before <= now and (until_then == 0 or now < until_then) then
    return {before, until_then, false}
  end
  local entries = call('HGETALL', topic)
  local live, gone, soonest = {}, {}, 0
  for i = 1, #entries, 2 do
    local field, value = entries[i], entries[i + 1]
    local stamp, ends, rest = read(value)
    if stamp and stamp > now then
      -- The clock was set back: what is in its future would live too long.
      value = whole(now) .. ' ' .. rest
      call('HSET', topic, field, value)
      stamp, ends = read(value)
    end
    if ends and ends <= now then
      gone[#gone + 1] = field
    elseif field ~= '' then
      live[#live + 1] = field
      live[#live + 1] = value
      if ends and (soonest == 0 or ends < soonest) then
        soonest = ends
      end
    end
  end
  if #gone > 0 then
    for _, field in ipairs(gone) do
      call('HDEL', topic, field)
    end
    before = tell('', '', gone, soonest)
  end
  return {before, soonest, live}
end

local function run()
  local answers = {}
  for first = 6, #ARGV, 3 do
    answers[#answers + 1] = part(look, ARGV[first], tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2]))
  end
  return {now, since, before, answers}
end
"""
    + _END
)

_LIST = (
    _BEGIN
    + """
local function run()
  local all = {}
  for _, named in ipairs(call('ZRANGE', KEYS[2], 0, -1)) do
    all[#all + 1] = {named, part(call, 'HGETALL', ARGV[4] .. named)}
  end
  return {now, since, before, all}
end
"""
    + _END
)

Write = tuple[TopicKey, str, str]
"""The topic of a record, its field, and its value without the time; an empty value to remove it."""

Known = tuple[TopicKey, int, int]
"""
A topic, and what its reader has of it: the version, -1 for nothing, and when the first record expires that the reader
knows, in milliseconds of the server's clock, 0 for never.
"""


class RedisScripts:
    """
    The commands for one database.

    :param db: its number.
    :ivar seen: when it was found new as far as is known, in milliseconds of the server's clock; 0 before it was asked.
    """

    def __init__(self, db: int) -> None:
        self.seen = 0
        self._db = db

    def registration(self, record: Record, expire: float) -> Write:
        """Return what stores a record for `expire` seconds, 0 or less for ever."""
        milliseconds = min(max(1, round(expire * 1000)), 2**52) if expire > 0 else 0
        return ((record.exchange, record.topic), record_field(record), f"{milliseconds} {write_body(record)}")

    def withdrawal(self, record: Record) -> Write:
        """Return what removes the entry with the record's key."""
        return ((record.exchange, record.topic), record_field(record), "")

    def write(self, writes: Sequence[Write]) -> Words:
        """Store and remove records, in this order, and tell what that changes."""
        words = ((join(topic), field, rest) for topic, field, rest in writes)
        return self._eval(_WRITE, *chain.from_iterable(words))

    def look(self, asked: Sequence[Known]) -> Words:
        """Read topics; what has expired is removed, and told."""
        words: list[str | int] = []
        for topic, version, soonest in asked:
            words += (join(topic), version, soonest)
        return self._eval(_LOOK, *words)

    def list(self) -> Words:
        """Read everything."""
        return self._eval(_LIST)

    def since(self) -> Words:
        """Read when the database was found new: 52 bytes with the answer, where a look sends 4.7 KB."""
        return ("GET", SINCE_KEY)

    def count(self) -> Words:
        """
        Count the processes that watch anything.

        Without it, five hundred that share forty topics take themselves for twelve, and all come back to a store within
        0.13 s instead of 4.5 (docs/adr/0037).
        """
        return ("PUBSUB", "NUMSUB", new_channel(self._db))

    def _eval(self, script: str, *arguments: str | int) -> Words:
        # The keys of topics are not among these, so that one that is forbidden is no matter of the others.
        keys = (FORMAT_KEY, TOPICS_KEY, SINCE_KEY)
        told = (new_channel(self._db), topic_channel(self._db, ()), TOPIC_PREFIX)
        return ("EVAL", script, len(keys), *keys, FORMAT, *told, self.seen, *arguments)
