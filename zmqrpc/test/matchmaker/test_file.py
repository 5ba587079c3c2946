"""The matchmaker of a fixed table."""

from __future__ import annotations

import json
import os
import threading
from functools import partial
from math import inf
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.matchmaker import _fixed_file
from zmqrpc.matchmaker.file import FileFactory, FileMatchmaker
from zmqrpc.settings import Settings
from zmqrpc.target import Target
from zmqrpc.test.logs import LogLines
from zmqrpc.test.matchmaker.support import new_path
from zmqrpc.testing.matchmaker import Heard, LookupContract, make_record

reactor: Any = _reactor


def table_of(records):
    """Write the table that holds these records."""
    table: dict[str, dict[str, str]] = {}
    for record in records:
        topic = table.setdefault(f"{record.exchange}/{record.topic}", {})
        topic[record.member] = record.addresses[0].removeprefix("tcp://")
    return json.dumps(table)


class FileTests(LookupContract, TestCase):
    """The contract of those that take no registrations, and what only this matchmaker promises."""

    reactor = reactor

    def setUp(self):
        self.path = new_path(self)
        self.lines = LogLines(self, "zmqrpc.matchmaker")
        self.write("{}")

    def write(self, text):
        """Replace the file as a program does that cares: whoever reads has the old one or the new one."""
        with open(self.path + ".new", "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        os.replace(self.path + ".new", self.path)

    def edit(self, text):
        """Change the file in place."""
        with open(self.path, "r+b") as file:
            file.truncate()
            file.write(text.encode())

    def make_matchmaker(self):
        return FileMatchmaker(reactor, self.path, "openstack")

    def given(self, *records):
        self.write(table_of(records))
        return succeed(None)

    def record(self, topic="compute", member="node-1", number=1, **fields):
        return make_record(topic, member, number, instance="", **fields)

    async def watching(self):
        """Watch a topic of one member; return the matchmaker and what it hears."""
        self.write(table_of([self.record()]))
        matchmaker, heard = self.matchmaker(), Heard()
        matchmaker.watch("openstack", "compute", heard)
        await self.eventually("the first call", lambda: heard.last(self.record()))
        return matchmaker, heard

    def threads(self):
        return [thread for thread in threading.enumerate() if self.path in thread.name]

    # Reading.

    async def test_threads(self):
        """There is no thread before the first question, and none after the close; nor is a file held open."""
        matchmaker = self.matchmaker()
        self.assertEqual(self.threads(), [])
        await matchmaker.lookup("openstack", "compute")
        self.assertEqual(len(self.threads()), 1)
        descriptors = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        self.assertNotIn(self.path, descriptors)
        await matchmaker.close()
        self.assertEqual(self.threads(), [])

    async def test_closed(self):
        """A closed one answers that it is; closing it again is no error."""
        matchmaker = self.matchmaker()
        await matchmaker.close()
        await matchmaker.close()
        await self.assertFailure(matchmaker.lookup("openstack", "compute"), MatchmakerUnavailable)
        matchmaker.watch("openstack", "compute", Heard())()
        self.assertEqual((self.lines, self.threads()), ([], []))

    def test_made_of_a_url(self):
        """The exchange of topics that name none is that of the settings."""
        self.write('{"compute": ["a:1"]}')
        settings = Settings.from_url(f"zmq+file://{self.path}?control_exchange=nova")
        matchmaker = FileFactory().make(Clock(), settings.url, settings)
        self.assertEqual(matchmaker.bind_address(Target("compute", server="a", exchange="nova")), "a:1")

    async def test_edited_in_place(self):
        """A change of the same size, in the same moment, in the same file is seen."""
        _, heard = await self.watching()
        for number in range(2, 7):
            self.edit(table_of([self.record(number=number)]))
            await self.eventually("the change", partial(heard.last, self.record(number=number)))
        self.assertEqual(self.lines.about("fails"), [])

    async def test_settled(self):
        """A file that rests is not read again; that its times change is no change of what it says."""
        matchmaker, heard = await self.watching()
        os.utime(self.path, (1, 1))
        self.patch(_fixed_file, "_SETTLED", -1)
        await self.found(matchmaker)
        read: list[object] = []
        original = matchmaker._file._read
        matchmaker._file._read = lambda: read.append(original())
        for _ in range(3):
            self.assertEqual(await self.found(matchmaker), [self.record()])
        self.assertEqual(read, [])
        os.utime(self.path, (2, 2))
        await self.found(matchmaker)
        self.assertEqual(len(read), 1)
        self.assertEqual(len(heard.calls), 1)

    async def test_through_a_link(self):
        """A symbolic link that is turned to another file is a change, as Kubernetes does it."""
        link = self.path + ".link"
        os.symlink(self.path, link)
        matchmaker = FileMatchmaker(reactor, link, "openstack")
        self.addCleanup(matchmaker.close)
        self.assertEqual(await self.found(matchmaker), [])
        other = self.path + ".other"
        with open(other, "w") as file:
            file.write(table_of([self.record()]))
        os.symlink(other, link + ".new")
        os.replace(link + ".new", link)
        self.assertEqual(await self.found(matchmaker), [self.record()])

    # Files that cannot be used.

    async def outage(self, *damages):
        """Do damage to the file and mend it, twice; what it said counts, and each time two lines are logged."""
        matchmaker, heard = await self.watching()
        for number in (2, 3):
            before = [sighting.record for sighting in heard.calls[-1]]
            for damage in damages:
                damage()
                self.assertEqual(await self.found(matchmaker), before)
                self.assertEqual(await self.found(matchmaker), before)
            (sighting,) = await matchmaker.lookup("openstack", "compute")
            self.assertGreater(sighting.age, 0)
            self.assertEqual((sighting.source, sighting.lasts), (self.path, inf))
            (failing,) = matchmaker.failing()
            self.assertIn(self.path, failing)
            self.assertEqual(matchmaker.away(), "")
            after = self.record(number=number)
            if os.path.isdir(self.path):
                os.rmdir(self.path)
            self.write(table_of([after]))
            await self.eventually("the table that was mended", partial(heard.last, after))
            self.assertEqual(matchmaker.failing(), [])
        fails, works = self.lines.about("reading a fixed table fails"), self.lines.about("works again")
        self.assertEqual((len(fails), len(works), len(self.lines)), (2, 2, 4), self.lines)
        self.assertIn(self.path, fails[0])
        self.assertIn("what it said before counts", fails[0])
        return fails[0]

    async def test_broken_for_a_moment(self):
        line = await self.outage(lambda: self.edit('{"compute":\n'), lambda: self.write("{}}"), lambda: self.edit(""))
        self.assertIn("line 2: ", line)

    async def test_deleted_for_a_moment(self):
        line = await self.outage(lambda: os.unlink(self.path))
        self.assertIn("No such file", line)

    async def test_replaced_by_a_directory(self):
        self.assertIn("Is a directory", await self.outage(lambda: (os.unlink(self.path), os.mkdir(self.path))))

    async def test_hanging(self):
        """While the disk hangs, what is known is answered."""
        matchmaker, _ = await self.watching()
        matchmaker._thread._limit = 0.05
        event = threading.Event()
        self.addCleanup(event.set)
        matchmaker._thread.send(event.wait)
        self.assertEqual(await self.found(matchmaker), [self.record()])
        (line,) = self.lines
        self.assertIn("did not answer within", line)

    def test_refused_at_first(self):
        """What cannot be used at the start is refused: the file, the line where there is one, and what is valid."""
        for content, text in (
            (b"", f"{self.path} is empty; write "),
            (b" \n", "is empty"),
            (b'{"a":\n"\xff"}', f"{self.path}, line 2: this is no text in UTF-8"),
            (os.urandom(1000), "line "),
            (b"\0" * 1000, "line 1: "),
            (b" " * (_fixed_file.MOST_BYTES + 1), "is larger than"),
            (b'{"compute": {"one": "a:1",\n"one": "b:1"}}', f"{self.path}, line 2: 'one' is in line 1 already"),
        ):
            self.write(content)
            self.assertRefused(text)
        self.write(b'\xef\xbb\xbf{"compute": ["a:1"]}')
        self.make_matchmaker()

    def test_no_file(self):
        """A directory, a named pipe, a missing file and one that may not be read."""
        os.unlink(self.path)
        self.assertRefused("cannot be read: No such file or directory")
        os.mkfifo(self.path)
        self.assertRefused("is no ordinary file")
        os.unlink(self.path)
        os.mkdir(self.path)
        self.assertRefused("cannot be read: Is a directory")
        self.patch(os, "open", self.refuse)
        self.assertRefused("cannot be read: Permission denied; name a file that this process may read")

    def refuse(self, *_):
        raise PermissionError(13, "Permission denied")

    def assertRefused(self, text):
        said = str(self.assertRaises(ConfigError, self.make_matchmaker))
        self.assertIn(self.path, said)
        self.assertIn(text, said)
        self.assertNotIn("\n", said)

    # Servers.

    async def test_bind_address(self):
        """A server is told its line, or what there is instead."""
        self.write('{"compute": {"one": "a:1"}, "nova/agent": ["[::1]:2"]}')
        matchmaker = self.matchmaker()
        self.assertEqual(matchmaker.bind_address(Target("compute", server="one", exchange="openstack")), "a:1")
        self.assertEqual(matchmaker.bind_address(Target("agent", server="::1", exchange="nova")), "[::1]:2")
        error = self.assertRaises(
            ConfigError, matchmaker.bind_address, Target("compute", server="two", exchange="openstack")
        )
        self.assertIn(
            f"{self.path} has no member two under the topic openstack/compute; its members are one", str(error)
        )

    async def test_register(self):
        """It stores nothing; it fails clearly when there is no such line, which is logged once, as is its return."""
        mine, other = self.record(), self.record(number=2)
        self.write(table_of([mine]))
        matchmaker = self.matchmaker()
        await matchmaker.register(mine, 300)
        await matchmaker.withdraw(mine)
        self.assertEqual(await self.found(matchmaker), [mine])
        await matchmaker.register(mine, 300)
        self.write(table_of([other]))
        missing = f"{self.path} has no line for compute.node-1 of the exchange openstack at 127.0.0.1:49153"
        await self.eventually("the line in the log", lambda: self.lines.about(missing))
        for _ in range(2):
            error = await self.assertFailure(matchmaker.register(mine, 300), ConfigError)
            self.assertIn(missing, str(error))
        self.write(table_of([mine]))
        await self.eventually("the other line in the log", lambda: self.lines.about("at its address again"))
        await matchmaker.register(mine, 300)
        self.assertEqual(len(self.lines), 2, self.lines)
