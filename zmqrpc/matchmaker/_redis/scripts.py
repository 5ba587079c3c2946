"""
What Redis is asked to do: scripts, each of which is one round trip and happens as a whole (docs/spec/records).

They are sent as they are each time (EVAL). To name them by their digest (EVALSHA) would save the server 12 us and the
network 1.5 kB for each, but costs a second round trip whenever the server has forgotten them.
"""

from __future__ import annotations

from zmqrpc.matchmaker._entry import TopicKey, write_body
from zmqrpc.matchmaker._redis.names import (
    FORMAT_KEY,
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

# KEYS: format, topics[, topic]. ARGV: format, channel for a new database[, channel of the topic, name of the topic].
_BEGIN = """
local format = redis.call('GET', KEYS[1])
if not format then
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('PUBLISH', ARGV[2], '')
elseif format ~= ARGV[1] then
  return redis.error_reply('FORMAT ' .. format)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local topics, topic, channel, name = KEYS[2], KEYS[3], ARGV[3], ARGV[4]

local function whole(number)
  return string.format('%.0f', number)
end

-- When a value was stored, when it ends (nil: never), and what a refresh does not change.
local function read(value)
  local stamp, rest, expire = string.match(value, '^(%d+) ((%d+) .*)$')
  stamp, expire = tonumber(stamp), tonumber(expire)
  return stamp, expire and expire > 0 and stamp + expire or nil, rest
end

local function version()
  return tonumber(redis.call('HGET', topic, '') or '') or 0
end

local function tell(field, value, gone, soonest)
  local before = version()
  local after = math.max(before + 1, now)
  if redis.call('HLEN', topic) == (before > 0 and 1 or 0) then
    redis.call('DEL', topic)
    redis.call('ZREM', topics, name)
    after = 0
  else
    redis.call('HSET', topic, '', whole(after))
  end
  redis.call('PUBLISH', channel, cmsgpack.pack({before, after, field, value, gone, soonest}))
  return after
end
"""

_REGISTER = (
    _BEGIN
    + """
local field, rest = ARGV[5], ARGV[6]
local old = redis.call('HGET', topic, field)
local value = whole(now) .. ' ' .. rest
redis.call('HSET', topic, field, value)

local _, ends = read(value)
local known = redis.call('ZSCORE', topics, name)
if not known or (known ~= 'inf' and (not ends or tonumber(known) < ends)) then
  redis.call('ZADD', topics, ends or '+inf', name)
end
for _, other in ipairs(redis.call('ZRANGEBYSCORE', topics, '-inf', now, 'LIMIT', 0, 10)) do
  redis.call('DEL', string.sub(topic, 1, -#name - 1) .. other)
  redis.call('ZREM', topics, other)
end

if old then
  local _, ended, same = read(old)
  if same == rest and not (ended and ended <= now) then
    return 0
  end
end
tell(field, value, {}, -1)
return 1
"""
)

_WITHDRAW = (
    _BEGIN
    + """
local gone = redis.call('HDEL', topic, ARGV[5])
if gone == 1 then
  tell('', '', {ARGV[5]}, -1)
end
return gone
"""
)

_LOOK = (
    _BEGIN
    + """
local known, until_then = tonumber(ARGV[5]), tonumber(ARGV[6])
local before = version()
-- A version of the future: the clock was set back, and what is known of the expiry is wrong.
if known == before and before <= now and (until_then == 0 or now < until_then) then
  return cmsgpack.pack({now, before, until_then, false})
end
local entries = redis.call('HGETALL', topic)
local live, gone, soonest = {}, {}, 0
for i = 1, #entries, 2 do
  local field, value = entries[i], entries[i + 1]
  local stamp, ends, rest = read(value)
  if stamp and stamp > now then
    -- The clock was set back: what is in its future would live too long.
    value = whole(now) .. ' ' .. rest
    redis.call('HSET', topic, field, value)
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
    redis.call('HDEL', topic, field)
  end
  before = tell('', '', gone, soonest)
end
return cmsgpack.pack({now, before, soonest, live})
"""
)

_LIST = (
    _BEGIN
    + """
local all = {}
for _, name in ipairs(redis.call('ZRANGE', topics, 0, -1)) do
  all[#all + 1] = {name, redis.call('HGETALL', ARGV[3] .. name)}
end
return cmsgpack.pack({now, all})
"""
)


class RedisScripts:
    """
    The commands for one database.

    :param db: its number.
    """

    def __init__(self, db: int) -> None:
        self._db = db

    def register(self, record: Record, expire: float) -> Words:
        """Store a record for `expire` seconds, 0 or less for ever, and tell when that changes anything."""
        milliseconds = min(max(1, round(expire * 1000)), 2**52) if expire > 0 else 0
        rest = f"{milliseconds} {write_body(record)}"
        return self._eval(_REGISTER, (record.exchange, record.topic), record_field(record), rest)

    def withdraw(self, record: Record) -> Words:
        """Remove the entry with the record's key, and tell."""
        return self._eval(_WITHDRAW, (record.exchange, record.topic), record_field(record))

    def look(self, topic: TopicKey, version: int = -1, soonest: int = 0) -> Words:
        """
        Read a topic; what has expired is removed, and told.

        :param version: what the reader knows of it already; -1 for nothing.
        :param soonest: when the first of the records that the reader knows expires, in milliseconds of the server's
            clock; 0 for never.
        """
        return self._eval(_LOOK, topic, version, soonest)

    def list(self) -> Words:
        """Read everything."""
        return ("EVAL", _LIST, 2, FORMAT_KEY, TOPICS_KEY, FORMAT, new_channel(self._db), TOPIC_PREFIX)

    def _eval(self, script: str, topic: TopicKey, *arguments: str | int) -> Words:
        keys = (FORMAT_KEY, TOPICS_KEY, TOPIC_PREFIX + join(topic))
        told = (new_channel(self._db), topic_channel(self._db, topic))
        return ("EVAL", script, len(keys), *keys, FORMAT, *told, join(topic), *arguments)
