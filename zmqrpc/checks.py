"""What callers give, and what is wrong with it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import attrs

from zmqrpc.core.values import check_value
from zmqrpc.errors import (
    ConfigError,
    DeadlineExceeded,
    EncodingError,
    Journey,
    MessageTooLarge,
    Overloaded,
    ZmqRpcError,
)
from zmqrpc.inherited import Inherited, none_left
from zmqrpc.target import Target

LONGEST = 1e9
"""Seconds; a timeout below it (30 years) fits every clock and the milliseconds of the wire."""

_AS_THEY_ARE = (ConfigError, DeadlineExceeded, MessageTooLarge, Overloaded)


def check_target(target: Target) -> None:
    """
    Refuse what names no topic, or a fan-out.

    :raises ConfigError: the text says what to give.
    """
    plain_target(target)
    if target.fanout:
        raise ConfigError(f"the target {target} is a fan-out, which has no single answer; use fanout()")


def plain_target(target: Target) -> Target:
    """
    Return the target without its `Target.fanout`, for what goes to everybody anyway.

    :raises ConfigError: it is no target, or names no topic.
    """
    if not isinstance(target, Target):
        raise ConfigError(f"the target {target!r} is a {type(target).__name__}; give a zmqrpc.Target")
    if target.topic is None:
        raise ConfigError("the target has no topic; give one, as in Target('compute')")
    return _to_one(target) if target.fanout else target


@lru_cache(maxsize=1000)
def _to_one(target: Target) -> Target:
    # To make one anew takes a twentieth of a fan-out.
    return attrs.evolve(target, fanout=False)


def check_request(target: Target, method: Any, seconds: Any) -> None:
    """
    Refuse a method that is no name, and a timeout that is no time.

    :raises ConfigError: the text says which.
    :raises DeadlineExceeded: there is no time at all.
    """
    if type(method) is not str or type(seconds) not in (int, float) or not seconds < LONGEST:
        raise odd_request(method, seconds)
    if seconds <= 0:
        raise no_time(target, method, seconds)


def no_time(target: Target, method: str, deadline: float) -> DeadlineExceeded:
    """Say that there is no time at all until a deadline."""
    journey = Journey(str(target), target.server, stage="resolving")
    error = DeadlineExceeded(f"{method!r} failed: {none_left(deadline)}", journey)
    error.inherited = isinstance(deadline, Inherited)
    return error


def odd_request(method: Any, timeout: Any) -> ConfigError:
    """Say what is wrong with a method's name, or else with a timeout."""
    if type(method) is not str:
        return ConfigError(f"the method {method!r} is no str; give its name")
    return ConfigError(f"the timeout {timeout!r} of {method!r} is no number of seconds below {LONGEST:g}; give one")


def is_patience(seconds: Any) -> bool:
    """Tell whether a value says for how long somebody may be silent; 0 is for ever."""
    return type(seconds) in (int, float) and 0 <= seconds < LONGEST


def odd_patience(method: Any, seconds: Any) -> ConfigError:
    """Say what is wrong with how long the instance that has a call may be silent."""
    text = f"the call_monitor_timeout {seconds!r} of {method!r} is no number of seconds from 0 to {LONGEST:g}"
    return ConfigError(f"{text}; give one, or 0 for ever")


def odd_mapping(method: str, args: Any, context: Any) -> EncodingError:
    """Say which of arguments and context is no dict."""
    what, value = ("arguments", args) if type(args) is not dict else ("context", context)
    return EncodingError(f"the {what} of {method!r} are a {type(value).__name__}; give a dict with str keys")


def unsendable(
    error: Exception,
    target: Target,
    method: str,
    args: dict[str, Any] | None,
    context: dict[str, Any] | None,
    timeout: Any,
) -> ZmqRpcError:
    """Say what cannot be sent, and where in it; the encoder itself names no place."""
    if isinstance(error, _AS_THEY_ARE):
        return error
    if isinstance(error, TypeError) and type(timeout) not in (int, float, type(None)):
        return odd_request(method, timeout)
    try:
        for what, value in (("argument", args), ("context", context), ("the method's name", method)):
            check_value(value, what)
    except EncodingError as found:
        error = found
    journey = Journey(str(target), target.server, stage="resolving")
    return EncodingError(f"{method!r} cannot be sent: {error}", journey)
