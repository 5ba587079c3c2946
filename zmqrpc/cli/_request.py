"""What is to be called: the target, the arguments and the context of a command line."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from zmqrpc.cli._json import from_json, read_argument
from zmqrpc.errors import ConfigError
from zmqrpc.target import Target


def target_of(options: Namespace, namespace: str | None = None, version: str | None = None) -> Target:
    """
    Read TOPIC, ``--server`` and ``--exchange``.

    :raises ConfigError: a name or the version is malformed.
    """
    if options.server is None:
        whole = Target.parse(options.topic)
        topic, server = whole.topic, whole.server
    else:
        topic, server = options.topic, options.server or None
    return Target(topic=topic, server=server, exchange=options.exchange, namespace=namespace, version=version)


def arguments_of(texts: Sequence[str]) -> dict[str, Any]:
    """
    Read each NAME=JSON.

    :raises ConfigError: one has no name, is given twice, or is JSON that cannot be sent.
    """
    arguments: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"the argument {text!r} has no name; write NAME=VALUE")
        if name in arguments:
            raise ConfigError(f"the argument {name!r} is given twice")
        try:
            arguments[name] = read_argument(value)
        except ValueError as error:
            raise ConfigError(f"the argument {name!r} is not valid: {error}") from error
    return arguments


def context_of(text: str | None) -> dict[str, Any] | None:
    """
    Read ``--context``.

    :raises ConfigError: it is no JSON object, or one that cannot be sent.
    """
    if text is None:
        return None
    try:
        context = from_json(text)
    except ValueError as error:
        raise ConfigError(f"--context is not valid JSON: {error}") from error
    if not isinstance(context, dict):
        raise ConfigError('--context is no JSON object; write for example \'{"user": "ada"}\'')
    return context
