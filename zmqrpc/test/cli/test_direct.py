"""`zmqrpc ping tcp://HOST:PORT`: asking who is at an address, without a store."""

from __future__ import annotations

import json
import re
import signal

import zmq
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.cli._greeting import check_address, is_address
from zmqrpc.errors import ConfigError
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import ProcessTestCase

APP = "examples.demo.calc:Calc"


class AddressTests(SynchronousTestCase):
    def test_told_from_topics(self):
        for text in ("tcp://host:1", "ipc:///run/x"):
            self.assertTrue(is_address(text))
            self.assertEqual(check_address(text), text)
        for text in ("compute", "compute.tcp", "tcp:", "udp://host:1"):
            self.assertFalse(is_address(text))

    def test_refused(self):
        for text, why in (
            ("tcp://10.0.0.1", "has no port"),
            ("tcp://:1", "has the host ''"),
            ("tcp://0.0.0.0:1", "has the host '0.0.0.0', which is every address of a machine"),
            ("tcp://a:99999", "has the port '99999'; it must be a number from 1 to 65535"),
            ("ipc://run/x", "has no absolute path"),
        ):
            with self.assertRaises(ConfigError) as caught:
                check_address(text)
            self.assertIn(f"the address {text!r} {why}", str(caught.exception))


class DirectTests(ProcessTestCase):
    def ping(self, *words, status=0):
        ended = self.run_to_end("zmqrpc", "ping", *words)
        self.assertEqual(ended.returncode, status, ended)
        return ended.stdout, ended.stderr

    def serve_at(self, *options):
        """Serve, and return the process and its address."""
        running = self.serve("--app", APP, "--server", "node-1", *options)
        (address,) = set(re.findall(r"tcp://127\.0\.0\.1:\d+", running.says("serving topic")))
        return running, address

    def test_server(self):
        """It needs no store and no configuration, and tells of all that is served there; the server logs nothing."""
        running, address = self.serve_at("--topic", "calc")
        (self.directory / "matchmaker.db").unlink()
        self.assertRegex(self.ping(address)[0], r"\Acalc\.node-1: \d+\.\d\d ms\n\Z")
        out, _ = self.ping(address, "--count", "2", "--interval", "0.01", "--json")
        (told,) = json.loads(out)
        self.assertEqual((told["member"], told["calls"], told["answers"], told["ready"]), ("calc.node-1", 2, 2, True))
        self.assertIn(f"instance {told['instance']}", running.out)
        self.assertNotIn("notices", running.out)
        running.signal(signal.SIGSTOP)
        self.assert_one_sentence(
            f"nobody at {address} has answered within 0.5 s", self.ping(address, "--timeout", "0.5", status=4)[1]
        )

    def test_proxy(self):
        running = self.start(
            *("twistd", "-n", "--pidfile=", "zmq-proxy", "--url", self.url, "--host", "127.0.0.1"),
            *("--frontend-port", str(free_port()), "--backend-port", str(free_port())),
        )
        frontend, backend = re.findall(r"(tcp://\S+:\d+) \((?:front|back)end", running.says("ready: registered"))
        self.assertRegex(self.ping(frontend)[0], r"\Arouter: \d+\.\d\d ms\n\Z")
        (told,) = json.loads(self.ping(frontend, "--json")[0])
        self.assertEqual((told["member"], told["answers"], told["ready"], told["not_ready"]), ("router", 1, True, ""))
        self.assertNotIn("malformed", running.out)
        self.assert_one_sentence(f"{backend} refuses HELLO", self.ping(backend, status=1)[1])

    def test_nobody(self):
        text = f"nobody listens at tcp://127.0.0.1:{free_port()}"
        self.assert_one_sentence(text, self.ping(text.rpartition(" ")[2], status=3)[1])
        self.assert_one_sentence("cannot be resolved", self.ping("tcp://no-such-host.invalid:1", status=3)[1])
        self.assert_one_sentence("has no port", self.ping("tcp://127.0.0.1", status=2)[1])
        told = json.loads(self.ping("tcp://127.0.0.1:1", "--json", status=3)[1])
        self.assertEqual(told["error"], "NoRoute")

    def test_nonsense(self):
        """Who answers HELLO with what is no message of ours is named as such."""
        with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
            socket.linger = 0
            address = f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"
            for frames, text in (([b"\xff" * 20], "is not a batch"), ([b"", b"", b""], "is no message of ours")):
                pinging = self.start("zmqrpc", "ping", address)
                self.assertTrue(socket.poll(20_000))
                identity, *_ = socket.recv_multipart()
                socket.send_multipart([identity, *frames])
                self.assertEqual(pinging.ends(), 1)
                self.assert_one_sentence(text, pinging.err)

    def test_somebody_else(self):
        """What listens there and says nothing, or something else, is an error in time."""
        address = f"tcp://127.0.0.1:{self.taken_port()}"
        self.assert_one_sentence(f"{address} has answered within", self.ping(address, "--timeout", "0.5", status=4)[1])
