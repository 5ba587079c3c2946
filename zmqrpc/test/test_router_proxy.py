"""The router proxy: held by the contract of proxies in memory, and over sockets with peers that are plain ZeroMQ."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import time
from itertools import count
from typing import Any

import msgspec
import zmq
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessValue
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from zmqrpc import Node, Target, expose, reactor_zmq
from zmqrpc.core.envelope import Refusal
from zmqrpc.core.keys import topic_key
from zmqrpc.errors import ConfigError, PortRangeExhausted
from zmqrpc.interfaces import FULL, GONE
from zmqrpc.proxy import router
from zmqrpc.proxy_node import ProxyNode
from zmqrpc.settings import Settings
from zmqrpc.test.logs import LogLines
from zmqrpc.test.paths import short_directory
from zmqrpc.test.processes import CHECKOUT
from zmqrpc.testing import Network, Store
from zmqrpc.testing.proxy_contract import OPAQUE, ProxyContract, PublisherContract, RouterContract

msgpack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode


class ContractTests(RouterContract, SynchronousTestCase):
    kind = "router-proxy"

    def test_who_has_gone(self):
        """At the stop nobody waits for a client that went without a word, and no line speaks of it."""
        node, client, _ = self.pair()
        client.close()
        self.network.run(0.1)
        self.network.result_of(node.stopService(), 1)
        self.assertEqual(node.notices.counts["answers_dropped"], 0)


class OneSocketTests(RouterContract, SynchronousTestCase):
    kind = "router-proxy"
    options = {"proxy_frontend_port": 0}

    def test_one_address(self):
        (record,) = self.start().records
        self.assertEqual(len(record.addresses), 1)


class PublishingTests(PublisherContract, SynchronousTestCase):
    kind = "router-proxy"

    def test_what_is_given_back_does_not_fit(self):
        """Who cannot be answered is forgotten, and learns of it by what it says next."""
        node, client, _ = self.pair()
        proxy: Any = node._proxy
        router = proxy._routers[0]
        send, fates = router.send_keyed, [FULL, GONE]
        router.send_keyed = lambda *arguments: fates.pop(0) if fates else send(*arguments)
        for _ in range(2):
            client.send(topic_key("openstack", "compute"), OPAQUE)
            self.network.run(0.1)
        self.assertEqual(node.notices.counts["answers_dropped"], 2)
        client.send(topic_key("openstack", "compute"), OPAQUE)
        nack = self.answer(client)
        self.assertEqual((nack.reason, nack.returned), (Refusal.WRONG_INSTANCE, None))


class LocalPublisherTests(ProxyContract, SynchronousTestCase):
    kind = "local-publisher"
    options = {"proxy_local_publisher": True}


class Plain:
    """A peer that is plain ZeroMQ, and writes the wire by hand."""

    def __init__(self, case, address, number):
        self.instance = b"%16d" % number
        self.key = b"I" + self.instance
        self.socket = case.zmq.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.SNDHWM, 0)
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.connect(address)
        self.frames = []
        case.addCleanup(self.socket.close)

    def say(self, *message):
        """Say one message to the proxy: a batch as docs/spec/wire has it."""
        self.socket.send_multipart([b"", msgpack([1, self.instance, None, 1, [], None, [list(message)]])])

    def hello(self, role):
        self.say(13, 1, 1, role, [], {"message": 10_000_000}, [])

    def take(self):
        """Take what has come."""
        with contextlib.suppress(zmq.Again):
            while True:
                self.frames.append(self.socket.recv_multipart(zmq.NOBLOCK))
        return self.frames

    def said(self):
        """List what the proxy itself has said: kind and fields of each message."""
        return [message for key, payload in self.take() if not key for message in unpack(payload)[6]]


class SocketTests(TestCase):
    """Over TCP and IPC."""

    timeout = 60

    def setUp(self):
        self.zmq = zmq.Context()
        self.addCleanup(self.zmq.term)
        self.store = Store(reactor)
        self.numbers = count(1)

    def start(self, **options):
        options = {"rpc_zmq_bind_address": "127.0.0.1", "rpc_zmq_host": "127.0.0.1", "drain_timeout": 0.0, **options}
        node = ProxyNode(reactor, Settings(**options), matchmaker=self.store.matchmaker())
        self.addCleanup(node.stopService)
        node.startService()
        return node

    async def eventually(self, holds):
        until = reactor.seconds() + 20
        while not holds():
            self.assertLess(reactor.seconds(), until)
            await deferLater(reactor, 0.005)

    async def peer(self, node, role, address=None):
        (record,) = (record for record in node.records if record.role == "router")
        peer = Plain(self, address or record.addresses[0 if role == "client" else -1], next(self.numbers))
        peer.hello(role)
        await self.eventually(peer.said)
        self.assertEqual(peer.said()[0][0], 14)
        peer.frames.clear()
        return peer

    async def test_forwarded(self):
        """Small and large, both ways; the frames are those that were sent."""
        for options in ({}, {"proxy_frontend_port": 0}):
            node = self.start(**options)
            client, server = await self.peer(node, "client"), await self.peer(node, "server")
            payloads = [b"", b"\xc1", b"x" * 200, b"y" * 1_000_000]
            for payload in payloads:
                client.socket.send_multipart([server.key, payload])
                server.socket.send_multipart([client.key, payload])
            await self.eventually(lambda c=client, s=server: len(c.take()) == len(s.take()) == 4)
            self.assertEqual(server.frames, [[server.key, payload] for payload in payloads])
            self.assertEqual(client.frames, [[client.key, payload] for payload in payloads])
            client.socket.close()
            server.socket.close()

    async def test_frames(self):
        """One frame, three, a megabyte of a key: counted, and the next message goes its way."""
        node = self.start()
        client, server = await self.peer(node, "client"), await self.peer(node, "server")
        for frames in ([b"one"], [server.key, b"two", b"three"], [b"", b"", b""], [bytes(2**20), b"x"]):
            client.socket.send_multipart(frames)
        client.socket.send_multipart([server.key, b"all right"])
        await self.eventually(server.take)
        self.assertEqual(server.frames, [[server.key, b"all right"]])
        self.assertEqual(node.notices.counts["malformed"], 4)

    async def test_given_back(self):
        """What is for nobody comes back as it was, also when it is large."""
        client = await self.peer(self.start(), "client")
        for payload in (b"\xc1", b"y" * 1_000_000):
            client.frames.clear()
            client.socket.send_multipart([b"I" + bytes(16), payload])
            await self.eventually(client.said)
            self.assertEqual(client.said(), [[7, 5, [], "", payload, None]])

    async def test_peer_killed(self):
        """A server whose connection has ended is forgotten, and the payload given back."""
        node = self.start()
        client, server = await self.peer(node, "client"), await self.peer(node, "server")
        server.socket.close()
        given: list[int] = []
        while not given:
            client.socket.send_multipart([server.key, b"x"])
            await deferLater(reactor, 0.01)
            given = [message[1] for message in client.said()]
        self.assertEqual(set(given), {5})

    async def test_flooded(self):
        """The backend has its turn after one pass over a frontend that has more to read than it can forward at once."""
        turns: list[int] = []
        taken = router._Side.keyed_received

        def take(side, identity, key, payload):
            turns.append(side.number)
            return taken(side, identity, key, payload)

        self.patch(router._Side, "keyed_received", take)
        # A pass is bounded by its time as well, and this machine may be slow.
        self.patch(reactor_zmq, "monotonic", lambda: 1.0)
        node = self.start()
        client, server = await self.peer(node, "client"), await self.peer(node, "server")
        turns.clear()
        # The reactor stands until there is something to read on both sides.
        for _ in range(5000):
            client.socket.send_multipart([server.key, bytes(200)])
        for _ in range(10):
            server.socket.send_multipart([client.key, b"reply"])
        until = time.monotonic() + 20
        while not all(side.readable() for side in node._proxy._routers):
            self.assertLess(time.monotonic(), until)
        for side in node._proxy._routers:
            # To have asked has consumed the edge of its descriptor.
            side.schedule()
        await self.eventually(lambda: [payload for _, payload in client.take()].count(b"reply") == 10)
        # A pass forwards 64, and one may have been due already when the reactor stood.
        self.assertLessEqual(turns.index(router.BACKEND), 2 * 64)

    async def test_overloaded(self):
        """A server that does not read fills its connection; what is more is given back, and the others go on."""
        node = self.start()
        client = await self.peer(node, "client")
        stuck, server = await self.peer(node, "server"), await self.peer(node, "server")
        stuck.socket.set(zmq.RCVHWM, 1)
        sent = 0
        while not client.take():
            for _ in range(100):
                client.socket.send_multipart([stuck.key, bytes(100_000)])
            sent += 100
            self.assertLess(sent, 20_000)
            await deferLater(reactor, 0.01)
        self.assertEqual(client.said()[0][:2], [7, 3])
        client.socket.send_multipart([server.key, b"x"])
        await self.eventually(server.take)

    async def test_port_in_use(self):
        node = self.start()
        port = int(node.records[0].addresses[0].rpartition(":")[2])
        refused = self.assertRaises(PortRangeExhausted, self.start, proxy_frontend_port=port, proxy_backend_port=0)
        self.assertRegex(
            str(refused),
            rf"port {port}: Address already in use; free this port, or give another one; 0 is one of the range$",
        )
        self.assertEqual(refused.options, ("proxy_frontend_port",))

    # IPC

    async def test_ipc(self):
        """The frontend is an IPC socket as well; its directory is made, and the socket goes with the proxy."""
        directory = short_directory(self)
        node = self.start(proxy_ipc=True, rpc_zmq_ipc_dir=directory)
        self.assertEqual(stat.S_IMODE(os.stat(directory).st_mode), 0o755)
        client = await self.peer(node, "client", f"ipc://{directory}/zmq-broker")
        server = await self.peer(node, "server")
        client.socket.send_multipart([server.key, b"x"])
        await self.eventually(server.take)
        client.socket.close()
        await node.stopService()
        self.assertEqual(os.listdir(directory), [])

    async def test_ipc_of_whom(self):
        """Whatever the umask is, everybody may connect who may go through the directory, and nobody else."""
        directory = short_directory(self)
        self.addCleanup(os.umask, os.umask(0o077))
        self.start(proxy_ipc=True, rpc_zmq_ipc_dir=directory)
        path = f"{directory}/zmq-broker"
        self.assertEqual(stat.S_IMODE(os.stat(directory).st_mode), 0o755)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o666)
        if os.geteuid():
            raise SkipTest("only root can be another user")
        connects = (
            "import os, socket, sys\n"
            "os.setgroups([]); os.setgid(4711); os.setuid(4711)\n"
            "from zmqrpc.broker import find_broker\n"
            "assert find_broker(sys.argv[1]) == (f'ipc://{sys.argv[1]}/zmq-broker', '')\n"
            "socket.socket(socket.AF_UNIX).connect(f'{sys.argv[1]}/zmq-broker')\n"
        )
        for mode, status in ((0o755, 0), (0o750, 1)):
            os.chmod(directory, mode)
            environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
            ended = await getProcessValue(sys.executable, ["-c", connects, directory], environment)
            self.assertEqual(ended, status)

    async def test_ipc_that_clients_do_not_trust(self):
        """A client whose broker may be another's says so, and goes on without it."""
        directory = short_directory(self)
        self.start(proxy_ipc=True, rpc_zmq_ipc_dir=directory)
        os.chmod(directory, 0o777)
        settings = Settings(zmq_topology="router-proxy", rpc_zmq_ipc_dir=directory)
        node = Node(reactor, settings, matchmaker=Store(reactor).matchmaker())
        self.addCleanup(node.stopService)
        lines = LogLines(self, "zmqrpc.notices")
        node.startService()
        await self.eventually(lambda: node.notices.counts["broker_not_trusted"])
        self.assertEqual((len(lines.about(f"run chmod go-w {directory}")), node._proxies.there.describe()), (1, {}))

    async def test_ipc_twice(self):
        """There is one on each host; who comes second is refused, and takes nothing away from the first."""
        directory = short_directory(self)
        node = self.start(proxy_ipc=True, rpc_zmq_ipc_dir=directory)
        refused = self.assertRaises(ConfigError, self.start, proxy_ipc=True, rpc_zmq_ipc_dir=directory)
        self.assertIn("somebody listens at", str(refused))
        await self.peer(node, "client", f"ipc://{directory}/zmq-broker")

    async def test_ipc_of_the_dead(self):
        """What a killed proxy has left is replaced."""
        directory = short_directory(self)
        os.mkdir(directory)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(f"{directory}/zmq-broker")
        node = self.start(proxy_ipc=True, rpc_zmq_ipc_dir=directory)
        await self.peer(node, "client", f"ipc://{directory}/zmq-broker")

    def test_ipc_of_the_stopped(self):
        """Who listens and accepts nothing, as a stopped process does once others wait there, is not nobody."""
        directory = short_directory(self)
        os.mkdir(directory)
        path = f"{directory}/zmq-broker"
        stopped = socket.socket(socket.AF_UNIX)
        self.addCleanup(stopped.close)
        stopped.bind(path)
        stopped.listen(0)
        waiting = self.fill(path)
        before = os.lstat(path)
        refused = self.assertRaises(ConfigError, self.start, proxy_ipc=True, rpc_zmq_ipc_dir=directory)
        self.assertIn(f"somebody listens at {path} already; it is run once on each host", str(refused))
        self.assertEqual(os.lstat(path), before)
        with stopped.accept()[0] as taken, waiting[0] as first:
            first.setblocking(True)
            first.sendall(b"x")
            self.assertEqual(taken.recv(1), b"x")

    def fill(self, path):
        """Connect until no more may wait to be accepted; return the sockets that do."""
        waiting: list[socket.socket] = []
        while True:
            caller = socket.socket(socket.AF_UNIX)
            self.addCleanup(caller.close)
            caller.setblocking(False)
            try:
                caller.connect(path)
            except BlockingIOError:
                return waiting
            waiting.append(caller)

    def test_ipc_of_another_kind(self):
        """A socket of which it cannot be said that nobody listens there is left to whoever has it."""
        directory = short_directory(self)
        os.mkdir(directory)
        path = f"{directory}/zmq-broker"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(path)
            refused = self.assertRaises(ConfigError, self.start, proxy_ipc=True, rpc_zmq_ipc_dir=directory)
            self.assertIn(f"cannot tell whether somebody listens at {path} (", str(refused))
            self.assertIn("remove it if nobody does", str(refused))
            self.assertTrue(os.path.exists(path))

    def test_ipc_of_no_path(self):
        """What the kernel does not take is refused by the socket itself as well."""
        path = f"/tmp/{'x' * 200}"
        refused = self.assertRaises(ConfigError, self.start()._proxy._routers[0].bind_path, path)
        self.assertEqual(str(refused), f"cannot bind {path}: AF_UNIX path too long")

    def test_ipc_refused(self):
        """Links, what others may write to, what is no socket, what is too long: one sentence each."""
        directory = short_directory(self)
        os.mkdir(directory)
        for name in ("link", "open", "sticky", "file", "inner"):
            os.mkdir(f"{directory}/{name}")
        os.symlink(f"{directory}/inner", f"{directory}/linked")
        os.symlink(f"{directory}/x", f"{directory}/link/zmq-broker")
        os.chmod(f"{directory}/open", 0o777)
        os.chmod(f"{directory}/sticky", 0o1777)
        with open(f"{directory}/file/zmq-broker", "w"):
            pass
        long = f"{directory}/{'x' * 100}"
        for path, text in (
            (f"{directory}/linked", f"{directory}/linked, for the IPC socket, is a link; remove it"),
            (f"{directory}/link", f"{directory}/link/zmq-broker is a link, where the IPC socket should be"),
            (f"{directory}/open", f"(mode 777), who could replace the socket; run chmod go-w {directory}/open"),
            (
                f"{directory}/sticky",
                "(mode 1777), who could put a socket there while no proxy runs; set rpc_zmq_ipc_dir",
            ),
            (f"{directory}/file", "zmq-broker is no socket, where the IPC socket should be; remove it"),
            (f"{directory}/file/zmq-broker", "is no directory; remove it"),
            (
                f"{directory}/none/none",
                f"{directory}/none/none, for the IPC socket, cannot be made, since there is no directory "
                f"{directory}/none; run mkdir -p {directory}/none, or set rpc_zmq_ipc_dir to another",
            ),
            (
                f"{directory}/file/zmq-broker/x",
                f"cannot be made, since {directory}/file/zmq-broker is no directory; remove it, or set",
            ),
            (long, f"has {len(long) + 11} bytes, and the kernel takes 107; set rpc_zmq_ipc_dir to a shorter one"),
            ("/proc", "cannot be made" if os.geteuid() else "cannot bind /proc/zmq-broker"),
        ):
            refused = self.assertRaises(ConfigError, self.start, proxy_ipc=True, rpc_zmq_ipc_dir=path)
            self.assertIn(text, str(refused))

    def test_ipc_of_others(self):
        """A directory of another user is refused."""
        directory = short_directory(self)
        os.mkdir(directory, 0o755)
        if os.geteuid() == 0:
            os.chown(directory, 4711, -1)
            owner, me = 4711, 0
        else:
            owner, me = os.geteuid(), 4711
            self.patch(os, "geteuid", lambda: me)
        refused = self.assertRaises(ConfigError, self.start, proxy_ipc=True, rpc_zmq_ipc_dir=directory)
        text = f"belongs to user {owner}, who is neither root nor the user of this process ({me})"
        self.assertIn(text, str(refused))


class Calc:
    @expose
    def add(self, context, a, b):
        return a + b


class CallTests(SynchronousTestCase):
    """Nodes that call each other through it."""

    def test_stopped_and_killed(self):
        """Calls go on while one proxy stops in good order, and after the other is killed and a third has come."""
        for frontend_port in (None, 0):
            with Network(3) as network:
                proxies = [network.proxy(proxy_frontend_port=frontend_port) for _ in range(2)]
                for member in ("one", "two"):
                    network.serve(f"calc.{member}", Calc(), use_router_proxy=True)
                client = network.client(use_router_proxy=True)

                def ask(network=network, client=client):
                    called = client.call(Target("calc"), "add", {"a": 1, "b": 2}, timeout=10, wait_for_ready=True)
                    return network.result_of(called)

                self.assertEqual([ask() for _ in range(20)], [3] * 20)
                stopping = proxies[0].stopService()
                self.assertEqual([ask() for _ in range(20)], [3] * 20)
                network.result_of(stopping, 3)
                proxies[1].kill()
                network.proxy(proxy_frontend_port=frontend_port)
                self.assertEqual([ask() for _ in range(20)], [3] * 20)
