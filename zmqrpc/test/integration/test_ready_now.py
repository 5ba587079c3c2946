"""Whether processes are ready, seen from outside: Redis is killed and comes back under a server, a proxy and a ping."""

from __future__ import annotations

import json
import os
import re
import signal
import socket

from zmqrpc.test.processes import ProcessTestCase, until
from zmqrpc.test.servers import RedisServer
from zmqrpc.test.test_examples import DOCS

APP = ("--app", "examples.demo.calc:Calc", "--topic", "calc", "--server", "node-1")


class ReadyNowProcessTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.server = RedisServer(self)
        self.url = f"{self.server.url}?rpc_zmq_bind_address=127.0.0.1"
        self.environment["ZMQRPC_URL"] = self.url

    def listen(self):
        """Be the supervisor; return what reads all that it was told."""
        path = f"/tmp/zmqrpc-test-{os.getpid()}.ready"
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(os.unlink, path)
        self.addCleanup(listening.close)
        listening.bind(path)
        listening.setblocking(False)
        heard = []

        def told():
            try:
                while True:
                    heard.append(listening.recv(1000).decode())
            except BlockingIOError:
                return heard

        self.environment["NOTIFY_SOCKET"] = path
        return told

    def begin(self, name, *words):
        """Start a command with a ready file; return the process and the path."""
        path = self.directory / f"{name}.ready"
        # As left by a process that was killed.
        path.write_text("4194305\nready: registered with the matchmaker\n")
        running = self.start("twistd", "-n", "--pidfile=", name, "--ready-file", path.name, *words)
        running.says("ready: registered")
        until(path.exists, "the ready file")
        self.assertEqual(path.read_text(), f"{running.process.pid}\nready: registered with the matchmaker\n")
        return running, path

    def test_store_killed_and_back(self):
        told = self.listen()
        serving, served = self.begin("zmq-rpc-server", *APP)
        until(lambda: told()[-1] == "STATUS=ready: registered with the matchmaker", told)
        del self.environment["NOTIFY_SOCKET"]
        proxying, proxied = self.begin("zmq-proxy", "--host", "127.0.0.1")
        pinging = self.start("zmqrpc", "ping", "calc", "--count", "0", "--interval", "0.1")
        pinging.says("2: node-1: ")

        self.server.kill()
        reason = f"not ready: the Redis server 127.0.0.1:{self.server.port} refuses the connection"
        for running, path in ((serving, served), (proxying, proxied)):
            running.says(f"{reason}; start it, or correct the transport URL; those who know us are served")
            until(lambda path=path: not path.exists(), "no ready file")
        pinging.says(reason)
        until(lambda: told()[-1].startswith("STATUS=not ready since "), told)
        self.assertIn("those who know us are served", told()[-1])

        self.server.start()
        for running, path in ((serving, served), (proxying, proxied)):
            running.says("ready again after ")
            until(path.exists, "the ready file")
            self.assertEqual(path.read_text().splitlines()[0], str(running.process.pid))
            self.assertEqual(running.out.count("not ready: "), 1, running.out)
        until(lambda: told()[-1] == "STATUS=ready: registered with the matchmaker", told)
        pinging.signal(signal.SIGINT)
        self.assertEqual(pinging.ends(), 0, pinging.err)
        (pinged,) = json.loads(self.run_to_end("zmqrpc", "ping", "calc", "--json").stdout)
        self.assertEqual((pinged["ready"], pinged["not_ready"]), (True, ""))

        for line in self.shown():
            self.assertRegex(serving.out, line)

        for running, path in ((serving, served), (proxying, proxied)):
            running.signal()
            self.assertEqual(running.ends(), -signal.SIGTERM)
            self.assertFalse(path.exists())
            self.assertNotIn("Traceback", running.out)

    def shown(self):
        """Read the lines of a log that the page on failures shows, as patterns for ours."""
        page = (DOCS / "howto" / "when-the-store-fails.rst").read_text()
        lines = re.findall(r"^   ((?:not ready: |ready again |the matchmaker ).+)$", page, re.MULTILINE)
        self.assertEqual(len(lines), 7)
        for line in lines:
            pattern = re.escape(line.replace("127.0.0.1:6379", f"127.0.0.1:{self.server.port}"))
            yield re.sub(r" \d+(\\\.\d)?\\ ", r" [0-9.]+\\ ", pattern) + "\n"

    def test_absent_at_the_start(self):
        """What was left by another is gone from the start on, and nothing is there before the store is."""
        self.server.kill()
        path = self.directory / "ready"
        path.write_text("4194305\nready: registered with the matchmaker\n")
        running = self.start("twistd", "-n", "--pidfile=", "zmq-rpc-server", "--ready-file", str(path), *APP)
        running.says("refuses the connection")
        self.assertFalse(path.exists())
        self.server.start()
        until(path.exists, "the ready file")

    def test_refused(self):
        for path, text in (
            ("/no/such/directory/ready", "the ready file /no/such/directory/ready cannot be written"),
            ("/etc/hostname", "the ready file /etc/hostname is there and was not written by us"),
            ("", "--ready-file is empty"),
        ):
            words = ("zmq-rpc-server", "--ready-file", path, *APP)
            ended = self.run_to_end("twistd", "-n", "--pidfile=", *words)
            self.assertEqual(ended.returncode, 2, ended)
            self.assert_one_sentence(text, ended.stderr)
