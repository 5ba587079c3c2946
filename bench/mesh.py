"""One of many zmqrpc nodes that call one another, a process each; `bench.meeting` is what they have in common."""

from __future__ import annotations

import time

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from bench.meeting import POLL, Meeting, Span, in_turn, others
from bench.work import DATA, Order, ready
from bench.zmqrpc_client import TIMEOUT, play
from bench.zmqrpc_server import Bench, url
from zmqrpc import Node, Target
from zmqrpc.client import RPCClient

TOPIC = "mesh"


async def _until(meeting: Meeting, word: str) -> None:
    while not meeting.heard(word):
        await deferLater(reactor, POLL)


async def _loop(client: RPCClient, order: Order, span: Span) -> int:
    """Keep so many calls outstanding until the end; return how many were answered in the part that counts."""
    targets = (Target(TOPIC, server=name) for name in in_turn(order))
    finished: Deferred[None] = Deferred()
    counted = made = 0
    outstanding = order.window

    def call() -> None:
        nonlocal made
        made += 1
        waiting = client.call(next(targets), "echo", {"id": made, "data": DATA}, timeout=TIMEOUT)
        waiting.addCallback(received, made).addErrback(failed)

    def received(result: dict[str, int], number: int) -> None:
        nonlocal counted, outstanding
        if result["id"] != number:
            raise AssertionError("somebody else's reply")
        now = time.monotonic()
        counted += span.count_from <= now < span.count_to
        if now < span.end:
            call()
            return
        outstanding -= 1
        if not outstanding:
            finished.callback(None)

    def failed(reason: Failure) -> None:
        if not finished.called:
            finished.errback(reason)

    for _ in range(order.window):
        call()
    await finished
    return counted


async def serve(order: Order) -> None:
    node = Node(reactor, url(order))
    node.server(Target(TOPIC, server=f"n-{order.part}"), [Bench()])
    client = node.client()
    node.startService()
    await node.when_ready()
    ready(order.address)
    meeting = Meeting(order)
    await _until(meeting, "go")
    args = {"id": 0, "data": DATA}
    # Of fifty that begin at once on two cores some take longer than the two seconds that a peer has to answer.
    reached = [
        client.call(Target(TOPIC, server=name), "echo", args, timeout=TIMEOUT, wait_for_ready=True)
        for name in others(order)
    ]
    await gatherResults(reached)
    meeting.say(f"warm-{order.part}")
    await _until(meeting, "begin")
    span = meeting.span()
    await deferLater(reactor, max(0.0, span.begin - time.monotonic()))
    meeting.say(f"done-{order.part}", await _loop(client, order, span))


async def call(order: Order) -> None:
    raise AssertionError("bench.meeting is the client")


if __name__ == "__main__":
    play(serve, call)
