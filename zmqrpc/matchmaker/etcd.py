"""The matchmaker of many machines with a cluster of its own: etcd (``zmq+etcd://one,two,three``)."""

from __future__ import annotations

from random import Random
from typing import Any

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.interfaces import IMatchmaker, IMatchmakerFactory
from zmqrpc.matchmaker._etcd.place import EtcdPlace
from zmqrpc.matchmaker._etcd.store import EtcdStore
from zmqrpc.matchmaker._matchmaker import Matchmaker
from zmqrpc.matchmaker._tls import StoreTls
from zmqrpc.settings import Settings


def etcd_matchmaker(reactor: Any, place: EtcdPlace, limit: float, chance: Random | None = None) -> Matchmaker:
    """
    Make one Node's part in an etcd.

    :param reactor: the reactor.
    :param place: the members, and the prefix.
    :param limit: seconds after which a question that no member answers is given up.
    :param chance: the source of jitter.
    """
    random = chance or Random()
    return Matchmaker(reactor, lambda show, turned: EtcdStore(reactor, place, show, limit, random, turned), random)


@implementer(IMatchmakerFactory)
class EtcdFactory:
    """Makes the matchmakers of ``zmq+etcd://host``."""

    scheme = "etcd"
    local = False

    _log = Logger()

    def make(self, reactor: Any, url: str, settings: Settings) -> IMatchmaker:
        """See `IMatchmakerFactory`."""
        place = attrs.evolve(EtcdPlace.from_url(url), tls=StoreTls.from_settings(settings))
        if not place.user and not place.is_loopback:
            self._log.warn(
                "{place} is used without a user: whoever reaches it decides where calls go; "
                "make one there (etcdctl user add) and name it in the transport URL",
                place=place.called,
            )
        return etcd_matchmaker(reactor, place, settings.matchmaker_timeout / 1000)


factory = EtcdFactory()
