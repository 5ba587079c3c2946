"""
The tokens that are subscribed to at a publisher, and by which connection (docs/spec/wire, Through a publisher proxy).

A subscriber takes a token back when it is answered. ZeroMQ keeps what is not taken back for as long as the connection
stands, so that who never does would fill the memory of a publisher.

Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from zmqrpc.core.surplus import Fault

MOST_TOKENS = 500
"""
How many tokens one connection may have. Of ours it has one for each pass in which it asked for something new, until
they are answered, which is after half a second at most.
"""

_TOO_MANY = Fault(f"is one token too many, its connection has {MOST_TOKENS} that it does not take back", True)


class OpenTokens:
    """Those of one publisher."""

    def __init__(self) -> None:
        self._connections: dict[bytes, Hashable] = {}
        self._open: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._connections)

    def subscribed(self, token: bytes, connection: Hashable) -> Fault | None:
        """
        Take that a subscription to a token has arrived.

        :param connection: by which.
        :return: what is wrong with it; None when it is to be answered.
        """
        if token in self._connections:
            return None
        if self._open[connection] >= MOST_TOKENS:
            return _TOO_MANY
        self._connections[token] = connection
        self._open[connection] += 1
        return None

    def unsubscribed(self, token: bytes) -> None:
        """Take that nobody subscribes to a token any more; one that is not known is no error."""
        connection = self._connections.pop(token, None)
        if connection is not None:
            self._open[connection] -= 1
            if not self._open[connection]:
                del self._open[connection]
