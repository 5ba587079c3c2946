"""What docs/howto/sentinel shows is typed, with the configuration that it shows, and a failover works with it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import ProcessTestCase, until
from zmqrpc.test.programs import program
from zmqrpc.test.sentinels import Sentinel
from zmqrpc.test.servers import RedisServer
from zmqrpc.test.test_examples import DOCS, EXAMPLES, pattern, steps

FILES = EXAMPLES / "sentinel"


class SentinelPageTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.ports = [free_port() for _ in range(6)]
        self.servers = [self.controller(number) for number in range(3)]
        self.sentinels = [self.sentinel(number) for number in range(3)]
        shutil.copy(EXAMPLES / "tutorial" / "greeter.py", self.directory)
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports[3:])
        (self.directory / "zeromq.conf").write_text(
            (FILES / "zeromq.conf").read_text().replace("10.0.0.1,10.0.0.2,10.0.0.3", hosts)
            + "[oslo_messaging_zmq]\nrpc_zmq_bind_address = 127.0.0.1\n"
        )

    def here(self, text):
        """Have a file, or a command, mean the processes of this test."""
        text = text.replace("bind 127.0.0.1 10.0.0.1", "bind 127.0.0.1")
        text = text.replace("10.0.0.1 6379", f"127.0.0.1 {self.ports[0]}").replace("-p 26379", f"-p {self.ports[3]}")
        return text.replace("10.0.0.1\n6379", f"127.0.0.1\n{self.ports[0]}")

    def controller(self, number):
        text = self.here((FILES / "redis.conf").read_text()).replace("dir /var/lib/redis", "")
        if number:
            text = text.replace("# replicaof", "replicaof")
        path = self.directory / f"redis-{number}.conf"
        path.write_text(text)
        return RedisServer(self, configuration=path, port=self.ports[number])

    def sentinel(self, number):
        text = self.here((FILES / "sentinel.conf").read_text()).replace("dir /var/lib/redis", "")
        return Sentinel(self, text.splitlines(), port=self.ports[3 + number])

    def redis_cli(self, *arguments):
        command = [program("redis-cli", "redis-tools"), *map(str, arguments)]
        ended = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return ended.stdout + ended.stderr

    def as_admin(self, port, *arguments):
        return self.redis_cli("-p", port, "--user", "admin", "--pass", "change-me-too", "--no-auth-warning", *arguments)

    def test_page(self):
        for step in steps(DOCS / "howto" / "sentinel.rst"):
            typed, printed = map(self.here, step)
            name, *arguments = shlex.split(typed)
            if name == "export":
                variable, _, value = arguments[0].partition("=")
                self.environment[variable] = value
            elif name == "twistd":
                running = self.start(name, *arguments)
                self.assert_prints(running, printed)
            elif name == "redis-cli":
                wanted, said = pattern(printed), self.redis_cli(*arguments)
                self.assertTrue(wanted.search(said), (typed, said))
            else:
                ended = self.run_to_end(name, *arguments)
                self.assertEqual((ended.stdout.strip(), ended.stderr), (printed.strip(), ""), typed)
        self.fail_over()
        ended = self.run_to_end("zmqrpc", "call", "--config-file", "zeromq.conf", "greeter", "hello", "name=Ada")
        self.assertEqual((ended.stdout, ended.stderr), ('"Hello, Ada!"\n', ""))
        running.says("has moved from")
        for words in (("failover", "oslo-messaging-zeromq"), ("remove", "oslo-messaging-zeromq"), ("flushconfig",)):
            asked = ("-p", self.ports[3], "--user", "zmqrpc", "sentinel", *words)
            self.assertIn("NOPERM", self.redis_cli(*asked), words)

    def assert_prints(self, running, printed):
        wanted = pattern(printed)
        until(lambda: wanted.search(running.out), lambda: f"{running.out}{running.err}")

    def fail_over(self):
        """The rights in the files are enough for a failover, and nobody has needed more."""
        for sentinel in self.sentinels:
            for facts in (("master", "num-slaves\n2"), ("master", "num-other-sentinels\n2")):
                what, known = facts
                asked = ("sentinel", what, "oslo-messaging-zeromq")
                until(
                    lambda port=sentinel.port, asked=asked, known=known: known in self.as_admin(port, *asked),
                    f"{sentinel.port} knows all",
                )
        for server in self.servers[1:]:
            # In the unit of Debian it may write to no directory but its own.
            said = Path(server.directory, "log").read_text()
            self.assertEqual(("to parser" in said, "to disk" in said), (True, False), said)
        self.servers[0].kill()
        ask = ("sentinel", "get-master-addr-by-name", "oslo-messaging-zeromq")
        for sentinel in self.sentinels:
            until(lambda port=sentinel.port: str(self.ports[0]) not in self.as_admin(port, *ask), "there is another")
        for process in (*self.servers[1:], *self.sentinels):
            self.assertEqual(self.as_admin(process.port, "acl", "log").strip(), "", Path(process.directory, "log"))

    def test_rights(self):
        """The user of zmqrpc has the rights that it has with one server, and one more."""
        rights = [
            next(line for line in (EXAMPLES / name / "redis.conf").read_text().splitlines() if "user zmqrpc" in line)
            for name in ("redis", "sentinel")
        ]
        self.assertEqual(f"{rights[0]} +role", rights[1])
