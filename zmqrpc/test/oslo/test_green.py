"""The reactor in a green thread of eventlet, which nothing may hold up; in a process that is patched."""

import json
import socket
import sqlite3
import sys
from collections import Counter

import zmq
from twisted.trial.unittest import TestCase

from zmqrpc._reactor_backlog import Backlog
from zmqrpc.settings import Settings
from zmqrpc.test.etcd import single
from zmqrpc.test.integration.support import run_child
from zmqrpc.test.oslo.processes import ActError, OsloTestCase
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import LIMIT, until
from zmqrpc.test.programs import Program
from zmqrpc.test.sentinels import SentinelSet
from zmqrpc.test.servers import RedisServer

LONGEST = 0.5
"""Seconds for which green threads may be held up by another that works."""


class GreenTests(TestCase):
    async def run_green(self, descriptors):
        out, err, code = await run_child(sys.executable, "zmqrpc.test.oslo.green", descriptors)
        self.assertEqual((code, err), (0, ""))
        return json.loads(out)

    async def test_others_go_on_while_something_lingers(self):
        """ZeroMQ ends in a thread of the operating system: it waits there for what nobody reads."""
        figures = await self.run_green(0)
        self.assertGreater(figures["took"], 0.9)
        self.assertLess(figures["longest"], 0.5, figures)

    async def test_many_descriptors(self):
        """The limit of select is none for the select of eventlet."""
        self.assertEqual((await self.run_green(1100))["descriptors"], 1100)


class LargeTests(OsloTestCase):
    """Messages that are handed to ZeroMQ without a copy, of which it has to say when it has let go of them."""

    def assert_carries(self, url: str, sizes: list[int]) -> None:
        server, client = (self.child(green=True, url=url) for _ in range(2))
        server.do("serve", topic="large", server="one")
        server.do("listen", topic="large", name="heard")
        for child in (server, client):
            child.begin("tick")
        self.assertEqual(client.do("large", topic="large", sizes=sizes), [])
        # The call, the cast and the fan-out.
        until(lambda: len(server.do("heard")) == 3 * len(sizes), lambda: server.do("heard"))
        self.assertEqual(Counter(size for _, size in server.do("heard")), Counter([*sizes, *sizes, *sizes]))
        until(lambda: len(server.do("heard_sizes", name="heard")) == len(sizes), "all notifications arrive")
        self.assertEqual(Counter(server.do("heard_sizes", name="heard")), Counter(sizes))
        for child in (server, client):
            self.assertLess(child.do("longest_wait"), LONGEST)
            self.assertEqual((child.leave(), child.err), (0, ""))

    def test_every_threshold(self):
        """They arrive with green threads, which all go on: large results, errors, arguments, and what is only sent."""
        large = Backlog(Settings().max_queued_bytes).large
        # What is sent is some hundred bytes larger.
        around = [large + more for more in range(-500, 1, 100)]
        self.assert_carries(self.url, [1, *around, zmq.COPY_THRESHOLD, 128 * 1024, 200_000, 5_000_000])

    def test_least_threshold(self):
        """So do those that are large only where little may wait, and more than may wait: ZeroMQ lets go of them."""
        url = f"{self.url}?max_queued_bytes={4 * 2**20}"
        self.assert_carries(url, [*range(3600, 4200, 100), *[1_000_000] * 8])

    def test_in_forks(self):
        """So they do in a fork of who has sent some before."""
        server, client = (self.child(green=True) for _ in range(2))
        server.do("serve", topic="large", server="one")
        self.assertEqual(client.do("fork_and_send_large", topic="large", sizes=[200_000, 1_000_000]), [[], [], []])


class StoreTests(OsloTestCase):
    """Other green threads go on while a store, or a name service, lets zmqrpc wait."""

    def test_locked_file(self):
        """They do while another process has the file of SQLite locked, which is waited for."""
        server = self.child(green=True)
        server.do("serve", topic="free", server="one")
        server.begin("tick")
        locking = sqlite3.connect(self.directory / "matchmaker.db", isolation_level=None)
        self.addCleanup(locking.close)
        locking.execute("BEGIN IMMEDIATE")
        serve = server.begin("serve", topic="locked", server="two")
        self.pause(1.2)
        locking.execute("ROLLBACK")
        server.ended(serve)
        self.assertLess(server.do("longest_wait"), LONGEST)
        self.assertEqual(server.do("call", topic="locked", method="name"), "two")

    def assert_names(self, url: str) -> None:
        """Check that they do while names are looked up, for longer than they may be held up."""
        url = f"{url}?rpc_zmq_bind_address=127.0.0.1"
        server = self.child(green=True, url=f"{url}&rpc_zmq_advertised_address=server.slow")
        client = self.child(green=True, url=url)
        for child in (server, client):
            child.do("slow_names", seconds=0.7)
            child.begin("tick")
        server.do("serve", topic="named", server="one")
        self.assertEqual(client.do("call", topic="named", method="name", timeout=LIMIT), "one")
        for child in (server, client):
            self.assertLess(child.do("longest_wait"), LONGEST)

    def test_names_with_redis(self):
        """They do while the name of a Redis server, and that of a server of ours, is looked up."""
        self.assert_names(f"zmq+redis://store.slow:{RedisServer(self).port}")

    def test_names_with_etcd(self):
        """So they do with etcd."""
        self.assert_names(f"zmq+etcd://store.slow:{single(self).port}")

    def assert_stops(self, url: str, programs: list[Program]) -> None:
        """Check that they do while a store hangs, or is away."""
        url = f"{url}?rpc_zmq_bind_address=127.0.0.1"
        server, client = (self.child(green=True, url=url) for _ in range(2))
        server.do("serve", topic="stops", server="one")
        self.assertEqual(client.do("call", topic="stops", method="name", timeout=LIMIT), "one")
        for child in (server, client):
            child.begin("tick")
        for stop in (Program.stop_answering, Program.kill):
            for program in programs:
                stop(program)
            self.assertIn("Messaging", self.fails(client, "call", topic="unknown", method="name", timeout=2).type)
            self.assertEqual(client.do("call", topic="stops", method="name"), "one")
        for child in (server, client):
            self.assertLess(child.do("longest_wait"), LONGEST)

    def test_redis(self):
        """They do while Redis hangs."""
        redis = RedisServer(self)
        self.assert_stops(redis.url, [redis])

    def test_sentinel(self):
        """They do while Redis and its sentinels hang."""
        watched = SentinelSet(self)
        self.assert_stops(watched.url, [*watched.sentinels, *watched.servers])

    def test_etcd(self):
        """They do while etcd hangs."""
        etcd = single(self)
        self.assert_stops(etcd.url, [etcd])

    def test_fixed_table(self):
        """They do while a member of a fixed table takes no connection: its machine is gone."""
        gone = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(gone.close)
        for _ in range(2):
            # What more comes than its system keeps for it gets no answer.
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(gone.getsockname())
        members = {"one": f"127.0.0.1:{free_port()}", "two": f"127.0.0.1:{gone.getsockname()[1]}"}
        table = self.directory / "ring.json"
        table.write_text(json.dumps({"table": members}))
        server, client = (self.child(green=True, url=f"zmq+file://{table}") for _ in range(2))
        server.do("serve", topic="table", server="one")
        client.begin("tick")
        calls = [client.begin("call", topic="table", server=name, method="name", timeout=2) for name in ("one", "two")]
        self.assertEqual(client.ended(calls[0]), "one")
        self.assertIn("MessagingTimeout", self.assertRaises(ActError, client.ended, calls[1]).kinds)
        self.assertLess(client.do("longest_wait"), LONGEST)


class StallTests(OsloTestCase):
    def test_held_up(self):
        """The log tells where a green thread stood that held up all others."""
        server = self.child(green=True)
        server.do("log_to_list")
        server.do("serve", topic="stall", server="one")
        self.assertEqual(server.do("call", topic="stall", method="hold_up", args={"seconds": 1.6}), "one")
        ((name, level, line),) = until(lambda: server.do("logged"), "it is logged")
        self.assertEqual((name, level), ("zmqrpc", "ERROR"))
        self.assertIn("the reactor has been blocked for 1.", line)
        self.assertIn("in hold_up", line)
