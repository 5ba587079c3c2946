"""What is posted to etcd's JSON gateway: path and body of each question (docs/spec/records)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.matchmaker._etcd.names import EtcdNames, encode_key

FORMAT = "1"

CHUNK = 120
"""How many records one transaction may write or compare: etcd allows 128 operations, some of which are ours."""

PAGE = 1000
"""How many records are listed with one question: a busy member has to answer it in time, and we read it in one go."""

Words: TypeAlias = tuple[str, bytes]
"""A question: where it is posted to, and what."""


def _words(path: str, body: Any) -> Words:
    return f"/v3/{path}", msgspec.json.encode(body)


class EtcdWords:
    """
    The questions about what is below a prefix.

    Bytes become base64 when they are encoded, as the gateway wants them.

    :param prefix: without a slash at either end.
    :param called: what people call that etcd.
    """

    def __init__(self, prefix: str, called: str = "etcd") -> None:
        self.names = EtcdNames(prefix, called)
        self._is_ours = {"key": self.names.format.encode(), "target": "VALUE", "value": FORMAT.encode()}
        self._is_new = {"key": self.names.format.encode(), "target": "CREATE", "create_revision": 0}
        self._read_format = {"request_range": {"key": self.names.format.encode()}}
        self._read_store = {"request_range": {"key": self.names.store.encode()}}

    # Transactions. Each answers first with the format where that is not ours, otherwise as it says.

    def look(self, topics: Iterable[TopicKey]) -> Words:
        """Read topics: the id of the store, then the records of each."""
        records = ({"request_range": _range(self.names.topic(topic))} for topic in topics)
        return self._transaction([self._read_store, *records])

    def list(self, after: str = "", revision: int = 0) -> Words:
        """
        Read all topics: the id of the store, then up to `PAGE` records.

        :param after: the key after which it begins.
        :param revision: of the page before; 0 for the first.
        """
        ranged = _range(self.names.topics) | {"limit": PAGE, "revision": revision}
        if after:
            ranged["key"] = encode_key(after) + b"\0"
        return self._transaction([self._read_store, {"request_range": ranged}])

    def store(self, entries: Mapping[str, str], lease: int) -> Words:
        """Write records, by key, attached to a lease; 0 for none."""
        return self._transaction(_puts(entries, lease))

    def begin(self, entries: Mapping[str, str], lease: int, store: str) -> Words:
        """
        Write records, and first the format, where there is none.

        :param store: the id that the new store gets.
        """
        first = _puts({self.names.format: FORMAT, self.names.store: store}, 0)
        return self._transaction([*first, *_puts(entries, lease)], self._is_new)

    def keep(self, entries: Mapping[str, str], guard: str, revision: int) -> Words:
        """Write records, by key, that never expire, and delete the guard; only where that has this revision."""
        compared = {"key": guard.encode(), "target": "MOD", "mod_revision": revision}
        return self._transaction([*_puts(entries, 0), _deletion(guard)], self._is_ours, compared)

    def check(self, revisions: Mapping[str, int]) -> Words:
        """Ask whether records, by key, are as they were written at these revisions."""
        compared = [
            {"key": key.encode(), "target": "MOD", "mod_revision": revision} for key, revision in revisions.items()
        ]
        return self._transaction([], self._is_ours, *compared)

    def remove(self, keys: Iterable[str]) -> Words:
        """Delete records."""
        return self._transaction([_deletion(key) for key in keys])

    def _transaction(self, asked: Sequence[Any], *compared: Any) -> Words:
        body = {"compare": compared or (self._is_ours,), "success": asked, "failure": [self._read_format]}
        return _words("kv/txn", body)

    # Leases

    def grant(self, lease: int, seconds: int) -> Words:
        """Make a lease."""
        return _words("lease/grant", {"ID": lease, "TTL": seconds})

    def keep_alive(self, lease: int) -> Words:
        """Have a lease begin anew."""
        return _words("lease/keepalive", {"ID": lease})

    def revoke(self, lease: int) -> Words:
        """End a lease, and remove what is attached to it."""
        return _words("lease/revoke", {"ID": lease})

    def time_to_live(self, lease: int) -> Words:
        """Ask how much of a lease is left."""
        return _words("lease/timetolive", {"ID": lease})

    def leases(self) -> Words:
        """Ask for the ids of all leases."""
        return _words("lease/leases", {})

    # The rest

    def probe(self) -> Words:
        """Ask for the id of the store, which only a member that reaches the majority can tell."""
        return _words("kv/range", {"key": self.names.store.encode()})

    def watch(self, wanted: Iterable[tuple[int, TopicKey, int]]) -> Words:
        """
        Hear the changes of topics.

        :param wanted: for each its number, from 1, the topic, and the revision from which on.
        """
        requests = [
            {"create_request": _range(self.names.topic(topic)) | {"watch_id": number, "start_revision": revision}}
            for number, topic, revision in wanted
        ]
        return "/v3/watch", b"\n".join(map(msgspec.json.encode, requests))

    @staticmethod
    def authenticate(user: str, password: str) -> Words:
        """Say who we are."""
        return _words("auth/authenticate", {"name": user, "password": password})


def _range(prefix: str) -> dict[str, Any]:
    """Return what all keys with a prefix are that ends with a slash."""
    return {"key": prefix.encode(), "range_end": prefix.encode()[:-1] + b"0"}


def _deletion(key: str) -> dict[str, Any]:
    return {"request_delete_range": {"key": key.encode()}}


def _puts(entries: Mapping[str, str], lease: int) -> list[Any]:
    return [
        {"request_put": {"key": key.encode(), "value": value.encode(), "lease": lease}}
        for key, value in entries.items()
    ]
