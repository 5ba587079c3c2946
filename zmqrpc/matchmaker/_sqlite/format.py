"""The format of a matchmaker file, and how one is made (docs/spec/records)."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._sqlite.errors import is_busy

_T = TypeVar("_T")

SCHEMA_VERSION = 1
APPLICATION_ID = 0x7A6D7172  # "zmqr"

_SCHEMA = """
CREATE TABLE record (
    exchange  TEXT NOT NULL,
    topic     TEXT NOT NULL,
    member    TEXT NOT NULL,
    instance  TEXT NOT NULL,
    role      TEXT NOT NULL,
    pool      TEXT NOT NULL,
    body      TEXT NOT NULL,
    stamp     REAL NOT NULL,
    expires   REAL,
    boot      TEXT NOT NULL,
    namespace INTEGER NOT NULL,
    pid       INTEGER NOT NULL,
    started   INTEGER NOT NULL,
    PRIMARY KEY (exchange, topic, member, instance, role, pool)
) WITHOUT ROWID
"""
# One statement, so that a file that is just being made is seen either empty or complete.
_FORMAT = """
SELECT user_version, application_id, (SELECT count(*) FROM sqlite_master)
FROM pragma_user_version, pragma_application_id
"""


def prepare(connection: sqlite3.Connection, path: str, patience: float) -> None:
    """
    Make the table in an empty file; many may do so at once.

    :param path: names the file in errors.
    :param patience: seconds to wait for others.
    :raises MatchmakerUnavailable: the file is not ours, or of another format.
    """
    if persist(lambda: _is_prepared(connection, path), patience):
        return
    persist(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone(), patience)
    with transaction(connection, patience):
        if not _is_prepared(connection, path):
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _is_prepared(connection: sqlite3.Connection, path: str) -> bool:
    version, application, tables = connection.execute(_FORMAT).fetchone()
    if (version, application, tables) == (0, 0, 0):
        return False
    if application != APPLICATION_ID:
        raise MatchmakerUnavailable(
            f"the matchmaker file {path} is the database of another application; name another file"
        )
    if version != SCHEMA_VERSION:
        raise MatchmakerUnavailable(
            f"the matchmaker file {path} has format {version}, this zmqrpc reads format {SCHEMA_VERSION}; "
            "run one release on this machine, or name another file"
        )
    return True


@contextmanager
def transaction(connection: sqlite3.Connection, patience: float) -> Iterator[None]:
    """
    Run what is done inside in one write transaction; undone when it raises.

    :param patience: seconds to wait for others.
    """
    persist(lambda: connection.execute("BEGIN IMMEDIATE"), patience)
    try:
        yield
        persist(lambda: connection.execute("COMMIT"), patience)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def persist(work: Callable[[], _T], patience: float) -> _T:
    """
    Do what others may have locked the file for, and again until it is done; return what it returns.

    SQLite itself would hold up the process under eventlet, and does not wait for another that changes the journal too.

    :param patience: seconds for which it is tried again.
    :raises sqlite3.OperationalError: the file is locked still, or something else is wrong with it.
    :raises BlockingIOError: what `flock` would wait for is locked still.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return work()
        except (sqlite3.OperationalError, BlockingIOError) as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.01))
