"""What some of the pages show is typed, and what they say is printed."""

from __future__ import annotations

import json
import re
import shlex
import shutil

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.etcd import single
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import ProcessTestCase, until
from zmqrpc.test.servers import RedisError, RedisPeer, RedisServer
from zmqrpc.test.test_examples import DOCS, EXAMPLES, blocks, pattern, steps


class SecuredTests(SynchronousTestCase):
    """docs/howto/secure-the-store: what the user of services is refused, with the configuration that is shown."""

    def asked(self, *words):
        server = RedisServer(self, configuration=EXAMPLES / "redis" / "redis.conf")
        with RedisPeer(server) as peer:
            peer.ask("AUTH", "zmqrpc", "change-me")
            for line in words:
                try:
                    yield line, f"(error) {peer.ask(*shlex.split(line))}"
                except RedisError as error:
                    yield line, f"(error) {error}"

    def test_redis(self):
        shown = dict(steps(DOCS / "howto" / "secure-the-store.rst"))
        wanted = {
            typed.removeprefix("redis-cli --user zmqrpc "): printed.strip()
            for typed, printed in shown.items()
            if typed.startswith("redis-cli")
        }
        self.assertEqual(len(wanted), 3)
        self.assertEqual(dict(self.asked(*wanted)), wanted)
        others = (
            "flushall",
            "config get *",
            "acl whoami",
            "client list",
            "shutdown",
            "replicaof no one",
            "script flush",
        )
        for line, said in self.asked(*others, "eval \"return redis.call('get', 'other')\" 0", "publish other x"):
            self.assertRegex(said, r"NOPERM|can't access at least one of the keys", line)


class PageTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        shutil.copy(EXAMPLES / "tutorial" / "greeter.py", self.directory)

    def follow(self, name, **changes):
        """Type the commands of a page, with some words changed; return how many servers run in the end."""
        changes["/tmp/"] = f"{self.directory}/"
        servers = []
        for step in steps(DOCS / "howto" / name):
            typed, printed = (self.changed(text, changes) for text in step)
            words = shlex.split(typed)
            if words[0] == "export":
                variable, _, value = words[1].partition("=")
                self.environment[variable] = value
            elif any(text in printed for text in ("serving topic", "is a router at", "ready: registered")):
                servers.append(self.start(words[0], *words[1:]))
                wanted = pattern(printed)
                until(
                    lambda server=servers[-1], wanted=wanted: wanted.search(server.out),
                    lambda server=servers[-1], printed=printed: f"{printed!r} in {server.out}{server.err}",
                )
            else:
                ended = self.run_to_end(words[0], *words[1:])
                said = (ended.stdout + ended.stderr).strip()
                narrow = (re.sub(" +", " ", text) for text in (printed, said))
                shown, told = (text.strip() for text in narrow)
                self.assertTrue(pattern(shown).fullmatch(told), f"{typed}\n{printed}\n{said}")
        return len(servers)

    def changed(self, text, changes):
        for old, new in changes.items():
            text = text.replace(old, new)
        return text

    def test_fixed_table(self):
        table, short = blocks(DOCS / "howto" / "fixed-table.rst", "json")
        json.loads(short)
        ports = {"5001": str(free_port()), "5002": str(free_port())}
        for old, new in ports.items():
            table = table.replace(old, new)
        (self.directory / "ring.json").write_text(table)
        (self.directory / "wrong.json").write_text('{"greeter": {\n"node-1": "127.0.0.1:1",\n"node-1": "127.0.0.1:2"}}')
        self.assertEqual(self.follow("fixed-table.rst", **ports), 2)

    def test_when_the_store_fails(self):
        """What asks nobody but the server itself."""
        running = self.serve("--app", "greeter:Greeter", "--topic", "greeter", "--server", "node-1")
        (address,) = set(re.findall(r"tcp://127\.0\.0\.1:\d+", running.out))
        self.assertEqual(self.follow("when-the-store-fails.rst", **{"tcp://127.0.0.1:49153": address}), 0)

    def test_addresses(self):
        self.assertEqual(self.follow("addresses.rst"), 0)

    def test_etcd(self):
        """With a member of its own in place of the one that the package starts."""
        member = single(self)
        where = f"127.0.0.1:{member.port}"
        self.assertEqual(self.follow("etcd.rst", **{"127.0.0.1:2379": f"{where}?rpc_zmq_bind_address=127.0.0.1"}), 1)

    def test_router_proxy(self):
        ports = {"50001": str(free_port()), "50002": str(free_port())}
        self.assertEqual(self.follow("router-proxy.rst", **ports), 1)
