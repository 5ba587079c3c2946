"""
The one module that knows txredisapi. It is imported by the first connection.

Not before, since txredisapi imports the global reactor, and ``twistd --reactor`` would come too late. Of txredisapi
only the protocol is used, and that is given the reactor: its factories, its reconnecting and its time limits live on
the global one, which need not run at all, and a password that is refused would end them for good.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import txredisapi
from twisted.python.failure import Failure

LARGEST_ANSWER = 256 * 2**20
"""Bytes after which an answer that does not end is given up; 250,000 records are 64 MiB."""

ResponseError = txredisapi.ResponseError

_HEAD = b"*3\r\n$7\r\nmessage\r\n$"
_CHANNEL = re.compile(re.escape(_HEAD) + rb"(\d{1,6})\r\n")
_PAYLOAD = re.compile(rb"\r\n\$(\d{1,9})\r\n")
_MOST_HELD = 65536
_BEGINS = (b"+", b"-", b":", b"$", b"*")
_MOST_SAID = 60


class RedisProtocol(txredisapi.SubscriberProtocol):  # type: ignore[misc]
    """
    One connection, for commands or for channels.

    :param call_later: that of the reactor of the connection.
    :param heard: called with channel and message.
    :param lost: called with the reason when the connection has ended.
    :ivar garbled: whether it was ended since what came was no answer.
    :ivar said: the begin of what came, where already that was no answer.
    :ivar mute: whether the other side has said nothing yet.
    """

    def __init__(
        self,
        call_later: Callable[..., Any],
        heard: Callable[[bytes, bytes], None],
        lost: Callable[[Failure], None],
    ) -> None:
        # Without numbers made of what looks like one, and without text made of what may be none.
        super().__init__(charset=None, convertNumbers=False)
        self.callLater = call_later
        self._heard = heard
        self._lost = lost
        self._unanswered = 0
        self._rest = b""
        self._held = b""
        self.garbled = False
        self.said = b""
        self.mute = True

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        if self.mute and data[:1] not in _BEGINS:
            self.said = data[:_MOST_SAID].partition(b"\r\n")[0]
            self._give_up()
        self.mute = False
        if self.garbled:
            return
        self._unanswered += len(data)
        if self._unanswered > LARGEST_ANSWER:
            self._give_up()
            return
        data, self._held = self._held + data, b""
        try:
            if self._between():
                data = self._take_messages(data)
            if data:
                super().dataReceived(data)
            while self._rest:
                rest, self._rest = self._rest, b""
                super().dataReceived(rest)
        except (ValueError, TypeError, MemoryError, OverflowError):
            self._give_up()

    def _between(self) -> bool:
        """Tell whether what comes next is not the rest of something."""
        if hasattr(self, "_reader"):  # hiredis, which is as fast as we are
            return False
        storage = self.multi_bulk
        return bool(
            self.line_mode and not self._LineReceiver__buffer and storage.parent is None and storage.pending is None
        )

    def _take_messages(self, data: bytes) -> bytes:
        """
        Take the messages at the beginning, and return the rest.

        It buys more than a quarter of the processor time of a crowd that comes back (docs/adr/0037), as each of five
        hundred members hears of five hundred: 2 us for a message. txredisapi, which copies with each line what is
        behind it, takes 15 to 22.
        """
        at = 0
        while match := _CHANNEL.match(data, at):
            channel = match.end()
            payload = _PAYLOAD.match(data, channel + int(match[1]))
            end = payload.end() + int(payload[1]) if payload else len(data)
            if payload is None or end + 2 > len(data):
                break
            self._unanswered = 0
            self._heard(data[channel : payload.start()], data[payload.end() : end])
            at = end + 2
        rest = data[at:]
        if len(rest) < _MOST_HELD and (rest.startswith(_HEAD) or _HEAD.startswith(rest)):
            self._held, rest = rest, b""
        return rest

    def setLineMode(self, extra: bytes = b"") -> None:
        # Called at the end of each string, where txredisapi would go on in another turn of the global reactor.
        self.line_mode = 1
        self._rest = extra

    def replyReceived(self, reply: Any) -> None:
        # Not as txredisapi does, which leaves of a list only the last three.
        self._unanswered = 0
        if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":
            self._heard(reply[1], reply[2])
        elif self.replyQueue.waiting:
            self.replyQueue.put(reply)
        elif self.connected and not isinstance(reply, list):
            self._give_up()  # nobody has asked

    def lineLengthExceeded(self, line: bytes) -> None:
        self._give_up()

    def _give_up(self) -> None:
        self.garbled = True
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        self._lost(reason)
        super().connectionLost(reason)
