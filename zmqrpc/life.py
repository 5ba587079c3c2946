"""The life of a node: it is opened, perhaps not at once, it runs, and it is stopped; each once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, succeed

from zmqrpc.errors import ConfigError

_NOT_STARTED = "not started"
_FAILED = "failed"
_OPEN = "open"
_RUNNING = "running"
_STOPPING = "stopping"
_STOPPED = "stopped"


class Life:
    """
    That of one node.

    :param kind: what its class is called, for the text of errors.
    :param ready: returns what fires when others can find it; called when it runs.
    :param record: notes what happens to it, as `Notices.record`.
    :ivar stage: ``not started``, ``failed`` when it could not be bound, ``open`` once it is, ``running``, ``stopping``,
        or ``stopped``.
    """

    def __init__(self, kind: str, ready: Callable[[], Deferred[None]], record: Callable[..., None]) -> None:
        self.stage = _NOT_STARTED
        self._kind = kind
        self._ready = ready
        self._record = record
        self._waiting: list[Deferred[None]] = []
        self._stops: list[Deferred[None]] = []
        self._closing = False

    @property
    def has_opened(self) -> bool:
        """Whether there may be something to close."""
        return self.stage not in (_NOT_STARTED, _STOPPED)

    @property
    def ends(self) -> bool:
        """Whether it was told to stop."""
        return self.stage in (_STOPPING, _STOPPED)

    @property
    def why_not(self) -> str:
        """Why it does not run, a clause; empty when it does."""
        return "" if self.stage == _RUNNING else "it is stopping" if self.ends else "it is not started"

    def open(self, begin: Callable[[], None], bind: Callable[[], None]) -> None:
        """
        Open it, unless that is done.

        :param begin: is called once.
        :param bind: is called again when it has raised before.
        :raises ConfigError: it was stopped before, or as they raise.
        """
        if self.ends:
            raise ConfigError(f"a {self._kind} is started once; make a new one")
        if self.stage == _NOT_STARTED:
            begin()
            self.stage = _FAILED
        if self.stage == _FAILED:
            bind()
            self.stage = _OPEN

    def run(self) -> None:
        """Take that it runs; who waits for that is told by `tell`."""
        self.stage = _RUNNING
        self._record("started", "it was started")

    def tell(self) -> None:
        """Have those who wait hear when others can find it."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            self._ready().chainDeferred(waiter)

    def when_ready(self) -> Deferred[None]:
        """Return a Deferred that fires when it runs, and others can find it; a stop cancels it."""
        if self.stage == _RUNNING:
            return self._ready()
        waiter: Deferred[None] = Deferred()
        if self.ends:
            waiter.cancel()
        else:
            self._waiting.append(waiter)
        return waiter

    def stop(self, close: Callable[[], Coroutine[Any, Any, None]]) -> Deferred[None]:
        """
        Stop: nobody waits for it any more, and what was opened is closed.

        :param close: closes it, and calls `closed`.
        :return: fires when that is done, also that of a later stop.
        """
        if self._closing:
            ended: Deferred[None] = Deferred()
            self._stops.append(ended)
            return ended
        if self.ends:
            return succeed(None)
        self._closing, self.stage = self.has_opened, _STOPPING
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.cancel()
        if not self._closing:
            self.closed()
            return succeed(None)
        self._record("stopping", "it was told to stop")
        return Deferred.fromCoroutine(close()).addBoth(self._over)

    def closed(self) -> None:
        """Take that nothing more is served."""
        self.stage = _STOPPED

    def _over(self, result: Any) -> Any:
        """Take that everything is closed, or that this has failed, which the first who stopped it is told."""
        self._closing = False
        stops, self._stops = self._stops, []
        for ended in stops:
            if not ended.called:
                ended.callback(None)
        return result
