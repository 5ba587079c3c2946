"""The matchmaker file: what it holds, and every way it can be unusable."""

import os
import sqlite3
import stat
from fcntl import LOCK_EX, LOCK_UN, flock
from itertools import count

import attrs
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker import _entry
from zmqrpc.matchmaker._sqlite.errors import reason
from zmqrpc.matchmaker._sqlite.file import SqliteFile
from zmqrpc.matchmaker._sqlite.machine import Machine
from zmqrpc.matchmaker.sqlite import factory
from zmqrpc.test.logs import LogLines
from zmqrpc.test.matchmaker.support import new_path
from zmqrpc.testing.matchmaker import make_record

TOPIC = ("openstack", "compute")


@attrs.frozen
class RebootedMachine(Machine):
    """This machine after its next boot."""

    def owner(self):
        return attrs.evolve(Machine.owner(self), boot="the next boot")


class FileTests(SynchronousTestCase):
    def setUp(self):
        self.path = new_path(self)
        self.time = 1000.0

    def open(self, machine=None, path=None):
        file = SqliteFile(path or self.path, machine or Machine(now=lambda: self.time), patience=0.05)
        self.addCleanup(file.close)
        return file

    def sql(self, *statements):
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            return [connection.execute(statement).fetchall() for statement in statements][-1]
        finally:
            connection.close()

    def records(self, file):
        return [row.record for row in file.read(TOPIC)]

    def test_rights(self):
        """The file, and what SQLite puts beside it, is for its user only, whatever the umask."""
        self.addCleanup(os.umask, os.umask(0))
        file = self.open()
        file.register(make_record(), 300)
        names = os.listdir(os.path.dirname(self.path))
        self.assertEqual(len(names), 3)
        for name in names:
            mode = os.stat(os.path.join(os.path.dirname(self.path), name)).st_mode
            self.assertEqual(stat.S_IMODE(mode), 0o600, name)

    def test_stored_form(self):
        """What is stored is what docs/spec/records says."""
        machine = Machine(now=lambda: self.time)
        record = make_record(addresses=("tcp://h:1", "tcp://h:2"), versions=(1, 2), subscribes=True, pool="audit")
        self.open(machine).register(record, 300)
        (row,) = self.sql("SELECT exchange, topic, member, instance, role, pool, body, stamp, expires FROM record")
        body = '{"addresses":["tcp://h:1","tcp://h:2"],"versions":[1,2],"subscribes":true}'
        key = ("openstack", "compute", "node-1", f"{1:032x}", "server", "audit")
        self.assertEqual(row, (*key, body, 1000.0, 1300.0))
        (row,) = self.sql("SELECT boot, namespace, pid, started FROM record")
        self.assertEqual(row, attrs.astuple(machine.owner()))
        self.assertEqual(row[2], os.getpid())
        self.assertEqual(self.sql("PRAGMA user_version"), [(1,)])
        self.assertEqual(self.sql("PRAGMA application_id"), [(0x7A6D7172,)])
        self.assertEqual(self.sql("PRAGMA journal_mode"), [("wal",)])

    def test_version(self):
        """The version differs after each change, ours or another's, and after the file was opened again."""
        mine, other = self.open(), self.open()
        versions = [mine.version()]
        for change in (
            lambda: mine.register(make_record(), 300),
            lambda: other.register(make_record(), 300),
            lambda: other.withdraw(make_record()),
            mine.close,
        ):
            self.assertEqual(mine.version(), versions[-1])
            change()
            versions.append(mine.version())
        self.assertEqual(len(set(versions)), len(versions))

    def test_expired_are_removed(self):
        """A registration removes what has expired."""
        file = self.open()
        file.register(make_record(), 10)
        self.time += 10
        file.register(make_record(number=2), 10)
        self.assertEqual(self.sql("SELECT count(*) FROM record"), [(1,)])

    def test_other_boot(self):
        """A record of another boot is dead, also one that never expires, and is removed by the next registration."""
        self.open().register(make_record(), 0)
        rebooted = self.open(RebootedMachine(now=lambda: 5.0))
        self.assertEqual(rebooted.read(), [])
        rebooted.register(make_record(number=2), 0)
        self.assertEqual(self.sql("SELECT count(*), max(boot) FROM record"), [(1, "the next boot")])

    def test_dead_process(self):
        """A record of a process that does not exist is dead and is removed, if the process was of our namespace."""
        file = self.open()
        for number in range(3):
            file.register(make_record(number=number), 0)
        # One with our pid that started at another time, and one of another namespace about which nothing is known.
        self.sql(
            "UPDATE record SET started = started + 1 WHERE instance LIKE '%1'",
            "UPDATE record SET started = started + 1, namespace = namespace + 1 WHERE instance LIKE '%2'",
        )
        self.assertEqual(self.records(file), [make_record(number=number) for number in (0, 2)])
        self.assertEqual(self.sql("SELECT count(*) FROM record"), [(2,)])

    def test_dead_process_while_locked(self):
        """The record of a dead process is not given, also when it cannot be removed now."""
        file = self.open()
        file.register(make_record(), 0)
        self.sql("UPDATE record SET started = started + 1")
        locking = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(locking.close)
        locking.execute("BEGIN IMMEDIATE")
        self.assertEqual(self.records(file), [])
        locking.execute("ROLLBACK")
        self.assertEqual(self.sql("SELECT count(*) FROM record"), [(1,)])
        self.assertEqual(self.records(file), [])
        self.assertEqual(self.sql("SELECT count(*) FROM record"), [(0,)])

    def test_later_releases(self):
        """Fields of a later release are ignored and kept, a role of a later release is skipped."""
        file = self.open()
        for number in range(2):
            file.register(make_record(number=number), 0)
        self.sql(
            "ALTER TABLE record ADD COLUMN zone TEXT NOT NULL DEFAULT ''",
            "UPDATE record SET body = json_set(body, '$.zone', 'west') WHERE instance LIKE '%0'",
            "UPDATE record SET role = 'oracle' WHERE instance LIKE '%1'",
        )
        self.assertEqual(self.records(file), [make_record(number=0)])
        file.register(make_record(number=2), 0)
        self.assertEqual(self.sql("SELECT count(*) FROM record WHERE body LIKE '%west%' OR role = 'oracle'"), [(2,)])

    def test_fewer_fields(self):
        """Fields that an earlier release did not write have their defaults."""
        file = self.open()
        file.register(make_record(versions=(1, 3), subscribes=True), 0)
        self.sql("""UPDATE record SET body = '{"addresses":["tcp://h:1"]}'""")
        self.assertEqual(self.records(file), [make_record(addresses=("tcp://h:1",))])

    def test_malformed(self):
        """A malformed entry is skipped, and one line says how many there are."""
        self.patch(_entry, "_said", {})
        lines = LogLines(self, "zmqrpc.matchmaker._entry")
        file = self.open()
        bodies = ["nonsense", "[]", "{}", '{"addresses":[]}', '{"addresses":["x"],"versions":[2,1]}']
        for number, body in enumerate(bodies):
            file.register(make_record(number=number), 0)
            self.sql(f"UPDATE record SET body = '{body}', member = 'bad' WHERE instance LIKE '%{number}'")
        file.register(make_record(number=9), 0)
        for _ in range(2):
            self.assertEqual(self.records(file), [make_record(number=9)])
        (line,) = lines
        begin = f"the matchmaker file {self.path} holds malformed records of compute in exchange openstack, "
        self.assertTrue(line.startswith(f"{begin}{len(bodies)} so far"), line)
        row = f"exchange='openstack' topic='compute' member='bad' instance='{0:032x}' role='server' pool=''"
        self.assertIn(f"; the first is the row {row} (", line)

    def test_missing(self):
        """A missing file reads as an empty one, and only a registration makes it; then it is seen."""
        file = self.open()
        before = file.version()
        self.assertEqual((file.read(TOPIC), file.read(), file.version()), ([], [], before))
        file.withdraw(make_record())
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [])
        self.open().register(make_record(), 0)
        self.assertNotEqual(file.version(), before)
        self.assertEqual(self.records(file), [make_record()])

    def test_removed(self):
        """A file that was removed reads as an empty one, and is not made again by who reads."""
        file = self.open()
        file.register(make_record(), 0)
        before = file.version()
        os.unlink(self.path)
        self.assertNotEqual(file.version(), before)
        self.assertEqual(self.records(file), [])
        self.assertFalse(os.path.exists(self.path))
        file.register(make_record(number=2), 0)
        self.assertEqual(self.records(file), [make_record(number=2)])

    # Files that cannot be used.

    def assertUnusable(self, text, file=None):
        for attempt in (lambda f: f.read(TOPIC), lambda f: f.register(make_record(), 300), lambda f: f.version()):
            error = self.assertRaises(MatchmakerUnavailable, attempt, file or self.open())
            self.assertIn(text, str(error))
            self.assertIn(self.path, str(error))

    def test_no_directory(self):
        """That the directory is missing is said, and it is not made."""
        os.rmdir(os.path.dirname(self.path))
        self.assertUnusable("its directory does not exist; create it")
        self.assertFalse(os.path.exists(os.path.dirname(self.path)))

    def test_link_to_nothing(self):
        """A link that leads nowhere is not a missing file: no registration could make it."""
        url = f"zmq+sqlite://{self.path}"
        self.assertIn("does not exist; a server makes it at its start", factory.absence_of(url))
        os.symlink(self.path + ".away", self.path)
        self.assertUnusable("cannot be opened; check that it is a file")
        self.assertEqual(factory.absence_of(url), "")

    def test_directory_without_files(self):
        """A directory that is there and takes no files is not said to be missing."""
        file = SqliteFile("/proc/matchmaker.db", Machine())
        error = self.assertRaises(MatchmakerUnavailable, file.register, make_record(), 300)
        self.assertIn(
            "the matchmaker file /proc/matchmaker.db cannot be made, its directory takes no files", str(error)
        )
        self.assertNotIn("does not exist", str(error))

    def test_directory(self):
        """A directory is no file."""
        os.mkdir(self.path)
        self.assertUnusable("check that it is a file")

    def test_below_file(self):
        """A file is no directory."""
        with open(self.path, "w"):
            pass
        self.path += "/matchmaker.db"
        self.assertUnusable("Not a directory")

    def test_not_a_database(self):
        """What is no database is not touched."""
        with open(self.path, "wb") as file:
            file.write(b"precious " * 1000)
        self.assertUnusable("is not an SQLite file")
        with open(self.path, "rb") as file:
            self.assertEqual(file.read(), b"precious " * 1000)

    def test_damaged(self):
        """A damaged file is said to be; removed, it is made again."""
        file = self.open()
        for number in range(500):
            file.register(make_record(number=number), 0)
        file.close()
        with open(self.path, "r+b") as damaged:
            damaged.seek(4096)
            damaged.write(os.urandom(os.path.getsize(self.path) - 4096))
        error = self.assertRaises(MatchmakerUnavailable, file.read, TOPIC)
        self.assertIn("is damaged; stop its users and remove it", str(error))
        os.unlink(self.path)
        file.register(make_record(), 0)
        self.assertEqual(self.records(file), [make_record()])

    def test_empty_file(self):
        """An empty file is made into a matchmaker file, with the rights it has."""
        os.close(os.open(self.path, os.O_CREAT, 0o640))
        file = self.open()
        file.register(make_record(), 0)
        self.assertEqual(self.records(file), [make_record()])
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o640)

    def test_foreign_database(self):
        """The database of another application is not touched."""
        self.sql("CREATE TABLE cats (name TEXT)")
        self.assertUnusable("is the database of another application; name another file")
        self.assertEqual(self.sql("PRAGMA journal_mode"), [("delete",)])

    def test_other_format(self):
        """A file of another format is refused, naming both."""
        self.open().register(make_record(), 0)
        self.sql("PRAGMA user_version = 2")
        self.assertUnusable("has format 2, this zmqrpc reads format 1")

    def test_locked_while_made(self):
        """A file that another process keeps locked from the begin is said to be locked."""
        locking = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(locking.close)
        locking.execute("BEGIN EXCLUSIVE")
        self.assertUnusable("is kept locked by another process")

    def test_locked_while_replaced(self):
        """So is one that was emptied, when another process that replaces it goes no further."""
        file = self.open()
        file.register(make_record(), 0)
        os.truncate(self.path, 0)
        replacing = os.open(os.path.dirname(self.path), os.O_RDONLY)
        self.addCleanup(os.close, replacing)
        flock(replacing, LOCK_EX)
        self.assertUnusable("is kept locked by another process", file)
        flock(replacing, LOCK_UN)
        file.register(make_record(), 0)
        self.assertEqual(self.records(file), [make_record()])

    def test_odd_path(self):
        """Any name is a path, also one that looks like a URL with options."""
        self.path = os.path.join(os.path.dirname(self.path), "a?mode=memory#b%20c é")
        self.open().register(make_record(), 0)
        self.assertTrue(os.path.exists(self.path))

    def test_no_procfs(self):
        """Without procfs nothing can be said about boots and processes."""
        self.open().register(make_record(), 0)
        self.assertUnusable("needs procfs", self.open(Machine(proc="/nonexistent")))

    def test_reasons(self):
        """Each error of SQLite that has a remedy names it, extended codes too."""
        numbers = count()
        for name, text in {
            "SQLITE_FULL": "the disk is full",
            "SQLITE_IOERR_WRITE": "check the disk",
            "SQLITE_READONLY_DIRECTORY": "check the rights",
            "SQLITE_PERM": "may not be used",
            "SQLITE_BUSY_SNAPSHOT": "locked",
            "SQLITE_MISUSE": "cannot be used",
        }.items():
            error = sqlite3.OperationalError(next(numbers))
            error.sqlite_errorname = name
            self.assertIn(text, reason(error))
