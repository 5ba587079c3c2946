"""The independent client of `examples/interop` reads every vector, and calls a server that twistd runs."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import socket
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import Unreadable, encode_message
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.test.core.strategies import INSTANCES, MESSAGES, NATURALS, RANGES
from zmqrpc.test.processes import CHECKOUT, LIMIT, ProcessTestCase, Running
from zmqrpc.test.test_examples import pattern, steps

INTEROP = CHECKOUT / "examples" / "interop"
VECTORS = CHECKOUT / "docs" / "spec" / "vectors"


def run(*arguments, directory=INTEROP):
    """Run the client in a Python that does not find zmqrpc in this checkout."""
    return subprocess.run(
        [sys.executable, str(directory / "client.py"), *map(str, arguments)],
        cwd=directory,
        env={},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


class SourceTests(SynchronousTestCase):
    def test_small(self):
        """All of it together has at most 200 lines."""
        lines = sum(len(path.read_text().splitlines()) for path in INTEROP.glob("*.*"))
        self.assertLessEqual(lines, 200)

    def test_independent(self):
        """It imports pyzmq, msgpack and the standard library."""
        imported = set()
        for path in INTEROP.glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    imported.add((node.module or "").partition(".")[0])
        own = {path.stem for path in INTEROP.glob("*.py")}
        self.assertEqual(imported - own - set(sys.stdlib_module_names), {"zmq", "msgpack"})


class UsageTests(SynchronousTestCase):
    def test_too_little(self):
        """Without what it needs it says what that is, in one line, and nothing else happens."""
        for arguments in ((), ("vectors",), ("tcp://127.0.0.1:1",), ("tcp://127.0.0.1:1", "calc")):
            ended = run(*arguments)
            self.assertEqual((ended.returncode, ended.stdout), (2, ""))
            self.assertEqual(
                ended.stderr,
                "usage: python client.py tcp://HOST:PORT TOPIC METHOD [NAME=JSON ...] | vectors DIRECTORY\n",
            )


class VectorTests(ProcessTestCase):
    def test_vectors(self):
        """Every vector is read as what it means, and written as it is."""
        ended = run("vectors", VECTORS)
        self.assertEqual((ended.stdout, ended.stderr), (f"{len(list(VECTORS.glob('*.hex')))} vectors\n", ""))

    def test_they_are_looked_at(self):
        """A vector whose last bit differs is named."""
        for name in ("direct-call", "proxied-hello", "publish", "published-token", "read-longer-forms"):
            for suffix in (".json", ".hex"):
                shutil.copy((VECTORS / name).with_suffix(suffix), self.directory)
            path = self.directory / f"{name}.hex"
            *frames, last = path.read_text().splitlines()
            wrong = bytes.fromhex(last)
            path.write_text("\n".join([*frames, (wrong[:-1] + bytes([wrong[-1] ^ 1])).hex()]))
            self.assertIn(f"AssertionError: {name} was", run("vectors", self.directory).stderr)
            path.unlink()
            path.with_suffix(".json").unlink()


class CodecTests(SynchronousTestCase):
    """Two codecs that share no code agree on what neither of the vectors' authors has thought of."""

    def setUp(self):
        found = importlib.util.spec_from_file_location("interop_wire", INTEROP / "wire.py")
        assert found is not None and found.loader is not None
        self.wire = importlib.util.module_from_spec(found)
        found.loader.exec_module(self.wire)

    @settings(derandomize=True, max_examples=100)
    @given(INSTANCES, st.none() | INSTANCES, NATURALS, RANGES, st.lists(MESSAGES, min_size=1, max_size=4))
    def test_batches(self, source, destination, sent, settled, messages):
        """Each reads what the other writes, and writes the same."""
        payload = encode_batch(source, destination, sent, settled, [encode_message(message) for message in messages])
        batch = self.wire.decode(payload)
        self.assertEqual(batch[:6], [1, source, destination, sent, settled, None])
        self.assertEqual([kind for kind, *_ in batch[6]], [type(message).__name__.upper() for message in messages])
        self.assertEqual(self.wire.encode(*batch[:-1], messages=batch[-1]), payload)

    @settings(derandomize=True, max_examples=100)
    @given(st.lists(MESSAGES, min_size=1, max_size=2), st.data())
    def test_damage(self, messages, data):
        """Of a damaged batch they drop and refuse the same, but for values that nobody sends."""
        payload = bytearray(
            encode_batch(bytes(16), bytes(16), 5, [], [encode_message(message) for message in messages])
        )
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
        theirs = self.wire.decode(bytes(payload))
        try:
            ours = decode_batch(bytes(payload))
        except RemoteProtocolError:
            return
        if theirs and ours.version == 1 and len(theirs) == 7:
            self.assertEqual(len(theirs[6]), len(ours.messages))
            for their, our in zip(theirs[6], ours.messages, strict=True):
                if their[0] != "unreadable" and not isinstance(our, Unreadable):
                    self.assertEqual(their[0], type(our).__name__.upper())


class CallTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.module(
            "shop",
            """
            from twisted.internet import reactor
            from twisted.internet.task import deferLater
            from zmqrpc import expose

            class Shop:
                def __init__(self):
                    self.served = 0

                @expose
                def add(self, context, a, b):
                    self.served += 1
                    return a + b

                @expose
                def count(self, context):
                    return self.served

                @expose
                def echo(self, context, value):
                    return value

                @expose
                def fail(self, context):
                    raise KeyError("no such article")

                @expose
                def slow(self, context, seconds):
                    self.served += 1
                    return deferLater(reactor, seconds, lambda: "at last")
            """,
        )

    def begin(self, options=""):
        self.server = self.serve("--app", "shop:Shop", "--topic", "shop", url=f"{self.url}{options}")
        (self.address,) = re.findall(r"at (tcp://[0-9.:]+),", self.server.out)

    def call(self, method, *arguments, topic="shop"):
        ended = run(self.address, topic, method, *arguments)
        return ended.stdout.strip() or ended.stderr.strip()

    def program(self, source):
        """Run a program that uses the client as a module."""
        for path in INTEROP.glob("*.py"):
            shutil.copy(path, self.directory)
        self.module("program", source)
        running = Running([sys.executable, "-u", "program.py", self.address], self.directory, {})
        self.addCleanup(running.kill)
        return running

    def test_calls(self):
        """A result, an error of the method and every refusal come back in one line."""
        self.begin()
        self.assertEqual(self.call("add", "a=1", "b=2"), "3")
        self.assertEqual(
            self.call("echo", 'value={"x": [1, 2.5, null, true, "ü"]}'), '{"x": [1, 2.5, null, true, "\\u00fc"]}'
        )
        self.assertEqual(self.call("fail"), "RuntimeError: KeyError: 'no such article'")
        missing = "RuntimeError: NoSuchMethod: no endpoint exposes 'steal'; "
        self.assertEqual(self.call("steal")[: len(missing)], missing)
        self.assertEqual(self.call("add", "a=1"), "RuntimeError: InvalidArguments: add: the parameter 'b' is missing")
        refused = "RuntimeError: refused for reason 10: openstack/bank is not served here; nothing has run"
        self.assertEqual(self.call("add", topic="bank"), refused)
        self.assertEqual(self.call("slow", "seconds=2.5"), '"at last"')

    def test_page(self):
        """What the page about other languages says is typed does what it says."""
        self.server = self.serve("--app", "shop:Shop", "--topic", "calc")
        (self.address,) = re.findall(r"at (tcp://[0-9.:]+),", self.server.out)
        pages = list(steps(CHECKOUT / "docs" / "howto" / "other-languages.rst"))
        self.assertEqual(len(pages), 2)
        for typed, printed in pages:
            python, client, *arguments = typed.replace("tcp://127.0.0.1:49153", self.address).split()
            self.assertEqual((python, CHECKOUT / client), ("python", INTEROP / "client.py"))
            ended = run(*[CHECKOUT / each if "/vectors" in each else each for each in arguments])
            self.assertTrue(pattern(printed).fullmatch(ended.stdout.strip()), ended)

    def test_nobody(self):
        """Where nobody listens nothing is sent."""
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        self.assertEqual(self.call("add"), f"ConnectionError: there is no connection to {self.address}: not sent")

    def test_one_link(self):
        """Many calls, large ones among them, go over one connection, and each runs once."""
        self.begin()
        program = self.program(
            """
            import sys
            from client import Link
            link = Link(sys.argv[1])
            for number in range(1000):
                assert link.call("shop", "add", {"a": number, "b": 1}) == number + 1
            for size in (10, 65_536, 1_000_000, 20_000_000):
                assert link.call("shop", "echo", {"value": bytes(size)}) == bytes(size)
            assert link.call("shop", "slow", {"seconds": 2}) == "at last"
            try:
                link.call("shop", "slow", {"seconds": 30}, timeout=0.5)
            except TimeoutError as error:
                print(error)
            for wrong, arguments in (("add", {}), ("echo", {"value": bytes(70_000_000)})):
                try:
                    link.call("shop", wrong, arguments)
                except (RuntimeError, ValueError) as error:
                    print(error)
            print(link.call("shop", "count", {}))
            link.close()
            """
        )
        self.assertEqual(program.ends(), 0, program.err)
        late, missing, large, count = program.out.splitlines()
        self.assertRegex(late, "did not answer in time: it may have run$")
        self.assertIn("the parameter 'a' is missing", missing)
        self.assertIn("are over 67108864, the limit of", large)
        self.assertEqual(count, "1002")

    def test_small_limit(self):
        """The limit of the server, which WELCOME tells, is kept; a reply over ours is refused by the server."""
        self.begin("?max_message_size=100000")
        self.assertIn("are over 100000, the limit of", self.call("echo", f'value="{"x" * 100_000}"'))
        self.assertEqual(self.call("echo", 'value="small"'), '"small"')

    def test_restart(self):
        """Who stops refuses what would have come too late, and the next on its port is called by a new link."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = f"?rpc_zmq_min_port={port}&rpc_zmq_max_port={port + 1}"
        self.begin(options)
        program = self.program(
            """
            import sys, time
            from client import Link
            link, links = None, 0
            while links < 3:
                try:
                    if link is None:
                        link = Link(sys.argv[1], 1.0)
                        link.call("shop", "add", {"a": 1, "b": 1}, timeout=5)
                        links += 1
                        print("link", links)
                    link.call("shop", "add", {"a": 1, "b": 1}, timeout=5)
                except (OSError, RuntimeError) as error:
                    print(error)
                    if link is not None:
                        link.close()
                    link = None
                    time.sleep(0.05)
            """
        )
        program.says("link 1")
        self.server.signal()
        self.server.ends()
        self.begin(options)
        self.assertNotIn("may have run", program.says("link 2"))
        self.server.kill()
        self.begin(options)
        program.says("link 3")
        self.assertEqual(program.ends(), 0, program.err)
