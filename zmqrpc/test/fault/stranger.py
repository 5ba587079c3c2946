"""A process that connects where it has no business, and says what nobody expects."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import zmq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import Call, Hello, encode_message
from zmqrpc.core.keys import SELF_KEY
from zmqrpc.test.integration import nursery
from zmqrpc.test.integration.test_bad_input import GREETING, JUNK, READY, messages

_ALL_AT_ONCE = 400
"""Connections that a flood has open, at most."""

Places = list[tuple[str, int]]


def run(
    child: int, *, what: str, places: Places, count: int, seconds: float = 0.0, path: str = "", seed: int = 1
) -> None:
    """
    Do one thing, tell that it is done, and end.

    :param what: the name of a function of this module, or ``hold``.
    :param places: host and port of each that is bothered.
    :param count: how often.
    :param seconds: for how long, where something is held.
    :param path: of what was captured.
    """
    nursery.tell(child=child, ready=True)
    begin = time.monotonic()
    if what == "hold":
        _hold(child, places[0][1], seconds)
    else:
        globals()[what](places, count, seconds, path, random.Random(seed))
    nursery.tell(child=child, idle=True, counts={"ms": int((time.monotonic() - begin) * 1000)})


def _hold(child: int, port: int, seconds: float) -> None:
    """Have a port for a while."""
    with socket.create_server(("", port)):
        nursery.tell(child=child, held=True)
        time.sleep(seconds)


def junk(places: Places, count: int, seconds: float, path: str, chance: random.Random) -> None:
    """Say what is no ZeroMQ, or not for long, and what is ZeroMQ and none of ours."""
    texts = [*JUNK.values(), GREETING + READY + b"\x00\x05hello", *(chance.randbytes(size) for size in (1, 64, 5000))]
    for number in range(count // 2):
        _say(places[number % len(places)], chance.choice(texts))
    made = _envelopes(200)
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 2000)
    for number in range(count - count // 2):
        with _dealer(context, places[number % len(places)], linger=20) as dealer:
            for _ in range(3):
                with suppress(zmq.Again):
                    dealer.send_multipart(_message(made, chance), zmq.NOBLOCK)
        if number % 50 == 0:
            time.sleep(0.02)
    context.destroy(0)


def half_open(places: Places, count: int, seconds: float, path: str, chance: random.Random) -> None:
    """Begin so many handshakes, and go on with none."""
    with ExitStack() as stack:
        for number in range(count):
            peer = stack.enter_context(socket.create_connection(places[number % len(places)], 5))
            peer.sendall(GREETING[: chance.choice([0, 1, 10, 20])])
        time.sleep(seconds)


def many(places: Places, count: int, seconds: float, path: str, chance: random.Random) -> None:
    """Be so many clients at once, for a while."""
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, count + 10)
    sockets = []
    for number in range(count):
        dealer = _dealer(context, places[number % len(places)])
        dealer.send(_hello())
        sockets.append(dealer)
    time.sleep(seconds)
    context.destroy(0)


def cycles(places: Places, count: int, seconds: float, path: str, chance: random.Random) -> None:
    """Connect, say HELLO and go, one after the other."""
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 10_000)
    for number in range(count):
        with _dealer(context, places[number % len(places)]) as dealer:
            dealer.send(_hello())
            # Until it is connected; libzmq gives sockets back in a thread of its own.
            dealer.poll(5)
    context.destroy(0)


def pushy(places: Places, count: int, seconds: float, path: str, chance: random.Random) -> None:
    """Send calls of a topic that is not served there, to the instance that is there, and to one that is gone."""
    context = zmq.Context()
    for destination in (None, os.urandom(16)):
        with _dealer(context, places[0], linger=1000) as dealer:
            me = os.urandom(16)
            dealer.send(_hello(me))
            assert dealer.poll(5000), "no WELCOME"
            there = decode_batch(dealer.recv_multipart()[-1]).source
            for number in range(1, count + 1):
                call = Call(number, 1, 0, 5000, "openstack", "work", None, None, None, "quick", {"id": number})
                now = int(time.monotonic() * 1000)
                dealer.send(encode_batch(me, destination or there, now, (), [encode_message(call)]))
                time.sleep(0.01)
    context.destroy(0)


def replay(places: Places, count: int, seconds: float, path: str, chance: random.Random) -> None:
    """Say once more what others have said, byte by byte, on connections of one's own."""
    captured = sorted(Path(path).parent.glob(f"{Path(path).name}-*"))
    for _ in range(count):
        for file in captured:
            with socket.create_connection(places[0], 5) as peer:
                peer.settimeout(0.2)
                with suppress(OSError):
                    peer.sendall(file.read_bytes())
                    while peer.recv(65536):
                        pass
        time.sleep(seconds)


def _say(place: tuple[str, int], text: bytes) -> None:
    with suppress(OSError), socket.create_connection((place[0], place[1]), 5) as peer:
        peer.sendall(text)


def _dealer(context: zmq.Context[Any], place: tuple[str, int], linger: int = 0) -> zmq.Socket[bytes]:
    made: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    made.set(zmq.LINGER, linger)
    made.connect(f"tcp://{place[0]}:{place[1]}")
    return made


def _hello(instance: bytes = b"") -> bytes:
    return encode_batch(
        instance or os.urandom(16),
        None,
        int(time.monotonic() * 1000),
        (),
        [encode_message(Hello(1, 1, "client", [], {}, []))],
    )


def _envelopes(count: int) -> list[bytes]:
    """Return messages that hypothesis makes up."""
    made: list[Any] = []

    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(st.lists(messages, min_size=1, max_size=4))
    def collect(example: Any) -> None:
        made.append(example)

    collect()
    return [msgspec.msgpack.encode(message) for example in made for message in example]


def _message(made: list[bytes], chance: random.Random) -> list[bytes]:
    """Return the frames of one message."""
    honest = encode_batch(os.urandom(16), chance.choice([None, os.urandom(16)]), 0, (), [chance.choice(made)])
    payload = next(_payloads(honest, chance))
    if chance.random() < 0.01:
        # Small ones, and seldom: nobody can keep libzmq from holding a whole message, and each frame is read.
        return [b"x"] * 10_000
    return chance.choice([[payload], [SELF_KEY, payload], [os.urandom(17), payload], [payload] * 3])


def _payloads(honest: bytes, chance: random.Random) -> Iterator[bytes]:
    yield chance.choice(
        [
            honest,
            _hello(),
            honest + b"\xcb\x7f\xf8" + bytes(6),  # NaN
            honest.replace(b"\xc0", b"\x91" * 100_000 + b"\xc0", 1),
            honest.replace(b"\xc0", b"\xa4\xff\xfe\xfd\xfc", 1),
            honest.replace(b"\xc0", b"\xdf\xff\xff\xff\xff", 1),
            honest.replace(b"\xc0", b"\xcf" + b"\xff" * 8, 1),
            chance.randbytes(chance.choice([0, 1, 40, 5000])),
        ]
    )
