"""The matchmaker in the Redis master that Sentinels name (``zmq+sentinel://host1,host2,host3/group``)."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IMatchmaker, IMatchmakerFactory
from zmqrpc.matchmaker._hosts import read_hosts, read_user
from zmqrpc.matchmaker._redis.matchmaker import CONNECT, redis_matchmaker
from zmqrpc.matchmaker._redis.place import SENTINEL, SENTINEL_PORT, RedisPlace
from zmqrpc.matchmaker._redis.sentinels import Sentinels
from zmqrpc.matchmaker._tls import StoreTls
from zmqrpc.settings import OPTIONS, Settings
from zmqrpc.transport_url import masked_url, parse_url

_GROUP = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
"""What Sentinels take for the name of a master."""

(_DEFAULT_GROUP,) = (option.default for option in OPTIONS if option.name == "redis_sentinel_group_name")


def read_url(url: str) -> tuple[list[RedisPlace], str, RedisPlace]:
    """
    Read ``zmq+sentinel://[[user]:password@]host[:port],host[:port].../[group]``.

    :return: the Sentinels, the group, and who we are at the master, which has no host yet.
    :raises ConfigError: it is not of this form.
    """
    parts = parse_url(url)
    try:
        hosts = read_hosts(parts.netloc, SENTINEL_PORT)
        places = [RedisPlace(host, port, kind=SENTINEL) for host, port in hosts]
        user, password = read_user(parts.netloc)
        group = parts.path.strip("/") or _DEFAULT_GROUP
        if parts.fragment or not _GROUP.fullmatch(group):
            raise ValueError(
                f"names the group {group[:100]!r}; its letters may be A to Z, a to z, 0 to 9, dot, - and _ "
                "(# and / in a password are %23 and %2F)"
            )
    except ValueError as error:
        raise ConfigError(
            f"the transport URL {masked_url(url)!r} {error}; for example "
            f"zmq+sentinel://:PASSWORD@host1:26379,host2:26379,host3:26379/{_DEFAULT_GROUP}",
            options=("url",),
        ) from None
    return places, group, RedisPlace("", user=user, password=password, by_sentinels=True)


@implementer(IMatchmakerFactory)
class SentinelFactory:
    """Makes the matchmakers of ``zmq+sentinel://host1,host2,host3/group``."""

    scheme = "sentinel"
    local = False

    _log = Logger()

    def make(self, reactor: Any, url: str, settings: Settings) -> IMatchmaker:
        """See `IMatchmakerFactory`."""
        places, group, master = read_url(url)
        tls = StoreTls.from_settings(settings)
        theirs = settings.redis_sentinel_password
        password = theirs.encode() if theirs is not None else None
        user = (settings.redis_sentinel_user or "").encode()
        places = [attrs.evolve(place, tls=tls, user=user, password=password) for place in places]
        master = attrs.evolve(master, tls=tls)
        if master.password is None and not all(place.is_loopback for place in places):
            self._log.warn(
                "the Redis master {group} is used without a password: whoever reaches it decides where calls go; "
                "set one there (requirepass, masterauth) and in the transport URL",
                group=group,
            )
        limit = settings.matchmaker_timeout / 1000
        chance = Random()
        sentinels = Sentinels(reactor, places, group, master, limit, CONNECT * limit, chance)
        return redis_matchmaker(reactor, [], limit, chance, sentinels)


factory = SentinelFactory()
