"""A listener of oslo.messaging: a node of its own, so that one can stop while others go on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from oslo_messaging._drivers import base
from twisted.internet.defer import Deferred, succeed

from zmqrpc.node import Node
from zmqrpc.oslo.hosted import HostedNode
from zmqrpc.oslo.logs import logger
from zmqrpc.oslo.server import Hand
from zmqrpc.settings import Settings

READY_SECONDS = 5.0
"""For which a listener waits until others can find it."""

Serve = Callable[[Node, Hand], Callable[[], None]]

LOG = logger(__name__)


class ZmqListener(base.Listener):  # type: ignore[misc]
    """
    Hands to one server of oslo.messaging what arrives at one node.

    :param reactor: the reactor of this process.
    :param conf: the configuration of the transport.
    :param serve: has the node serve, in the reactor; it is given the node and what takes what arrives, and returns what
        has all of it handed on at once.
    :raises ConfigError: it cannot listen.
    :raises StillUnderWay: something holds the reactor up.
    """

    def __init__(
        self,
        reactor: Any,
        conf: Any,
        settings: Settings,
        serve: Serve,
        batch_size: int,
        batch_timeout: float | None,
    ) -> None:
        super().__init__(batch_size, batch_timeout)
        self._hosted = HostedNode(reactor, conf, settings)
        self._node = self._hosted.node
        self._held: list[list[Any]] | None = []
        self._hurry: Callable[[], None] = _nothing
        self._stops: Deferred[None] | None = None
        if not self._hosted.start(partial(self._prepare, serve), READY_SECONDS):
            LOG.warning("%s listens, and others cannot find it yet: %s", self._node.address, self._node.not_ready)

    def _prepare(self, serve: Serve) -> None:
        self._hurry = serve(self._node, self._hand)

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
        self._hosted.do(self._hand_all)

    def _hand_all(self) -> Deferred[None]:
        held, self._held = self._held or [], None
        for batch in held:
            self._hand(batch)
        return succeed(None)

    def stop(self) -> None:
        """Be found no more, and take nothing new; what was handed on can still be answered."""
        self._hosted.do(lambda: self._node.drain().addBoth(self._stop))
        super().stop()

    def _stop(self, _: object) -> None:
        """Begin to stop the node, which goes on until everything is answered."""
        self._hurry()
        for batch in self._held or []:
            _refuse(batch)
        if self._stops is None:
            self._stops = self._hosted.end(awaited=False)

    def cleanup(self) -> None:
        """Give everything back; what runs is waited for up to ``drain_timeout``."""
        self._hosted.close()


def _nothing() -> None:
    pass


def _refuse(batch: list[Any]) -> None:
    for incoming in batch:
        incoming.outcome.cancel()
