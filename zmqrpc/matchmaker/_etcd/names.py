"""The names of what is ours in etcd (docs/spec/records)."""

from __future__ import annotations

from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.record import Record

_WRITTEN = str.maketrans({"%": "%25", "/": "%2F", ":": "%3A"})


class EtcdNames:
    """
    The keys below a prefix.

    :param prefix: without a slash at either end.
    :ivar called: what people call that etcd.
    :ivar format: the key that holds the format.
    :ivar store: the key that holds the id of the store.
    :ivar topics: what the keys of all records begin with.
    """

    def __init__(self, prefix: str, called: str = "etcd") -> None:
        self.called = called
        self.format = f"/{prefix}/format"
        self.store = f"/{prefix}/store"
        self.topics = f"/{prefix}/topic/"
        self._guards = f"/{prefix}/guard/"

    def topic(self, topic: TopicKey) -> str:
        """Return what the keys of a topic, and no others, begin with."""
        exchange, name = topic
        return f"{self.topics}{exchange.translate(_WRITTEN)}/{name.translate(_WRITTEN)}/"

    def record(self, record: Record) -> str:
        """Return the key of a record."""
        words = (str(record.role), record.member, record.instance, record.pool or "")
        return self.topic((record.exchange, record.topic)) + ":".join(word.translate(_WRITTEN) for word in words)

    def guard(self, lease: int) -> str:
        """Return the key of a guard by the lease that it is under."""
        return f"{self._guards}{lease:016x}"

    def split(self, key: str) -> list[str] | None:
        """
        Undo `record`.

        :return: exchange, topic, role, member, instance and pool; None for what is no key of a record.
        """
        if not key.startswith(self.topics):
            return None
        written = key.removeprefix(self.topics).split("/")
        if len(written) != 3:
            return None
        written[2:] = written[2].split(":")
        if "%" not in key:  # as nearly all are: of a large topic this is read more often than anything else
            is_ours = len(written) == 6 and ":" not in written[0] and ":" not in written[1]
            return written if is_ours and written[0] and written[1] else None
        words = [_read(word) for word in written]
        # Each list of words has one key.
        is_ours = len(words) == 6 and [word.translate(_WRITTEN) for word in words] == written
        return words if is_ours and words[0] and words[1] else None


def decode_key(key: bytes) -> str:
    """Read a key, also one that is no text: there is one string for each."""
    return key.decode(errors="surrogateescape")


def encode_key(key: str) -> bytes:
    """Undo `decode_key`."""
    return key.encode(errors="surrogateescape")


def _read(word: str) -> str:
    return word.replace("%3A", ":").replace("%2F", "/").replace("%25", "%")
