"""A connection strategy for zmqrpc: connect at the first use, close after a minute without any (``lazy-direct``)."""

from zope.interface import implementer

from zmqrpc.interfaces import IConnectionStrategy, IConnectionStrategyFactory

REST = 60.0  # seconds without a message after which a connection is closed
NEVER = float("inf")


@implementer(IConnectionStrategy)
class LazyDirect:
    name = "lazy-direct"
    transient = True

    def __init__(self, links, seconds, wake_by):
        self._links = links
        self._seconds = seconds
        self._wake_by = wake_by
        self._close_at = {}

    def appeared(self, key, record):
        self._links.open(key, record)
        self._links.release(key)  # it connects when something is to be sent over it

    def gone(self, key):
        self._links.withdraw(key, "its record was withdrawn or expired")
        self._close_at.pop(key, None)

    def needed(self, key, others):
        pass  # the link is connecting by itself

    def opened(self, key):
        self._rest_from_now(key)  # perhaps for nothing: what it was for may have been cancelled

    def idle(self, key):
        self._rest_from_now(key)

    def closed(self, key):
        self._close_at.pop(key, None)

    def _rest_from_now(self, key):
        self._close_at[key] = close_at = self._seconds() + REST
        self._wake_by(close_at)

    @property
    def wake_at(self):
        return min(self._close_at.values(), default=NEVER)

    def sweep(self, now):
        for key in [key for key, close_at in self._close_at.items() if close_at <= now]:
            del self._close_at[key]
            self._links.release(key)  # where something is under way nothing happens, and idle comes once more


@implementer(IConnectionStrategyFactory)
class LazyFactory:
    name = "lazy-direct"

    def make(self, links, settings, seconds, wake_by):
        return LazyDirect(links, seconds, wake_by)
