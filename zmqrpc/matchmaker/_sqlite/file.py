"""The records of a machine in one SQLite file (docs/spec/records). Everything here blocks."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from math import inf, isfinite
from stat import S_IMODE
from urllib.parse import quote

import attrs

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._entry import Skips, TopicKey, read_record, write_body
from zmqrpc.matchmaker._sqlite.errors import is_busy, reason
from zmqrpc.matchmaker._sqlite.format import persist, prepare, transaction
from zmqrpc.matchmaker._sqlite.machine import Machine, Owner
from zmqrpc.matchmaker._sqlite.roll import Roll
from zmqrpc.record import Record, Sighting

_KEY = ("exchange", "topic", "member", "instance", "role", "pool")
_TYPES = {(*[str] * 7, float, expires, str, int, int, int) for expires in (float, type(None))}
"""Of the columns, in their order: SQLite stores what it is given, whatever the type of a column."""

_COLUMNS = f"{', '.join(_KEY)}, body, stamp, expires, boot, namespace, pid, started"
_LIVE = f"SELECT {_COLUMNS} FROM record WHERE boot = ? AND (expires IS NULL OR expires > ?)"
_STORE = f"INSERT OR REPLACE INTO record ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PURGE = "DELETE FROM record WHERE boot <> ? OR expires <= ?"
_WITHDRAW = f"DELETE FROM record WHERE ({', '.join(_KEY)}) = (?, ?, ?, ?, ?, ?)"
_BURY = "DELETE FROM record WHERE (boot, namespace, pid, started) = (?, ?, ?, ?)"


@attrs.frozen
class Row:
    """
    A live record as it is stored.

    :ivar record: the record.
    :ivar stamp: when it was registered or refreshed, by `Machine.now`.
    :ivar expires: when it is forgotten; None for never.
    :ivar owner: the process that registered it.
    """

    record: Record
    stamp: float
    expires: float | None
    owner: Owner

    def sighting(self, now: float, path: str) -> Sighting:
        """Return the record with its age, as read from the file with this path."""
        lasts = inf if self.expires is None else self.expires - self.stamp
        return Sighting(self.record, max(0.0, now - self.stamp), path, lasts)


class SqliteFile:
    """
    The file, opened at its first use and again after it was replaced or failed. To be used in one thread only.

    Every method raises `MatchmakerUnavailable` when the file could not be used; its text names path and reason.

    :param path: the absolute path. A registration makes a missing file, readable and writable for its user only; for
        everything else it is an empty one, unless its directory is missing too.
    :param machine: whose time and processes count.
    :param patience: seconds to wait for a lock of another process.
    :ivar missing: whether there was no file when it was read last.
    """

    def __init__(self, path: str, machine: Machine, patience: float = 1.0) -> None:
        self._path = path
        self._machine = machine
        self._patience = patience
        self.missing = False
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._here: Owner | None = None
        self._roll = Roll(machine)
        self._opened = 0
        self._written = 0

    def register(self, record: Record, expire: float) -> None:
        """Store a record for `expire` seconds, 0 or less for ever, and remove what has expired; one transaction."""
        with self._transaction(make=True) as (connection, here):
            now = self._machine.now()
            expires = now + expire if expire > 0 else None
            connection.execute(_PURGE, (here.boot, now))
            values = (*_key(record), write_body(record), now, expires, *attrs.astuple(here))
            connection.execute(_STORE, values)

    def withdraw(self, record: Record) -> None:
        """Remove the entry with the record's key, if there is one."""
        if self._is_missing():
            return
        with self._transaction() as (connection, _):
            connection.execute(_WITHDRAW, _key(record))

    def read(self, topic: TopicKey | None = None) -> list[Row]:
        """List the live records of a topic, or all; those of dead processes are removed from the file on the way."""
        if self._is_missing():
            return []
        with self._open() as (connection, here):
            query, values = _LIVE, [here.boot, self._machine.now()]
            if topic is not None:
                query, values = f"{_LIVE} AND exchange = ? AND topic = ?", [*values, *topic]
            found = persist(lambda: connection.execute(query, values).fetchall(), self._patience)
            owners: dict[Owner, bool] = {}
            rows = []
            skips = Skips(f"the matchmaker file {self._path}")
            for row in found:
                exchange, name, member, instance, role, pool, body, stamp, expires, *owner_columns = row
                if tuple(map(type, row)) not in _TYPES or not isfinite(stamp):
                    of = str(exchange), str(name)
                    skips.add(of, _named(row), "its columns hold other types than docs/spec/records says")
                    continue
                owner = Owner(*owner_columns)
                if owner not in owners:
                    owners[owner] = self.judges(owner) and self._roll.is_dead(owner)
                record = read_record(role, exchange, name, member, instance, pool, body)
                if isinstance(record, str):
                    skips.add((exchange, name), _named(row), record)
                elif record is not None and not owners[owner]:
                    rows.append(Row(record, stamp, expires, owner))
            skips.say()
            self._bury([owner for owner, dead in owners.items() if dead])
            return rows

    def judges(self, owner: Owner) -> bool:
        """Tell whether this process could prove the owner's death: another process of the same pid namespace."""
        here = self._here
        return here is not None and owner != here and owner.namespace == here.namespace != 0

    def version(self) -> tuple[int, int, int]:
        """Return what differs from before whenever the content of the file may differ."""
        if self._is_missing():
            return (self._opened, -1, self._written)
        with self._open() as (connection, _):
            (data_version,) = persist(lambda: connection.execute("PRAGMA data_version").fetchone(), self._patience)
            # data_version tells of other connections only, and begins anew with each opening.
            return (self._opened, data_version, self._written)

    def close(self) -> None:
        """Close the file; it is opened again when it is used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    @contextmanager
    def _open(self, make: bool = False) -> Iterator[tuple[sqlite3.Connection, Owner]]:
        try:
            connection = self._connection
            if connection is not None and self._emptied():
                self._replace()
                connection = None
            if connection is None or self._here is None or self._identity != self._identify():
                connection = self._connect(make)
            assert self._here is not None
            yield connection, self._here
        except (sqlite3.Error, OSError) as error:
            # A lock passes by itself; after everything else only a new connection can be trusted.
            if not is_busy(error):
                self.close()
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> MatchmakerUnavailable:
        why = reason(error)
        if isinstance(error, FileNotFoundError) and os.path.isdir(os.path.dirname(self._path)):
            why = "cannot be made, its directory takes no files; name one in another directory"
        return MatchmakerUnavailable(f"the matchmaker file {self._path} {why} ({error})")

    @contextmanager
    def _transaction(self, make: bool = False) -> Iterator[tuple[sqlite3.Connection, Owner]]:
        with self._open(make) as (connection, here), transaction(connection, self._patience):
            yield connection, here
        self._written += 1

    def _bury(self, dead: Iterable[Owner]) -> None:
        """Remove the records of dead processes, for those who cannot see it; but wait for nobody, it can be later."""
        connection = self._connection
        owners = [attrs.astuple(owner) for owner in dead]
        if not owners or connection is None:
            return
        with suppress(sqlite3.OperationalError), transaction(connection, 0):
            connection.executemany(_BURY, owners)
            self._written += 1

    def _is_missing(self) -> bool:
        """Whether there is no file, and a registration could make one."""
        try:
            self.missing = is_missing(self._path)
            if self.missing:
                self.close()
                os.stat(os.path.dirname(self._path))
        except OSError as error:
            self.close()
            raise self._unavailable(error) from error
        return self.missing

    def _emptied(self) -> bool:
        """Whether somebody has cut the file that is open to no bytes, which a database never has."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return False
        return status.st_size == 0 and (status.st_dev, status.st_ino) == self._identity

    def _replace(self) -> None:
        """
        Put a new file in the place of one that was emptied; whoever else has that open finds another there.

        The files beside it describe what it held, and SQLite would call it locked or broken for ever.
        """
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            # One process does it; the others find that it is done.
            persist(lambda: flock(directory, LOCK_EX | LOCK_NB), self._patience)
            self.close()
            if not self._emptied():
                return
            mode = S_IMODE(os.stat(self._path).st_mode)
            for suffix in ("-shm", "-wal", ""):
                with suppress(FileNotFoundError):
                    os.unlink(self._path + suffix)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.fchmod(descriptor, mode)
            os.close(descriptor)
        finally:
            os.close(directory)

    def _identify(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return None
        return (status.st_dev, status.st_ino)

    def _connect(self, make: bool) -> sqlite3.Connection:
        self.close()
        try:
            self._here = self._machine.owner()
        except OSError as error:
            raise MatchmakerUnavailable(
                f"the matchmaker file {self._path} needs procfs, to tell boots and processes apart ({error})"
            ) from error
        # SQLite would make the file for everybody whom the umask lets. An existing one is not touched: closing any
        # descriptor of it would drop the locks that other connections of this process hold.
        if make:
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(f"file:{quote(self._path)}?mode=rw", uri=True, timeout=0, isolation_level=None)
        try:
            connection.text_factory = _text
            prepare(connection, self._path, self._patience)
            # Records do not outlive the boot, so only the integrity of the file has to survive a crash.
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        self._identity = self._identify()
        self._connection = connection
        self._opened += 1
        return connection


def is_missing(path: str) -> bool:
    """
    Whether nothing has that name, and a registration could make the file; a link that leads nowhere has it.

    :raises OSError: it cannot be known.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    return False


def _text(stored: bytes) -> str | bytes:
    """Read text; what is none is left, so that it spoils no more than its row."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def _named(row: Sequence[object]) -> str:
    """Name a row by its key."""
    return "the row " + " ".join(f"{name}={value!r}" for name, value in zip(_KEY, row, strict=False))


def _key(record: Record) -> tuple[str, str, str, str, str, str]:
    role, exchange, topic, member, instance, pool = record.key
    return (exchange, topic, member, instance, role, pool)
