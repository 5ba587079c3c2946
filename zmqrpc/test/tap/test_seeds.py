"""Every configuration and command line that the seeds print starts what it describes; hosts and ports are replaced."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from zmqrpc.test.paths import short_directory
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import CHECKOUT, ProcessTestCase, Running, until
from zmqrpc.test.servers import RedisServer

FILES = CHECKOUT / "docs" / "configurations"

CALC = """
    from zmqrpc import expose

    class Calc:
        notes = []

        @expose
        def add(self, context, a, b):
            return a + b

        @expose
        def note(self, context, text):
            self.notes.append(text)

        @expose
        def read(self, context):
            return self.notes
"""
MEMBERS = ("one", "two")
SCRIPTS = {
    "oslo-messaging-zmq-proxy": "main",
    "oslo-messaging-zmq-broker": "broker",
    "oslo-messaging-zmq-receiver": "broker",
}
"""The names of the seeds, and the functions of `zmqrpc.tap.proxy` that setup.py gives them to."""


class SeedTests(ProcessTestCase):
    """Each runs two servers as the file for services says, and calls, casts and fans out to them in the same way."""

    def setUp(self):
        super().setUp()
        self.module("calc", CALC)
        self.redis = RedisServer(self)

    def file(self, name, **more):
        """Write a file of the seeds with other hosts and ports; return its path."""
        text = (FILES / f"{name}.conf").read_text()
        more = {
            "host-1:6379": f"127.0.0.1:{self.redis.port}",
            "port = 6379": f"port = {self.redis.port}",
            "127.0.0.1:6379": f"127.0.0.1:{self.redis.port}",
            "= host-1": "= 127.0.0.1",
            "{hostname}": "localhost",
            **more,
        }
        for old, new in more.items():
            text = text.replace(old, new)
        path = self.directory / f"{name.replace('/', '-')}.conf"
        path.write_text(text)
        return str(path)

    def proxy(self, script, *options):
        """Start a proxy by one of the names of the seeds, in the foreground; return what it logs to."""
        log = self.directory / f"{script}-{len(list(self.directory.iterdir()))}.log"
        code = f"import sys; from zmqrpc.tap.proxy import {SCRIPTS[script]} as run; sys.argv[0] = {script!r}; run()"
        words = [sys.executable, "-P", "-c", code, *options, "--log-file", str(log)]
        running = Running(words, self.directory, self.environment)
        self.addCleanup(running.kill)

        def ready():
            text = log.read_text() if log.exists() else ""
            self.assertIsNone(running.process.poll(), f"{text}{running.err}")
            return "] ready" in text

        until(ready, lambda: f"ready in {log.read_text() if log.exists() else 'no log'}")
        return log

    def check(self, services, published=False):
        """Run two servers, and reach them in every way."""
        servers = [
            self.start(
                *("twistd", "-n", "--pidfile=", "zmq-rpc-server", "--config-file", services, "--host", "127.0.0.1"),
                *("--app", "calc:Calc", "--topic", "calc", "--server", member),
            )
            for member in MEMBERS
        ]
        for server in servers:
            server.says("ready: registered")
        self.assertEqual(self.command(services, "call", "calc", "add", "a=2", "b=3"), 5)
        self.assertIsNone(self.command(services, "cast", "calc.one", "note", "text=cast"))
        reached = self.command(services, "fanout", "calc", "note", "text=fanout")
        wanted = {"published": 2, "members": 0} if published else {"published": 0, "members": 2}
        self.assertEqual({name: len(reached[name]) for name in wanted}, wanted)
        self.assertEqual(reached["missing"], [])
        for member, notes in (("one", ["cast", "fanout"]), ("two", ["fanout"])):
            until(
                lambda member=member, notes=notes: self.command(services, "call", f"calc.{member}", "read") == notes,
                f"{notes} at {member}",
            )

    def command(self, services, *words):
        ended = self.run_to_end("zmqrpc", *words, "--config-file", services, "--timeout", "20", "--json")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), f"{words}: {ended.stdout}")
        return json.loads(ended.stdout)

    def test_static_direct(self):
        self.check(self.file("newer/static-direct"))

    def test_dynamic_direct(self):
        self.check(self.file("newer/dynamic-direct"))

    def test_router_proxy(self):
        """With the command line of the newer seed, and a second proxy whose ports are of the range."""
        file = self.file("newer/router-proxy.proxies")
        ports = [str(free_port()) for _ in range(2)]
        options = ("--config-file", file, "--frontend-port", ports[0], "--backend-port", ports[1], "--debug")
        log = self.proxy("oslo-messaging-zmq-proxy", *options, "--host", "127.0.0.1")
        self.proxy("oslo-messaging-zmq-proxy", "--config-file", file)
        self.check(self.file("newer/router-proxy.services"))
        self.assertIn(f"tcp://127.0.0.1:{ports[0]} (frontend), tcp://127.0.0.1:{ports[1]} (backend)", log.read_text())

    def test_pub_sub(self):
        """One ROUTER for both sides, and a publisher port."""
        ports = [str(free_port()) for _ in range(2)]
        options = ("--frontend-port", ports[0], "--publisher-port", ports[1], "--debug")
        file = self.file("newer/pub-sub.proxies")
        self.proxy("oslo-messaging-zmq-proxy", "--config-file", file, "--host", "127.0.0.1", *options)
        self.check(self.file("newer/pub-sub.services"), published=True)

    def test_local_publisher(self):
        """A central publisher, and a local one that the services are told of."""
        file = self.file("newer/pub-sub.proxies")
        self.proxy("oslo-messaging-zmq-proxy", "--config-file", file)
        port = str(free_port())
        options = ("--host", "localhost", "--publisher-port", port, "--debug")
        log = self.proxy("oslo-messaging-zmq-proxy", "--local-publisher", "--config-file", file, *options)
        self.check(self.file("newer/local-publisher.services", **{"localhost:60001": f"localhost:{port}"}), True)
        self.assertIn("calc", log.read_text())
        # Nobody finds it by the matchmaker.
        self.assertNotIn("registered", log.read_text())

    def test_central_publishers(self):
        """Services that are told of three publishers, and do not ask the matchmaker."""
        ports = [str(free_port()) for _ in range(3)]
        file = self.file("newer/pub-sub.proxies")
        for port in ports:
            self.proxy("oslo-messaging-zmq-proxy", "--config-file", file, "--publisher-port", port)
        hosts = {f"host-{number}:50003": f"127.0.0.1:{port}" for number, port in enumerate(ports, 1)}
        self.check(self.file("newer/central-publishers.services", **hosts), published=True)

    def test_dynamic_direct_and_pub_sub(self):
        self.proxy("oslo-messaging-zmq-proxy", "--config-file", self.file("newer/pub-sub.proxies"))
        self.check(self.file("newer/dynamic-direct+pub-sub.services"), published=True)

    def test_redis_of_the_older_seed(self):
        self.check(self.file("older/redis"))

    def test_broker(self):
        """The older seed: the broker of the host, by the second of its names."""
        path = Path(short_directory(self))
        file = self.file("older/broker", **{"/var/run/openstack": str(path)})
        log = self.proxy("oslo-messaging-zmq-receiver", "--config-file", file)
        self.assertTrue((path / "zmq-broker").is_socket(), log.read_text())
        self.check(file, published=True)
