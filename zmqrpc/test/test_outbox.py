"""The outbox of one peer: what is written, what waits for room, and up to where."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.batch import batch_room, decode_batch
from zmqrpc.core.envelope import Ack, encode_message
from zmqrpc.interfaces import FULL, GONE, SENT
from zmqrpc.outbox import Outbox

US, THEM = b"us".ljust(16), b"them".ljust(16)


class Connection:
    """Takes as many batches as it has room for."""

    def __init__(self, room: int, then: int = FULL):
        self.room = room
        self.then = then
        self.taken: list[list[int]] = []

    def send(self, identity: bytes, payload: bytes) -> int:
        assert identity == b"identity"
        if not self.room:
            return self.then
        self.room -= 1
        messages: list[Any] = decode_batch(payload).messages
        self.taken.append([message.ranges[0] for message in messages])
        return SENT


def outbox_with(batches: int) -> Outbox:
    """Return an outbox with batches of one message, marked as they are numbered."""
    outbox = Outbox(10_000)
    for number in range(1, batches + 1):
        gather(outbox, number)
        outbox.seal(US, THEM, 5, (), mark=number)
    return outbox


def gather(outbox: Outbox, number: int) -> None:
    encoded = encode_message(Ack([number, number]))
    outbox.messages.append(encoded)
    outbox.size += len(encoded)


class OutboxTests(SynchronousTestCase):
    def test_a_batch_holds_what_was_gathered(self):
        outbox = Outbox(10_000)
        gather(outbox, 1)
        gather(outbox, 2)
        outbox.seal(US, THEM, 5, (7,))
        batch = decode_batch(outbox.batches[0][0])
        self.assertEqual((batch.source, batch.destination, batch.sent, batch.settled), (US, THEM, 5, [7]))
        self.assertEqual((len(batch.messages), outbox.messages, outbox.size), (2, [], 0))
        self.assertEqual(outbox.waiting, len(outbox.batches[0][0]))

    def test_written_in_order_up_to_where_there_is_room(self):
        for room, then, fate, taken in ((5, FULL, SENT, 3), (3, FULL, SENT, 3), (2, FULL, FULL, 2), (1, GONE, GONE, 1)):
            outbox, connection = outbox_with(3), Connection(room, then)
            self.assertEqual(outbox.write(b"identity", connection.send), fate)
            self.assertEqual(connection.taken, [[number] for number in range(1, taken + 1)])
            self.assertEqual((outbox.written, len(outbox.batches)), (taken, 3 - taken))
            connection.room = 3
            self.assertEqual(outbox.write(b"identity", connection.send), SENT)
            self.assertEqual((connection.taken, outbox.written, outbox.waiting), ([[1], [2], [3]], 3, 0))

    def test_given_up(self):
        outbox, connection = outbox_with(3), Connection(9)
        gather(outbox, 9)
        outbox.drop_oldest()
        outbox.write(b"identity", connection.send)
        self.assertEqual((connection.taken, outbox.waiting, len(outbox.messages)), ([[2], [3]], 0, 1))
        outbox.seal(US, THEM, 5, ())
        gather(outbox, 10)
        outbox.drop_all()
        self.assertEqual((len(outbox.batches), outbox.waiting, len(outbox.messages)), (0, 0, 1))
        outbox.clear()
        self.assertEqual((outbox.messages, outbox.size), ([], 0))

    def test_room(self):
        outbox = Outbox(10_000)
        self.assertEqual(outbox.room, batch_room(10_000))
        outbox.limit(5_000)
        self.assertEqual(outbox.room, batch_room(5_000))
