"""ZeroMQ sockets on the reactor: real ones, on this machine."""

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from itertools import pairwise
from typing import Any

import zmq
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from zmqrpc.core.capacity import SUBSCRIBER_DESCRIPTORS
from zmqrpc.errors import ConfigError, PortRangeExhausted
from zmqrpc.interfaces import (
    FULL,
    GONE,
    SENT,
    IBoundReceiver,
    IBoundRouter,
    IConnectingRouter,
    ILinkReceiver,
    ITransport,
)
from zmqrpc.reactor_zmq import PASS_ENVELOPES, ZmqTransport
from zmqrpc.settings import Settings
from zmqrpc.test.integration.support import (
    RawPeers,
    TcpServer,
    arrived,
    eventually,
    pause,
    reactor,
    run_child,
)
from zmqrpc.test.logs import LogLines
from zmqrpc.test.ports import free_port
from zmqrpc.testing.pubsub_contract import Published, Subscribed

LOOPBACK = "127.0.0.1"
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)


@implementer(IBoundReceiver, ILinkReceiver)
class Ear:
    """
    Hears what comes in.

    :ivar taken: what to do with a message besides; its result is how many envelopes it held.
    """

    def __init__(self):
        self.payloads: list[tuple[bytes, bytes]] = []
        self.keyed: list[tuple[bytes, bytes, bytes]] = []
        self.malformed: list[tuple[bytes, str]] = []
        self.progress: list[bytes] = []
        self.losses: list[tuple[bytes, str]] = []
        self.failures: list[tuple[str, str]] = []
        self.taken: Any = lambda identity, payload: 1
        self.lost: Any = lambda identity, reason: None

    def payload_received(self, identity, payload):
        self.payloads.append((identity, bytes(payload)))
        return self.taken(identity, payload)

    def keyed_received(self, identity, key, payload):
        self.keyed.append((identity, key, bytes(payload)))
        return 1

    def malformed_received(self, identity, reason):
        self.malformed.append((identity, reason))

    def handshake_failed(self, peer, reason):
        self.failures.append((peer, reason))

    def connection_progressed(self, identity):
        self.progress.append(identity)

    def connection_lost(self, identity, reason):
        self.losses.append((identity, reason))
        self.lost(identity, reason)

    def said(self):
        return [payload for _, payload in self.payloads]

    def reasons(self, identity):
        return [reason for lost, reason in self.losses if lost == identity]


class TransportCase(TestCase):
    timeout = 60

    def setUp(self):
        self.peers = RawPeers(self)
        self.passes: list[None] = []

    def transport(self, most=2**20, **options):
        transport = ZmqTransport(reactor, most, **options)
        transport.open(lambda: self.passes.append(None))
        self.addCleanup(transport.close, 0)
        return transport

    def bound(self, transport=None, host=LOOPBACK):
        ear = Ear()
        router = (transport or self.transport()).bound_router(ear)
        self.addCleanup(router.close, 0)
        return ear, router, router.bind(host, [free_port()])

    def connecting(self, transport=None):
        ear = Ear()
        router = (transport or self.transport()).connecting_router(ear)
        self.addCleanup(router.close)
        return ear, router

    async def echo(self, router, ear, identity, text=b"are you there"):
        """Send a message over a link to a raw ROUTER's echo or to an `Ear` that echoes, and wait for it."""
        before = len(ear.payloads)
        self.assertEqual(router.send(identity, text), SENT)
        router._transport.kick()
        await eventually("the echo", lambda: (identity, text) in ear.payloads[before:])


def echoing(ear, router):
    def echo(identity, payload):
        router.send(identity, bytes(payload))
        return 1

    ear.taken = echo


class InterfaceTests(TransportCase):
    def test_provided(self):
        transport = self.transport()
        verifyObject(ITransport, transport)
        verifyObject(IBoundRouter, self.bound(transport)[1])
        verifyObject(IConnectingRouter, self.connecting(transport)[1])


class BindTests(TransportCase):
    def taken_port(self):
        taken = socket.create_server((LOOPBACK, free_port()))
        self.addCleanup(taken.close)
        return taken.getsockname()[1]

    def test_first_free_port(self):
        """Ports that somebody has are passed over."""
        router = self.transport().bound_router(Ear())
        self.addCleanup(router.close, 0)
        free = free_port()
        self.assertEqual(router.bind(LOOPBACK, [self.taken_port(), free, free_port()]), f"tcp://127.0.0.1:{free}")

    def test_exhausted(self):
        """The text says which ports were tried, and how often."""
        router = self.transport().bound_router(Ear())
        self.addCleanup(router.close, 0)
        taken = sorted([self.taken_port(), self.taken_port()])
        text = str(self.assertRaises(PortRangeExhausted, router.bind, LOOPBACK, taken))
        self.assertIn(f"cannot bind 127.0.0.1 on any of 2 ports tried, {taken[0]} to {taken[1]}: Addr", text)
        self.assertIn("Address already in use", text)
        text = str(self.assertRaises(PortRangeExhausted, router.bind, LOOPBACK, taken[:1]))
        self.assertIn(f"cannot bind 127.0.0.1 on port {taken[0]}: Address already in use", text)
        text = str(self.assertRaises(PortRangeExhausted, router.bind, LOOPBACK, []))
        self.assertEqual(text, "cannot bind 127.0.0.1: there is no port in the range")

    def test_bad_host(self):
        """A host that is none of this machine is no matter of ports."""
        for host in ("203.0.113.7", "no-such-adapter", "not a host", "2001:db8::7"):
            router = self.transport().bound_router(Ear())
            self.addCleanup(router.close, 0)
            with self.assertRaises(ConfigError, msg=host) as caught:
                router.bind(host, [free_port()])
            self.assertNotIsInstance(caught.exception, PortRangeExhausted)
            self.assertIn(host, str(caught.exception))

    def test_adapter(self):
        _, _, address = self.bound(host="lo")
        self.assertTrue(address.startswith("tcp://127.0.0.1:"), address)

    async def test_ipv6(self):
        """Numeric IPv6 addresses, with brackets or without, are bound and connected to."""
        for host in ("[::1]", "::1"):
            ear, router, address = self.bound(host=host)
            self.assertTrue(address.startswith("tcp://[::1]:"), address)
            echoing(ear, router)
            heard, connecting = self.connecting()
            await self.echo(connecting, heard, connecting.connect(address))


class KeepaliveTests(TransportCase):
    OPTIONS = (zmq.TCP_KEEPALIVE, zmq.TCP_KEEPALIVE_IDLE, zmq.TCP_KEEPALIVE_INTVL, zmq.TCP_KEEPALIVE_CNT)

    def test_set(self):
        """Both sockets have what the options say; 0 seconds or probes are what the system does, as -1 is."""
        for options, values in (
            ({}, [1, 60, 15, 4]),
            ({"zmq_tcp_keepalive_idle": 7, "zmq_tcp_keepalive_cnt": 9, "zmq_tcp_keepalive_intvl": 8}, [1, 7, 8, 9]),
            ({"zmq_tcp_keepalive": -1, "zmq_tcp_keepalive_idle": 0, "zmq_tcp_keepalive_cnt": -1}, [-1, -1, 15, -1]),
        ):
            transport = ZmqTransport(reactor, 2**20, Settings.from_url("zmq://", **options).keepalive)
            transport.open(lambda: None)
            self.addCleanup(transport.close, 0)
            for router in (self.bound(transport)[1], self.connecting(transport)[1]):
                self.assertEqual([router._socket.get(option) for option in self.OPTIONS], values)


class ConnectTests(TransportCase):
    async def test_there_and_back(self):
        ear, router, address = self.bound()
        echoing(ear, router)
        heard, connecting = self.connecting()
        await self.echo(connecting, heard, connecting.connect(address))

    async def lost_to(self, address, patience=10):
        heard, connecting = self.connecting()
        identity = connecting.connect(address)
        await eventually("the loss", lambda: heard.reasons(identity), patience)
        return heard.reasons(identity)[0]

    async def test_refused(self):
        self.assertEqual(await self.lost_to(f"tcp://{LOOPBACK}:{free_port()}"), "connection refused")

    async def test_web_server(self):
        """What a web server says is no message."""
        listener = TcpServer(self, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 11\r\n\r\nBad Request")
        heard, connecting = self.connecting()
        identity = connecting.connect(listener.address)
        await eventually("the loss", lambda: heard.losses)
        self.assertIn(heard.reasons(identity)[0], ("the connection ended", "the peer does not speak ZMTP 3"))
        await pause(0.1)
        self.assertEqual((heard.payloads, heard.malformed), ([], []))

    async def test_silent_listener(self):
        """Who accepts and says nothing is given up after two seconds."""
        begin = time.monotonic()
        await self.lost_to(TcpServer(self).address)
        self.assertLess(time.monotonic() - begin, 4)

    async def test_peer_closes(self):
        raw, address = self.peers.router()
        heard, connecting = self.connecting()
        identity = connecting.connect(address)
        connecting.send(identity, b"hello")
        await eventually("the message", lambda: arrived(raw))
        raw.close(0)
        await eventually("the loss", lambda: heard.reasons(identity))
        self.assertEqual(heard.reasons(identity), ["the connection ended"])
        connecting.disconnect(identity)
        self.assertEqual(connecting.send(identity, b"hello"), GONE)

    async def test_no_reconnect(self):
        """What was written to a connection that is lost never reaches who comes after it on that port."""
        port = free_port()
        raw, address = self.peers.router(port)
        heard, connecting = self.connecting()
        identity = connecting.connect(address)
        connecting.send(identity, b"hello")
        await eventually("the message", lambda: arrived(raw))
        raw.close(0)
        await eventually("the loss", lambda: heard.losses)
        connecting.send(identity, b"for the dead")
        successor = self.peers.socket(zmq.ROUTER)
        await eventually("the port", lambda: self.bound_by(successor, address))
        await pause(0.5)
        self.assertIsNone(arrived(successor))

    def bound_by(self, sock, address):
        with contextlib.suppress(zmq.ZMQError):
            sock.bind(address)
            return True

    def test_bad_address(self):
        _, connecting = self.connecting()
        for address in ("tcp://127.0.0.1:http", "tcp://127.0.0.1:", "udp://127.0.0.1:5000", "tcp://", "", "x"):
            with self.assertRaises(ConfigError, msg=address):
                connecting.connect(address)

    def test_never_the_same_identity(self):
        _, connecting = self.connecting()
        address = f"tcp://{LOOPBACK}:{free_port()}"
        seen = set()
        for _ in range(50):
            identity = connecting.connect(address)
            connecting.disconnect(identity)
            seen.add(identity)
        self.assertEqual(len(seen), 50)

    async def test_two_links_to_one_address(self):
        """Each has its own connection; dropping one leaves the other."""
        ear, router, address = self.bound()
        echoing(ear, router)
        heard, connecting = self.connecting()
        first, second = connecting.connect(address), connecting.connect(address)
        await self.echo(connecting, heard, first)
        await self.echo(connecting, heard, second)
        self.assertEqual(len({identity for identity, _ in ear.payloads}), 2)
        connecting.disconnect(first)
        self.assertEqual(connecting.send(first, b"too late"), GONE)
        await self.echo(connecting, heard, second, b"still there")
        self.assertEqual(heard.losses, [])

    async def test_losses_of_one_address(self):
        """Of twenty links to one address, each hears of its own loss, and of no other's."""
        raw, address = self.peers.router()
        heard, connecting = self.connecting()
        links = [connecting.connect(address) for _ in range(20)]
        self.assertEqual([connecting.send(link, b"hello") for link in links], [SENT] * 20)
        arrivals: list[Any] = []
        await eventually("all", lambda: arrivals.append(arrived(raw)) or len(list(filter(None, arrivals))) == 20)
        for link in links[::2]:
            connecting.disconnect(link)
        await pause(0.05)
        self.assertEqual(heard.losses, [])
        raw.close(0)
        await eventually("the losses", lambda: len(heard.losses) >= 10)
        await pause(0.05)
        self.assertEqual(sorted(heard.losses), sorted((link, "the connection ended") for link in links[1::2]))

    async def test_ipc(self):
        """Two links to one path, absolute or not."""
        name = f"zmqrpc-test-{os.getpid()}"
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        for path in (f"{directory}/{name}", name):
            raw = self.peers.socket(zmq.ROUTER)
            raw.bind(f"ipc://{path}")
            heard, connecting = self.connecting()
            for link in (connecting.connect(f"ipc://{path}"), connecting.connect(f"ipc://{path}")):
                self.assertEqual(connecting.send(link, b"hello"), SENT)
                sender, _ = await eventually("the message", lambda raw=raw: arrived(raw))
                raw.send_multipart([sender, b"you too"])
                await eventually("the answer", lambda link=link, heard=heard: (link, b"you too") in heard.payloads)


class SendTests(TransportCase):
    async def test_nobody(self):
        _, router, _ = self.bound()
        self.assertEqual(router.send(b"nobody", b"hello"), GONE)
        _, connecting = self.connecting()
        self.assertEqual(connecting.send(b"nobody", b"hello"), GONE)
        connecting.disconnect(b"nobody")
        connecting.close()
        self.assertEqual(connecting.send(b"nobody", b"hello"), GONE)

    def fill(self, send, size=2000):
        """Send numbered messages until there is no room; return how many were taken."""
        for number in range(100_000):
            fate = send(b"%0*d" % (size, number))
            if fate != SENT:
                self.assertEqual(fate, FULL)
                return number
        raise AssertionError("it never became full")

    async def full(self, send, size=2000):
        """Fill until also the buffers of the kernel are full."""
        count = 0
        while True:
            more = self.fill(send, size)
            count += more
            await pause(0.1)
            if not more:
                return count

    async def test_full_server(self):
        """A server that does not read fills its own link, no other; when it reads, all arrives, in order."""
        raw, address = self.peers.router(RCVHWM=10, RCVBUF=8192)
        ear, router, other = self.bound()
        echoing(ear, router)
        heard, connecting = self.connecting()
        link, beside = connecting.connect(address), connecting.connect(other)
        count = 0
        while more := self.fill(lambda payload: connecting.send(link, payload)):
            count += more
            await self.echo(connecting, heard, beside, b"beside %d" % count)
            await pause(0.05)
        got: list[bytes] = []

        def read():
            while (frames := arrived(raw)) is not None:
                got.append(frames[1])
            return connecting.send(link, b"and on") == SENT and len(got) >= count

        await eventually("room", read)
        sizes = [len(payload) for payload in got[:count]]
        self.assertEqual(sizes, [2000] * count)

    async def test_full_caller(self):
        """A caller that does not read fills its own connection, no other; when it reads, there is room."""
        ear, router, address = self.bound()
        deaf = self.peers.dealer(address, RCVHWM=10, RCVBUF=8192)
        deaf.send(b"hello")
        await eventually("the caller", lambda: ear.payloads)
        identity = ear.payloads[0][0]
        count = await self.full(lambda payload: router.send(identity, payload))
        other = self.peers.dealer(address)
        other.send(b"other")
        await eventually("the other", lambda: len(ear.payloads) == 2)
        self.assertEqual(router.send(ear.payloads[1][0], b"room for you"), SENT)
        self.assertEqual(await eventually("it", lambda: arrived(other)), [b"room for you"])
        got: list[bytes] = []

        def read():
            while (frames := arrived(deaf)) is not None:
                got.append(frames[0])
            return len(got) == count and router.send(identity, b"and on") == SENT

        await eventually("room", read)

    async def test_full_caller_dies(self):
        """FULL becomes GONE."""
        ear, router, address = self.bound()
        deaf = self.peers.dealer(address, RCVHWM=10, RCVBUF=8192)
        deaf.send(b"hello")
        await eventually("the caller", lambda: ear.payloads)
        identity = ear.payloads[0][0]
        await self.full(lambda payload: router.send(identity, payload))
        deaf.close(0)

        def tried():
            router._transport.kick()
            return router.send(identity, b"anybody") == GONE

        await eventually("that it is known to be gone", tried)

    async def test_large(self):
        """What is too large to be copied arrives whole."""
        ear, router, address = self.bound()
        echoing(ear, router)
        heard, connecting = self.connecting()
        link = connecting.connect(address)
        await self.echo(connecting, heard, link, bytes(range(256)) * 1024)


class FrameTests(TransportCase):
    async def test_too_many_frames(self):
        """A message of several frames is dropped whole, is told, and takes nothing of the next one with it."""
        ear, router, address = self.bound()
        echoing(ear, router)
        victim = self.peers.dealer(address)
        victim.send(b"first")
        await eventually("the first", lambda: ear.payloads)
        identity = ear.payloads[0][0]
        attacker = self.peers.dealer(address)
        for frames in ([b"", b"x", b"y"], [b"a", identity, b"for you"], [b"f"] * 1000):
            attacker.send_multipart(frames)
        attacker.send_multipart([identity, b"with a key"])
        attacker.send(b"an honest one")
        await eventually("the honest one", lambda: len(ear.payloads) == 2)
        self.assertEqual(ear.said(), [b"first", b"an honest one"])
        self.assertEqual([reason for _, reason in ear.malformed], ["more than two frames"] * 3)
        self.assertEqual({sender for sender, _ in ear.malformed}, {ear.payloads[1][0]})
        self.assertEqual(ear.keyed, [(ear.payloads[1][0], identity, b"with a key")])
        self.assertEqual(await eventually("the echo", lambda: arrived(attacker)), [b"an honest one"])
        self.assertEqual(await eventually("the echo", lambda: arrived(victim)), [b"first"])
        self.assertIsNone(arrived(victim))

    async def test_frames_on_a_link(self):
        """The same on the side that connects."""
        raw, address = self.peers.router()
        heard, connecting = self.connecting()
        link = connecting.connect(address)
        connecting.send(link, b"hello")
        sender, _ = await eventually("the message", lambda: arrived(raw))
        raw.send_multipart([sender, link, b"forged", b""])
        raw.send_multipart([sender, b"honest"])
        await eventually("the honest one", lambda: heard.payloads)
        self.assertEqual(heard.payloads, [(link, b"honest")])
        self.assertEqual(heard.malformed, [(link, "more than two frames")])

    async def test_oversize_to_server(self):
        """A frame over the limit ends the connection it came by, and no other."""
        ear, router, address = self.bound(self.transport(most=65536))
        echoing(ear, router)
        honest, greedy = self.peers.dealer(address), self.peers.dealer(address, RECONNECT_IVL=-1)
        for sock in (honest, greedy):
            sock.send(b"x" * 65536)
            await eventually("the largest that is allowed", lambda sock=sock: arrived(sock))
        greedy.send(b"x" * 65537)
        identity = ear.payloads[-1][0]
        await eventually("the end of it", lambda: router.send(identity, b"?") == GONE)
        honest.send(b"me")
        self.assertEqual(await eventually("the echo", lambda: arrived(honest)), [b"me"])
        self.assertEqual(len(ear.payloads), 3)

    async def test_oversize_to_client(self):
        transport = self.transport(most=65536)
        ear, router, address = self.bound()
        echoing(ear, router)
        raw, bad = self.peers.router()
        heard, connecting = self.connecting(transport)
        greedy, honest = connecting.connect(bad), connecting.connect(address)
        connecting.send(greedy, b"hello")
        sender, _ = await eventually("the message", lambda: arrived(raw))
        raw.send_multipart([sender, b"x" * 65537])
        await eventually("the loss", lambda: heard.losses)
        self.assertEqual(heard.losses, [(greedy, "the connection ended")])
        await self.echo(connecting, heard, honest)


class PassTests(TransportCase):
    """A pass is bounded, and nothing is forgotten after it."""

    async def flood(self, count, envelopes=1, work=0.0):
        """Have messages wait, read them, and return how many each pass took and how often a neighbour had its turn."""
        ear, _, address = self.bound()
        raw = self.peers.dealer(address, SNDHWM=count)
        turns = []
        taken = [0]

        def take(identity, payload):
            taken[0] += 1
            if work:
                end = time.monotonic() + work
                while time.monotonic() < end:
                    pass
            return envelopes

        ear.taken = take
        raw.send(b"warm")
        await eventually("the first", lambda: ear.payloads)
        for number in range(count):
            raw.send(b"%d" % number)
        time.sleep(0.3)  # our reactor stands still while it arrives

        def neighbour():
            turns.append(taken[0])
            if len(ear.payloads) <= count:
                reactor.callLater(0, neighbour)

        before = taken[0]
        neighbour()
        await eventually("all", lambda: len(ear.payloads) == count + 1, 30)
        self.assertEqual(ear.said()[1:], [b"%d" % number for number in range(count)])
        turns.append(taken[0])
        passes = [after - earlier for earlier, after in pairwise(turns)]
        self.assertEqual(sum(passes), taken[0] - before)
        return passes

    async def test_bounded_by_messages(self):
        # Between two turns of a neighbour there may be two passes: one by the descriptor, one by our own timer.
        self.assertLessEqual(max(await self.flood(5000)), 2 * PASS_ENVELOPES)

    async def test_junk_is_bounded(self):
        """Messages of too many frames count like others."""
        ear, _, address = self.bound()
        dealers = [self.peers.dealer(address) for _ in range(3)]
        for dealer in dealers:
            dealer.send(b"warm")
        await eventually("the first", lambda: len(ear.payloads) == 3)
        for dealer in dealers:
            for _ in range(900):
                dealer.send_multipart([b"a", b"b", b"c"])
        time.sleep(0.3)  # our reactor stands still while it arrives
        turns = [len(ear.malformed)]

        def neighbour():
            turns.append(len(ear.malformed))
            if turns[-1] < 2700:
                reactor.callLater(0, neighbour)

        neighbour()
        await eventually("all", lambda: turns[-1] == 2700, 30)
        self.assertLessEqual(max(after - earlier for earlier, after in pairwise(turns)), 2 * PASS_ENVELOPES)

    async def test_bounded_by_envelopes(self):
        """Also batches are counted by what is in them."""
        self.assertLessEqual(max(await self.flood(900, envelopes=100)), 2 * 3)

    async def test_bounded_by_time(self):
        """A message that takes 1 ms leaves room for two more in a pass."""
        steps = await self.flood(300, work=0.001)
        self.assertLessEqual(max(steps), 2 * 3)

    async def test_write_takes_the_edge(self):
        """A write before the pass for what has arrived does not leave that unread."""
        ear, router, address = self.bound()
        raw = self.peers.dealer(address)
        raw.send(b"hello")
        await eventually("the first", lambda: ear.payloads)
        identity = ear.payloads[0][0]
        for number in range(20):
            raw.send(b"%d" % number)
            time.sleep(0.02)  # it has arrived, and our reactor does not know
            router.send(identity, b"beside")
            router._transport.kick()
            await eventually("it", lambda number=number: ear.payloads[-1][1] == b"%d" % number, 3)

    async def test_no_missed_wakeup(self):
        """
        Who writes in the middle of everything still hears of what came in meanwhile.

        A write consumes the edge of the descriptor. Each burst has to come back whole; one missed wake-up and the test
        stands still.
        """
        ear, router, address = self.bound()
        echoing(ear, router)
        heard, connecting = self.connecting()
        links = [connecting.connect(address) for _ in range(3)]
        for link in links:
            await self.echo(connecting, heard, link)
        bursts = 1500
        for burst in range(bursts):
            heard.payloads.clear()
            done: Deferred[None] = Deferred()
            expected = burst % 7 + 1

            def take(identity, payload, done=done, expected=expected):
                if len(heard.payloads) == expected:
                    done.callback(None)
                return 1

            heard.taken = take
            for number in range(expected):
                connecting.send(links[number % 3], b"burst")
            connecting._transport.kick()
            done.addTimeout(5, reactor)
            await done
            ear.payloads.clear()


class RaisingTests(TransportCase):
    """Nothing raises out of a pass: Twisted would remove the reader and leave a deaf socket."""

    async def test_receiver(self):
        for error in (ValueError("bad"), SystemExit(1), KeyboardInterrupt()):
            ear, router, address = self.bound()

            def fail(identity, payload, error=error, router=router):
                if bytes(payload) == b"poison":
                    raise error
                router.send(identity, bytes(payload))
                return 1

            ear.taken = fail
            raw = self.peers.dealer(address)
            for payload in (b"poison", b"poison", b"good"):
                raw.send(payload)
            self.assertEqual(await eventually("the good one", lambda raw=raw: arrived(raw)), [b"good"])
            raw.send(b"again")
            self.assertEqual(await eventually("the next one", lambda raw=raw: arrived(raw)), [b"again"])
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 2)

    async def test_malformed_receiver(self):
        ear, _, address = self.bound()
        ear.malformed_received = lambda identity, reason: 1 / 0
        raw = self.peers.dealer(address)
        raw.send_multipart([b"a", b"b", b"c"])
        raw.send(b"good")
        await eventually("the good one", lambda: ear.payloads)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_loss_receiver(self):
        heard, connecting = self.connecting()
        heard.lost = lambda identity, reason: 1 / 0
        for count in (1, 2):
            connecting.connect(f"tcp://{LOOPBACK}:{free_port()}")
            await eventually("the loss", lambda count=count: len(heard.losses) == count)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_end_of_pass(self):
        for error in (ValueError("bad"), SystemExit(1)):
            transport = ZmqTransport(reactor, 2**20)
            errors = [error]

            def ended(errors=errors):
                if errors:
                    raise errors.pop()

            transport.open(ended)
            self.addCleanup(transport.close, 0)
            ear, _, address = self.bound(transport)
            raw = self.peers.dealer(address)
            for count in (1, 2):
                raw.send(b"hello")
                await eventually("the message", lambda count=count, ear=ear: len(ear.payloads) == count)
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)


class DrainTests(TransportCase):
    async def test_after_death(self):
        """What a peer wrote before it died is delivered before its connection is dropped."""
        for _ in range(5):
            raw, address = self.peers.router()
            heard, connecting = self.connecting()
            link = connecting.connect(address)
            connecting.send(link, b"hello")
            sender, _ = await eventually("the message", lambda raw=raw: arrived(raw))
            for number in range(200):
                raw.send_multipart([sender, b"%d" % number])
            raw.close(1000)
            time.sleep(0.2)  # our reactor stands still while all of it, and the end, arrives
            self.assertEqual(heard.payloads, [])
            connecting.drain()
            connecting.disconnect(link)
            self.assertEqual(heard.said(), [b"%d" % number for number in range(200)])

    async def test_disconnect_in_a_callback(self):
        """A receiver that drops the connection it hears of, in the middle of a pass, harms no other."""
        ear, router, address = self.bound()
        echoing(ear, router)
        heard, connecting = self.connecting()
        links = [connecting.connect(address) for _ in range(4)]
        dropped = set()

        def drop(identity, payload):
            if bytes(payload) == b"last words":
                connecting.disconnect(identity)
                dropped.add(identity)
            return 1

        heard.taken = drop
        for link in links[:3]:
            for _ in range(50):
                connecting.send(link, b"last words")
        await self.echo(connecting, heard, links[3])
        await eventually("last words of the others", lambda: dropped == set(links[:3]))
        self.assertTrue(all(connecting.send(link, b"?") == GONE for link in links[:3]))


class DescriptorTests(TransportCase):
    async def test_of_a_subscriber(self):
        """It takes as many beside its connection as `zmqrpc plan` counts."""
        publisher = self.transport().publisher(Subscribed())
        self.addCleanup(publisher.close, 0)
        address = publisher.bind(LOOPBACK, [free_port()])
        transport = self.transport()
        heard = [Published() for _ in range(5)]
        self.addCleanup(transport.subscriber(heard[0], address).close)
        await eventually("the first", lambda: heard[0].ups)
        before = len(os.listdir("/proc/self/fd"))
        for each in heard[1:]:
            self.addCleanup(transport.subscriber(each, address).close)
        await eventually("the others", lambda: all(each.ups for each in heard))
        # Both ends of each connection are in this process.
        self.assertEqual(len(os.listdir("/proc/self/fd")) - before, 4 * (SUBSCRIBER_DESCRIPTORS + 2))


class MonitorTests(TransportCase):
    async def test_stopped_process(self):
        """Where the system takes connections for a process that reads none, that is what is said."""
        listener = socket.create_server((LOOPBACK, 0))
        self.addCleanup(listener.close)
        heard, connecting = self.connecting()
        identity = connecting.connect(f"tcp://{LOOPBACK}:{listener.getsockname()[1]}")
        await eventually("it is given up", lambda: heard.losses)
        silent = "it takes connections and does not answer: stopped, overloaded, or no zmqrpc"
        self.assertEqual(heard.losses[0], (identity, silent))
        self.assertEqual(heard.progress, [identity])

    async def test_progress(self):
        """What shows that a peer lives before it has said anything: its system, and then ZeroMQ there, answer."""
        _, _, address = self.bound()
        heard, connecting = self.connecting()
        identity = connecting.connect(address)
        await eventually("both", lambda: heard.progress == [identity] * 2)
        self.assertEqual(heard.losses, [])

    async def test_flood(self):
        """Events that nobody has read yet do not stop ZeroMQ's thread (at the usual mark it stops at 2,000)."""
        raw, address = self.peers.router()
        heard, connecting = self.connecting()
        for dead in [f"tcp://{LOOPBACK}:{free_port()}" for _ in range(40)]:
            for _ in range(100):
                connecting.connect(dead)
        time.sleep(0.5)  # our reactor stands still, and nobody reads them
        connecting.send(connecting.connect(address), b"are you there")
        self.assertTrue(raw.poll(3000))
        await eventually("the losses", lambda: len(heard.losses) >= 4000, 30)

    async def test_flood_of_strangers(self):
        """The same is true of those who connect to us and are no peers."""
        ear, _, address = self.bound()
        for _ in range(1500):
            self.knock(address, b"GET / HTTP/1.1\r\n\r\n").close()
        time.sleep(0.2)
        last = self.knock(address, GREETING)
        last.settimeout(3)
        self.assertEqual(last.recv(1), GREETING[:1])
        await eventually("all of them", lambda: len(ear.failures) == 1500, 30)

    def knock(self, address, says=b""):
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        knocking = socket.create_connection((host.strip("[]"), int(port)))
        self.addCleanup(knocking.close)
        knocking.sendall(says)
        return knocking

    async def test_strangers(self):
        """Who connects and is no peer is told of by address and with a reason."""
        for host in (LOOPBACK, "::1"):
            ear, _, address = self.bound(host=host)
            self.knock(address)
            self.knock(address, GREETING[:20])
            self.knock(address, GREETING.replace(b"NULL", b"ROT3"))
            hesitant = self.knock(address)
            await eventually("the one that is wrong", lambda ear=ear: ear.failures)
            hesitant.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await eventually("the one that has spoken", lambda ear=ear: len(ear.failures) == 2)
            self.assertEqual(ear.failures[1], (host, "it does not speak ZMTP 3 as a client does"))
            await eventually("those that say nothing", lambda ear=ear: len(ear.failures) == 4)
            self.assertEqual(ear.failures[2:], [(host, "the handshake failed")] * 2)
            self.assertEqual(ear.failures[0][1], "the peer does not speak ZMTP 3")
            self.assertIn(ear.failures[0][0], (host, ""))

    async def test_stranger_beside_a_peer(self):
        """Where ZeroMQ does not say who of two has opened, one is told of when it is known that one has not."""
        ear, _, address = self.bound()
        stranger = self.knock(address)
        await pause(0.05)
        peer = self.peers.dealer(address)
        peer.send(b"hello")
        await eventually("the peer", lambda: ear.payloads)
        stranger.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        await eventually("the stranger", lambda: ear.failures)
        peer.close()
        await pause(0.1)
        self.assertEqual(ear.failures, [(LOOPBACK, "it does not speak ZMTP 3 as a client does")])

    async def test_closes_while_that_is_unknown(self):
        ear, router, address = self.bound()
        stranger = self.knock(address)
        await pause(0.05)
        peer = self.peers.dealer(address)
        peer.send(b"hello")
        await eventually("the peer", lambda: ear.payloads)
        stranger.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        await pause(0.1)
        router.close(0)
        self.assertEqual(ear.failures, [])


class CloseTests(TransportCase):
    async def closes(self, transport, linger, within):
        begin = time.monotonic()
        await transport.close(linger)
        self.assertLess(time.monotonic() - begin, within)

    async def test_with_everything_open(self):
        """Unread messages, unsent ones, peers that never answered: nothing holds a close up."""
        transport = self.transport()
        ear, router, address = self.bound(transport)
        heard, connecting = self.connecting(transport)
        silent = TcpServer(self)
        connecting.connect(silent.address)
        connecting.connect("tcp://192.0.2.1:5555")
        link = connecting.connect(address)
        await self.echo_back(ear, router, connecting, heard, link)
        for _ in range(500):
            connecting.send(link, b"x" * 1000)
        time.sleep(0.05)
        router.close(0)
        connecting.close()
        await self.closes(transport, 0, 0.9)

    async def echo_back(self, ear, router, connecting, heard, link):
        echoing(ear, router)
        await self.echo(connecting, heard, link)

    async def test_lingers(self):
        """What was written before a close arrives."""
        transport = self.transport()
        ear, router, address = self.bound(transport)
        raw = self.peers.dealer(address)
        raw.send(b"hello")
        await eventually("the caller", lambda: ear.payloads)
        identity = ear.payloads[0][0]
        for number in range(500):
            self.assertEqual(router.send(identity, b"%d" % number), SENT)
        router.close(5)
        closed = transport.close(5)
        got: list[Any] = []
        await eventually("all", lambda: got.extend(filter(None, [arrived(raw)])) or len(got) == 500)
        await closed
        self.assertEqual(got, [[b"%d" % number] for number in range(500)])

    async def test_lingers_no_longer(self):
        """A caller that does not read holds a close up for the linger and no longer."""
        transport = self.transport()
        ear, router, address = self.bound(transport)
        deaf = self.peers.dealer(address, RCVHWM=1, RCVBUF=4096)
        deaf.send(b"hello")
        await eventually("the caller", lambda: ear.payloads)
        while router.send(ear.payloads[0][0], b"x" * 10_000) == SENT:
            pass
        router.close(0.5)
        await self.closes(transport, 0.5, 1.4)

    async def test_forgotten_socket(self):
        """What was not closed before is closed, and that is said."""
        lines = LogLines(self)
        transport = self.transport()
        _, router, _ = self.bound(transport)
        _, connecting = self.connecting(transport)
        await self.closes(transport, 0, 0.9)
        self.assertEqual(len(lines.about("was not closed before its transport")), 2)
        self.assertEqual((router.send(b"x", b""), connecting.send(b"x", b"")), (GONE, GONE))

    async def test_context_hangs(self):
        """A context that does not end is left behind, and that is said."""
        lines = LogLines(self)
        transport = self.transport()
        foreign = transport.context.socket(zmq.PAIR)
        await self.closes(transport, 0, 1.5)
        self.assertEqual(len(lines.about("did not end within")), 1)
        foreign.close(0)
        left = [thread for thread in threading.enumerate() if thread.name == "zmqrpc-term"]
        await eventually("the end of its thread", lambda: not any(thread.is_alive() for thread in left))

    async def test_twice(self):
        transport = self.transport()
        _, router, _ = self.bound(transport)
        _, connecting = self.connecting(transport)
        for _ in range(2):
            router.close(0)
            connecting.close()
            await transport.close(0)

    async def test_in_a_callback(self):
        """Sockets are closed by what they deliver, and by a loss they tell of."""
        transport = self.transport()
        ear, router, address = self.bound(transport)
        heard, connecting = self.connecting(transport)

        def close_bound(identity, payload):
            router.close(0)
            return 1

        ear.taken = close_bound
        heard.lost = lambda identity, reason: connecting.close()
        link = connecting.connect(address)
        for _ in range(10):
            connecting.send(link, b"hello")
        await eventually("the loss", lambda: heard.losses)
        self.assertEqual(len(ear.payloads), 1)
        self.assertEqual((router.send(b"x", b""), connecting.send(link, b"")), (GONE, GONE))
        await self.closes(transport, 0, 0.9)

    async def test_never_opened(self):
        await ZmqTransport(reactor, 2**20).close(0)


class ResolveTests(TransportCase):
    async def test_numbers(self):
        transport = self.transport()
        for host, numeric in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("[::1]", "[::1]")):
            self.assertEqual(await transport.resolve(host), numeric)

    async def test_names(self):
        transport = self.transport()
        self.assertIn(await transport.resolve("localhost"), ("127.0.0.1", "[::1]"))
        for name in ("no-such-host.invalid", "x" * 64 + ".invalid"):
            with self.assertRaises(OSError, msg=name):
                await transport.resolve(name)

    async def test_several(self):
        """A name may have several addresses: those of IPv4 come first, each has its turn."""
        found = [
            (family, socket.SOCK_STREAM, 6, "", (host, 0))
            for family, host in (
                (socket.AF_INET6, "::1"),
                (socket.AF_INET, "127.0.0.1"),
                (socket.AF_INET6, "::2"),
                (socket.AF_INET, "127.0.0.2"),
            )
        ]
        self.patch(socket, "getaddrinfo", lambda *arguments, **options: list(found))
        transport = self.transport()
        numeric = [await transport.resolve("two.example", turn) for turn in range(5)]
        self.assertEqual(numeric, ["127.0.0.1", "127.0.0.2", "[::1]", "[::2]", "127.0.0.1"])

    async def test_slow_name_server(self):
        """While a name is looked up, everything else goes on."""
        looked_up = threading.Event()
        self.addCleanup(looked_up.set)
        real = socket.getaddrinfo

        def slow(*arguments, **options):
            looked_up.wait(20)
            return real("127.0.0.1", None)

        self.patch(socket, "getaddrinfo", slow)
        transport = self.transport()
        resolving = transport.resolve("slow.example")
        ear, router, address = self.bound(transport)
        echoing(ear, router)
        heard, connecting = self.connecting(transport)
        link = connecting.connect(address)
        ticks: list[int] = []
        ticking = LoopingCall(ticks.append, 1)
        ticked = ticking.start(0.01)
        for _ in range(20):
            await self.echo(connecting, heard, link)
        await eventually("some ticks", lambda: len(ticks) > 5)
        self.assertFalse(resolving.called)
        looked_up.set()
        self.assertEqual(await resolving, "127.0.0.1")
        ticking.stop()
        await ticked


class ReactorTests(TestCase):
    """The same small scenario under every reactor of this platform, each in a process of its own."""

    timeout = 60

    async def check(self, name):
        out, err, code = await run_child(sys.executable, "zmqrpc.test.integration.reactors", name)
        self.assertEqual((out, code), (f"{name}: all is well\n", 0), err)

    def test_epoll(self):
        return Deferred.fromCoroutine(self.check("epoll"))

    def test_asyncio(self):
        return Deferred.fromCoroutine(self.check("asyncio"))

    def test_poll(self):
        return Deferred.fromCoroutine(self.check("poll"))

    def test_select(self):
        return Deferred.fromCoroutine(self.check("select"))
