"""Which options contradict each other, each of which is valid by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zmqrpc.errors import ConfigError

if TYPE_CHECKING:
    from zmqrpc.settings import Settings


def check_together(settings: Settings) -> None:
    """
    Refuse options that contradict.

    :raises ConfigError: the text names both, and what to do.
    """
    if settings.rpc_zmq_min_port >= settings.rpc_zmq_max_port:
        raise ConfigError(
            f"option rpc_zmq_min_port is {settings.rpc_zmq_min_port}, not below rpc_zmq_max_port "
            f"({settings.rpc_zmq_max_port}, exclusive); give a range that holds a port",
            options=("rpc_zmq_min_port", "rpc_zmq_max_port"),
        )
    if 0 < settings.zmq_target_expire <= (settings.zmq_target_update or 0):
        raise ConfigError(
            f"option zmq_target_update is {settings.zmq_target_update:g}, not below zmq_target_expire "
            f"({settings.zmq_target_expire}); records would expire before they are refreshed, make it smaller",
            options=("zmq_target_update", "zmq_target_expire"),
        )
    if settings.quarantine_time > settings.quarantine_time_max:
        raise ConfigError(
            f"option quarantine_time is {settings.quarantine_time:g}, above quarantine_time_max "
            f"({settings.quarantine_time_max:g}); make it smaller, or quarantine_time_max larger",
            options=("quarantine_time", "quarantine_time_max"),
        )
    if (settings.matchmaker_tls_certificate is None) is not (settings.matchmaker_tls_key is None):
        raise ConfigError(
            "one of the options matchmaker_tls_certificate and matchmaker_tls_key is set and the other is not; "
            "give both files, or neither",
            options=("matchmaker_tls_certificate", "matchmaker_tls_key"),
        )
    if settings.redis_sentinel_user is not None and settings.redis_sentinel_password is None:
        raise ConfigError(
            "option redis_sentinel_user is set and redis_sentinel_password is not; write both into "
            "[matchmaker_redis] of a configuration file",
            options=("redis_sentinel_user", "redis_sentinel_password"),
        )
    for name in ("ca", "certificate", "name"):
        if getattr(settings, f"matchmaker_tls_{name}") is not None and not settings.matchmaker_tls:
            raise ConfigError(
                f"option matchmaker_tls_{name} is set and matchmaker_tls is not, so there would be no TLS; "
                f"set matchmaker_tls to true, or take matchmaker_tls_{name} away",
                options=(f"matchmaker_tls_{name}", "matchmaker_tls"),
            )
    if settings.subscribe_on and settings.zmq_topology is None and not settings.use_pub_sub:
        raise ConfigError(
            "option subscribe_on is set and use_pub_sub is not, so nothing would be subscribed to; "
            "set use_pub_sub to true, or take subscribe_on away",
            options=("subscribe_on", "use_pub_sub"),
        )
