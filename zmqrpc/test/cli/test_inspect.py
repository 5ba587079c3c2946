"""`zmqrpc inspect`, as users run it: real processes, in which something is stuck."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

import zmq
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.cli._commands import COMMANDS
from zmqrpc.cli._parser import _ALL, parse
from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import Hello, Welcome, encode_message
from zmqrpc.errors import ConfigError
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import CHECKOUT, ProcessTestCase, until
from zmqrpc.test.test_examples import pattern, steps

APPLICATIONS = """
    import time
    from twisted.internet.defer import Deferred
    from zmqrpc import Target, expose
    from zmqrpc.interfaces import IRPCApplication
    from zope.interface import implementer

    class Hanging:
        @expose
        def hang(self, context, secret=None):
            return Deferred()

        @expose(thread=True)
        def sleep(self, context, seconds):
            time.sleep(seconds)

    class Passing:
        def __init__(self, client):
            self.client = client

        @expose
        def hang_there(self, context):
            return self.client.call(Target("hanging"), "hang", {"secret": "hidden"}, timeout=25)

    @implementer(IRPCApplication)
    class Application:
        name, topic = "passing", "passing"

        def endpoints(self, reactor, client, settings):
            return [Passing(client)]

    passing = Application()
"""


def normal(text):
    """Write down what is another one each time, as on the page, in the same way."""
    text = re.sub(r"\b\d+\.\d+ s\b|\b\d+ h\b", "TIME", " ".join(text.split()))
    text = re.sub(r"zmq\+sqlite:.*?(?=: no outage)", "URL", re.sub(ADDRESS, "ADDRESS", text))
    text = re.sub(r"process \d+", "process ID", re.sub(r"\b(node) \S+ at", r"\1 HOST at", text))
    return re.sub(r"\b[0-9a-f]{12,32}\b|\b[0-9a-f]{4}\.\.\.", "INSTANCE", text)


ADDRESS = r"tcp://127\.0\.0\.1:\d+"


class ParserTests(SynchronousTestCase):
    def test_events(self):
        """The number of events may be left out, wherever the option stands."""
        (command,) = [command for command in COMMANDS if command.name == "inspect"]
        for words, events in (
            (["x"], None),
            (["--events", "x"], _ALL),
            (["x", "--events"], _ALL),
            (["--events", "7", "x"], 7),
            (["x", "--events", "0"], 0),
            (["--events=7", "x"], 7),
        ):
            options = parse(command, words)
            self.assertEqual((options.topic, options.events), ("x", events), words)
        for words in (["--events=all", "x"], ["--events", "--events", "x"], ["--events=-1", "x"], []):
            with self.assertRaises(ConfigError):
                parse(command, words)


class InspectTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.environment["ZMQRPC_URL"] = self.url
        self.module("applications", APPLICATIONS)

    def inspect(self, *words, status=0):
        ended = self.run_to_end("zmqrpc", "inspect", *words)
        self.assertEqual(ended.returncode, status, ended)
        for line in ended.stdout.splitlines():
            if "--json" not in words:
                self.assertLessEqual(len(line), 100)
        return ended.stdout, ended.stderr

    def told(self, *words):
        """Return the one inspection that programs are told."""
        (told,) = json.loads(self.inspect(*words, "--json")[0])
        return told

    def serve_at(self, app, *options, url=None):
        """Serve, and return the process and its address; the store need not be there."""
        words = ("--app", f"applications:{app}", "--url", url or self.url, *options)
        running = self.start("twistd", "-n", "--pidfile=", "zmq-rpc-server", *words)
        running.says("serving topic" if url else "ready: registered")
        (address,) = set(re.findall(ADDRESS, running.out))
        return running, address

    def test_method_that_hangs(self):
        """It is found by its address and by its topic, and told in the log at SIGUSR2; the process goes on."""
        running, address = self.serve_at("Hanging", "--topic", "hanging", "--server", "node-1")
        calling = self.start("zmqrpc", "call", "hanging", "hang", "secret=hidden", "--timeout", "20")
        sleeping = self.start("zmqrpc", "call", "hanging", "sleep", "seconds=20", "--timeout", "20")

        def run_for_a_while() -> bool:
            """Tell whether both have run for some time: it is less to the end then, and the thread has begun."""
            return [(each["age"] or 0) > 0.1 for each in self.told(address)["requests"]] == [True, True]

        until(run_for_a_while, "two calls that run")
        for words in ((address,), ("hanging",), ("hanging.node-1", "--events")):
            out, err = self.inspect(*words)
            self.assertEqual(err, "")
            self.assertRegex(out, rf"\Anode \S+ at {address}, running for ")
            self.assertIn("serves openstack/hanging.node-1\n", out)
            self.assertRegex(out, r"(?m)^ +\d+\.\d s +1\d\.\d s  running  call  hang +openstack/hanging  [0-9a-f]{12}$")
            self.assertIn("its method has begun, and has not ended", out)
            self.assertIn("its method runs in a thread", out)
            self.assertIn("client_connected: client ", out)
            self.assertNotIn("hidden", out)
        by_method = {request["method"]: request for request in self.told(address)["requests"]}
        self.assertEqual({name: each["thread"] for name, each in by_method.items()}, {"hang": False, "sleep": True})
        self.assertEqual(len(self.told("--events", "1", address)["events"]), 1)
        self.assertEqual(self.told("--events", "0", address)["events"], [])

        running.signal(signal.SIGUSR2)
        running.says("its method has begun, and has not ended")
        self.assertIn("SIGUSR2: node ", running.out)
        self.assertNotIn("hidden", running.out)
        self.assertNotIn("malformed", running.out)
        self.assertNotIn("wrong_instance", running.out)

        # It takes no new link, and tells what it waits for.
        running.signal(signal.SIGTERM)
        running.says("stopping: nothing new is taken")
        # Who asks within a moment is told the same.
        told = until(lambda: (told := self.told(address))["stage"] == "stopping" and told, "that it is stopping")
        self.assertEqual(len(told["requests"]), 2)
        running.signal(signal.SIGUSR2)
        running.says("SIGUSR2", count=2)
        for process in (calling, sleeping, running):
            process.kill()

    def test_peer_that_is_stopped(self):
        """What waits for a process that is stopped says so: the caller's side names the peer."""
        hanging, there = self.serve_at("Hanging", "--topic", "hanging", "--server", "node-2")
        _, address = self.serve_at("passing", "--server", "node-1")
        self.start("zmqrpc", "call", "passing", "hang_there", "--timeout", "25")
        until(lambda: [call["phase"] for call in self.told(address)["calls"]] == ["running"], "a call that runs there")
        for typed, printed in steps(CHECKOUT / "docs" / "howto" / "what-is-stuck.rst"):
            words = typed.replace("tcp://127.0.0.1:53115", address).split()
            self.assertEqual(words[:2], ["zmqrpc", "inspect"])
            out = normal(self.inspect(*words[2:])[0])
            self.assertTrue(pattern(normal(printed)).fullmatch(out), f"{typed}\n{normal(printed)}\n{out}")
        hanging.signal(signal.SIGSTOP)
        self.addCleanup(hanging.signal, signal.SIGCONT)
        until(lambda: self.told(address)["links"][0]["phase"] == "mute", "silence")
        out, _ = self.inspect(address)
        self.assertRegex(out, r"(?m)^ +\d+\.\d s +\d+\.\d s  running  call  hang    hanging$")
        self.assertRegex(out, rf"runs at node-2 at {there}, as was told before; it is\s+mute since")
        self.assertRegex(out, rf"(?m)^ +node-2 +mute +\d\.\d s +0 +1 +{there}$")
        self.assertNotIn("hidden", out)
        # Nor does it answer itself.
        self.assert_one_sentence("answered within 0.5 s", self.inspect(there, "--timeout", "0.5", status=4)[1])

    def test_matchmaker_away(self):
        """A process without its store is asked at its address."""
        away = f"zmq+redis://user:secret@127.0.0.1:{free_port()}?rpc_zmq_bind_address=127.0.0.1"
        _, address = self.serve_at("Hanging", "--topic", "hanging", "--host", "127.0.0.1", url=away)
        until(lambda: self.told(address)["matchmaker"]["not_ready"], "why it is not ready")
        out, _ = self.inspect(address)
        self.assertRegex(out, r"(?s)matchmaker redis, zmq\+redis://\S+: does\s+not answer: .*refuses")
        self.assertRegex(out, r"(?m)^not ready: ")
        self.assertNotIn("secret", out)
        self.assertIn("register_failed", out)

    def test_proxy(self):
        """Both sides of a proxy tell who is connected, whoever asks; at SIGUSR2 the log does."""
        running = self.start(
            *("twistd", "-n", "--pidfile=", "zmq-proxy", "--url", self.url, "--host", "127.0.0.1"),
            *("--frontend-port", str(free_port()), "--backend-port", str(free_port())),
        )
        sides = re.findall(r"(tcp://\S+:\d+) \((?:front|back)end", running.says("ready: registered"))
        url = f"{self.url}?use_router_proxy=true"
        self.serve("--app", "applications:Hanging", "--topic", "hanging", url=url)
        self.start("zmqrpc", "call", "--url", url, "hanging", "hang", "--timeout", "20")
        # The server is a client as well, for what it might call.
        roles = ["client", "client", "server"]
        until(lambda: sorted(each["role"] for each in self.told(sides[0])["connections"]) == roles, "both")
        for side in sides:
            out, err = self.inspect(side)
            self.assertEqual(err, "")
            self.assertRegex(out, rf"\Arouter-proxy 127\.0\.0\.1 at {sides[0]} {sides[1]}, running for")
            self.assertRegex(out, r"(?m)^ +server +up +\d\.\d s +[0-9a-f]{32}$")
            self.assertIn("server_came: server ", out)
        self.assertEqual(len(self.told(sides[0])["connections"]), 3)
        running.signal(signal.SIGUSR2)
        running.says("SIGUSR2: router-proxy 127.0.0.1 at")
        self.assertNotIn("malformed", running.out)

    def test_refused(self):
        """Where the operator does not want it, the status is that of what is refused."""
        _, address = self.serve_at("Hanging", "--topic", "hanging", url=f"{self.url}?rpc_inspect=false")
        self.assert_one_sentence("AccessDenied: inspection is switched off here", self.inspect(address, status=7)[1])
        until(lambda: "AccessDenied" in self.run_to_end("zmqrpc", "inspect", "hanging").stderr, "a refusal")
        self.assertIn("(rpc_inspect)", self.inspect("hanging", status=7)[1])
        told = json.loads(self.inspect(address, "--json", status=7)[1])
        self.assertEqual((told["error"], told["exit_status"]), ("AccessDenied", 7))

    def test_nobody(self):
        nobody = f"tcp://127.0.0.1:{free_port()}"
        self.assert_one_sentence(f"nobody listens at {nobody}", self.inspect(nobody, status=3)[1])
        self.assert_one_sentence("has no port", self.inspect("tcp://127.0.0.1", status=2)[1])
        self.assert_one_sentence("does not exist", self.inspect("hanging", status=3)[1])

    def test_hostile_answers(self):
        """What is answered may be anything: it is escaped, or named as what it is not."""
        nasty = "\x1b[2J\x07\n\u202e" + "x" * 5000
        call = {"kind": nasty, "target": nasty, "method": nasty, "phase": nasty, "age": 1.5, "left": -1.5}
        event = {"age": 1e300, "name": nasty, "peer": nasty, "number": 3, "text": nasty}
        with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
            socket.linger = 0
            address = f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"

            def answered(extensions, status, *words):
                asking = self.start("zmqrpc", "inspect", address, *words)
                batch = None
                while batch is None or type(batch.messages[0]) is not Hello:
                    # Who was told nothing by WELCOME has left with a GOAWAY.
                    self.assertTrue(socket.poll(20_000))
                    identity, payload = socket.recv_multipart()
                    batch = decode_batch(payload)
                welcome = Welcome(1, batch.sent, nasty[:100], [], {}, [], extensions)
                answer = encode_batch(b"5" * 16, batch.source, 0, (), [encode_message(welcome)])
                socket.send_multipart([identity, answer])
                self.assertEqual(asking.ends(), status, asking.err)
                if "--json" not in words:
                    for line in (asking.out + asking.err).splitlines():
                        self.assertTrue(line.isprintable(), line)
                if status and "--json" not in words:
                    self.assert_one_sentence("", asking.err)
                return asking

            inspection = {
                "kind": "node",
                "member": nasty,
                "instance": nasty,
                "address": nasty,
                "version": nasty,
                "calls": [{**call, "where": nasty}],
                "events": [event],
                "counters": {nasty: 3},
                "serves": [nasty],
                "left_out": {"calls": 2**63},
                "more": {"unknown": [1]},
            }
            out = answered({"inspection": inspection}, 0).out
            self.assertIn("\\x1b[2J\\x07\\n\\u202exxx", out)
            self.assertLessEqual(max(map(len, out.splitlines())), 100)
            self.assertEqual(json.loads(answered({"inspection": inspection}, 0, "--json").out), [inspection])
            wrong: Any
            for wrong in ("text", [], {}, {**inspection, "calls": [1]}, {**inspection, "uptime": "long"}, 5):
                self.assertIn("is no inspection", answered({"inspection": wrong}, 1).err)
            self.assertIn("AccessDenied: \\x1b[2J", answered({"inspection_refused": nasty}, 7).err)
            for nothing in (None, {}, {"inspection_refused": 5}):
                self.assertIn("of a release that cannot be inspected", answered(nothing, 1).err)
