"""Stores that cannot be used as they are, kind by kind: whatever is asked ends in time, with what and where."""

import os
import sqlite3
from contextlib import closing
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.trial.unittest import TestCase

from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.settings import Settings
from zmqrpc.test.etcd import allow, single
from zmqrpc.test.integration.support import TcpServer, pause
from zmqrpc.test.logs import LogLines
from zmqrpc.test.matchmaker.nonsense import LOOPBACK, NonsenseServer
from zmqrpc.test.matchmaker.support import everything, new_path
from zmqrpc.test.sentinels import GROUP, Sentinel
from zmqrpc.test.servers import RedisServer
from zmqrpc.testing.matchmaker import Heard

reactor: Any = _reactor

PAGE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\n\x1b[31mno page"


class BadStores(TestCase):
    timeout = 120

    async def refused(self, url, *texts, lines=1):
        """
        Ask for everything at a URL, and watch; look at each error, and at the log.

        :param lines: how many outages are logged; what is asked and what is heard may go separate ways.
        """
        logged, heard = LogLines(self, "zmqrpc.matchmaker"), Heard()
        matchmaker: Any = make_matchmaker(reactor, Settings(url, matchmaker_timeout=1000))
        self.addCleanup(matchmaker.close)
        matchmaker.watch("openstack", "compute", heard)
        for ask in everything(matchmaker):
            began = reactor.seconds()
            with self.assertRaises((MatchmakerUnavailable, ConfigError)) as caught:
                await ask()
            self.assertLess(reactor.seconds() - began, 4)
            self.assertSays(str(caught.exception), *texts)
        await pause(0.2)
        self.assertSays(matchmaker.away(), *texts)
        await matchmaker.close()
        self.assertEqual(heard.calls, [])
        outages = logged.about(" fails: ")
        self.assertEqual(len(outages), lines, logged)
        for text in texts:
            self.assertTrue(any(text in line for line in outages), (text, outages))
        for line in logged:
            self.assertTrue(line.isprintable() and len(line) < 1000, line)
            self.assertNotIn("s3cret", line)
        self.assertEqual(self.flushLoggedErrors(), [])
        del logged[:]

    def assertSays(self, said, *texts):
        for text in texts:
            self.assertIn(text, said)
        self.assertNotIn("s3cret", said)
        self.assertTrue(said.isprintable() and len(said) < 1000, said)


class RedisTests(BadStores):
    def redis(self):
        server = RedisServer(self, "--requirepass", "s3cret")
        server.ask("ACL", "SETUSER", "ada", "on", ">s3cret", "~*", "&*", "+@all", "-eval")
        return server, f"{LOOPBACK}:{server.port}"

    def faults(self, *servers):
        """Go through what may be wrong: user and password of the URL, and what is said of each server."""
        yield "", "asks for a password; write it into the transport URL, zmq+"
        yield ":wr0ng@", "refuses the user or the password of the transport URL; correct them"
        yield "eve:s3cret@", "refuses the user or the password of the transport URL; correct them"
        yield "ada:s3cret@", "does not allow us what we need; give our user the rights"
        for command, key, value, text in (
            ("SET", "zmqrpc:format", "9\x1b[31m", "this zmqrpc reads format 1"),
            ("RPUSH", "zmqrpc:format", "x", "has something under our keys that is not ours"),
            ("RPUSH", "zmqrpc:since", "x", "has something under our keys that is not ours"),
        ):
            for server in servers:
                server.ask("FLUSHALL")
                server.ask("SET", "zmqrpc:format", 1)
                server.ask("DEL", key)
                server.ask(command, key, value)
            yield ":s3cret@", f"{key})", text

    async def test_one(self):
        server, where = self.redis()
        for user, *texts in self.faults(server):
            await self.refused(f"zmq+redis://{user}{where}", f"the Redis server {where} ", *texts)

    async def test_several(self):
        """Each is named, with its own; the log has a line for each."""
        (one, here), (two, there) = self.redis(), self.redis()
        for user, *texts in self.faults(one, two):
            url = f"zmq+redis://{user}{here},{there}"
            await self.refused(url, f"the Redis server {here} ", f"the Redis server {there} ", *texts, lines=2)

    async def test_master(self):
        """Of the master that a Sentinel names."""
        server, where = self.redis()
        # The user of the Sentinel itself is the one whom it watches as.
        lines = [f"sentinel monitor {GROUP} {LOOPBACK} {server.port} 1", f"sentinel auth-pass {GROUP} s3cret"]
        sentinel = Sentinel(self, lines)
        for user, *texts in self.faults(server):
            await self.refused(f"zmq+sentinel://{user}{LOOPBACK}:{sentinel.port}", f"the Redis server {where} ", *texts)

    async def test_sentinel_that_is_none(self):
        """It is named, and twice logged: as who tells nothing, and as why there is no master."""
        for answer in (PAGE, b"+OK\r\n", b"-\x1b[31m\r\n", b"$5\r\nhello\r\n"):
            nonsense = NonsenseServer(self, reactor, answer)
            where = f"the Sentinel {LOOPBACK}:{nonsense.port} "
            await self.refused(f"zmq+sentinel://:s3cret@{LOOPBACK}:{nonsense.port}", where, lines=2)


class EtcdTests(BadStores):
    async def test_users(self):
        member = single(self)
        allow(member.ask, nova="READWRITE", ada="READ")
        where = f"{LOOPBACK}:{member.port}"
        for user, path, text in (
            ("", "", "asks who we are; write user and password into the transport URL, zmq+etcd://USER:PASSWORD@HOST"),
            ("nova:wr0ng-s3cret@", "", "refuses the user or the password of the transport URL; correct them"),
            ("eve:s3cret@", "", "refuses the user or the password of the transport URL; correct them"),
            ("nova:secret@", "/other", "does not allow our user what we need; give it a role"),
        ):
            await self.refused(f"zmq+etcd://{user}{where}{path}", where, text)

    async def test_format(self):
        member = single(self)
        member.put("/zmqrpc/format", "9\x1b[31m")
        where = f"etcd at {LOOPBACK}:{member.port} "
        await self.refused(member.url, where, "holds records of format ", "reads format 1 (/zmqrpc/format)")

    async def test_nonsense(self):
        for answer in (
            PAGE,
            b'HTTP/1.1 503 x\r\nContent-Length: 41\r\n\r\n{"code":13,"message":"\\u001b[31m\\u202ered"}',
            b'HTTP/1.1 200 x\r\nContent-Length: 26\r\n\r\n{"header":{"revision":[]}}',
        ):
            where = TcpServer(self, answer).address.removeprefix("tcp://")
            await self.refused(f"zmq+etcd://{where}", f"{where} ")


class SqliteTests(BadStores):
    async def test_files(self):
        for spoil, text in (
            (os.mkdir, "check that it is a file"),
            (write_text, "is not an SQLite file; name another file, or remove it"),
            (write_cats, "is the database of another application; name another file"),
            (write_newer, "has format 9, this zmqrpc reads format 1"),
        ):
            path = new_path(self)
            spoil(path)
            await self.refused(f"zmq+sqlite://{path}", f"the matchmaker file {path} ", text)


def write_text(path):
    with open(path, "w") as file:
        file.write("precious " * 1000)


def write_cats(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")


def write_newer(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 0x7A6D7172")
        connection.execute("PRAGMA user_version = 9")
