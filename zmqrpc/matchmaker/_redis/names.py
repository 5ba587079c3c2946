"""The names of what is ours in Redis: keys, fields and channels (docs/spec/records)."""

from __future__ import annotations

from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.record import Record, Role

PREFIX = "zmqrpc:"
"""What every key and every channel begins with."""

FORMAT_KEY = PREFIX + "format"
TOPICS_KEY = PREFIX + "topics"
SINCE_KEY = PREFIX + "since"
TOPIC_PREFIX = PREFIX + "topic:"
"""Followed by exchange and topic: the key of the hash that holds the records of a topic."""


def topic_channel(db: int, topic: TopicKey | tuple[()]) -> str:
    """
    Return the channel on which the changes of a topic are told; channels do not belong to a database as keys do.

    :param topic: nothing for what all of them begin with.
    """
    return f"{PREFIX}{db}:topic:{join(topic)}"


def new_channel(db: int) -> str:
    """Return the channel on which is told that a database was found empty."""
    return f"{PREFIX}{db}:new"


def topic_key(topic: TopicKey) -> str:
    """Return the key of the hash that holds the records of a topic."""
    return TOPIC_PREFIX + join(topic)


def record_field(record: Record) -> str:
    """Return the field of a record in the hash of its topic."""
    return join((str(record.role), record.member, record.instance, record.pool or ""))


def is_doubt(field: str) -> bool:
    """Tell whether a field is that of a doubt."""
    return field.startswith(f"{Role.DOUBT}:")


def join(words: tuple[str, ...]) -> str:
    """Join words with colons, so that `split` finds them again."""
    return ":".join(word.replace("%", "%25").replace(":", "%3A") for word in words)


def split(name: str) -> list[str]:
    """Undo `join`."""
    return [word.replace("%3A", ":").replace("%25", "%") for word in name.split(":")]
