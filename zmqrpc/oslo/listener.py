"""A listener of oslo.messaging: a node of its own, so that one can stop while others go on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from oslo_messaging._drivers import base
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall

from zmqrpc.errors import ConfigError
from zmqrpc.node import Node
from zmqrpc.oslo.reactor import is_here
from zmqrpc.oslo.server import Hand
from zmqrpc.oslo.waiting import wait_for
from zmqrpc.settings import Settings

READY_SECONDS = 5.0
"""For which a listener waits until others can find it."""

Serve = Callable[[Node, Hand], Callable[[], None]]

LOG = logging.getLogger(__name__)


class ZmqListener(base.Listener):  # type: ignore[misc]
    """
    Hands to one server of oslo.messaging what arrives at one node.

    :ivar reactor: the reactor of this process.
    :param serve: has the node serve, in the reactor; it is given the node and what takes what arrives, and returns what
        has all of it handed on at once.
    :raises ConfigError: it cannot listen.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        serve: Serve,
        batch_size: int,
        batch_timeout: float | None,
    ) -> None:
        super().__init__(batch_size, batch_timeout)
        self.reactor = reactor
        self._node = Node(reactor, settings)
        self._held: list[list[Any]] | None = []
        self._stopped: Deferred[None] | None = None
        if not wait_for(reactor, partial(self._begin, serve)):
            LOG.warning("%s listens, and others cannot find it yet: %s", self._node.address, self._node.not_ready)

    def _begin(self, serve: Serve) -> Deferred[bool]:
        self._hurry = serve(self._node, self._hand)
        try:
            self._node.startService()
        except ConfigError:
            self._node.stopService()
            raise
        ready = self._node.when_ready()
        timer = self.reactor.callLater(READY_SECONDS, ready.cancel)
        return ready.addCallbacks(lambda _: True, _is_late).addBoth(_without, timer)

    def _hand(self, batch: list[Any]) -> None:
        """Hand on what has arrived, in the reactor."""
        if self._held is not None:
            self._held.append(batch)
            return
        try:
            self.on_incoming_callback(batch)
        except Exception:
            # Its pool of threads has ended. The message is given back; the caller of a method hears of it.
            LOG.exception("the server did not take %d message(s)", len(batch))
            _refuse(batch)

    def start(self, on_incoming_callback: Hand) -> None:
        """Hand on what arrives, and what has arrived."""
        super().start(on_incoming_callback)
        wait_for(self.reactor, self._hand_all)

    def _hand_all(self) -> Deferred[None]:
        held, self._held = self._held or [], None
        for batch in held:
            self._hand(batch)
        return succeed(None)

    def stop(self) -> None:
        """Be found no more, and take nothing new; what was handed on can still be answered."""
        if is_here(self.reactor):
            wait_for(self.reactor, lambda: self._node.drain().addBoth(self._stop))
        super().stop()

    def _stop(self, _: object) -> None:
        """Begin to stop the node, which goes on until everything is answered."""
        self._hurry()
        for batch in self._held or []:
            _refuse(batch)
        if self._stopped is None:
            self._stopped = self._node.stopService()

    def withdraw(self) -> Deferred[None]:
        """Be found no more, and take nothing new; in the reactor."""
        return self._node.drain()

    def cleanup(self) -> None:
        """Give everything back; what runs is waited for up to ``drain_timeout``."""
        if is_here(self.reactor):
            wait_for(self.reactor, self._node.stopService)


def _is_late(failure: Any) -> bool:
    failure.trap(CancelledError)
    return False


def _without(outcome: Any, timer: IDelayedCall) -> Any:
    if timer.active():
        timer.cancel()
    return outcome


def _refuse(batch: list[Any]) -> None:
    for incoming in batch:
        incoming.outcome.cancel()
