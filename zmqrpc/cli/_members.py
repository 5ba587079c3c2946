"""Asks every member of a topic, for the commands that do."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

import attrs

from zmqrpc.client import RPCClient
from zmqrpc.dispatcher import OWN_NAMESPACE
from zmqrpc.target import Target

if TYPE_CHECKING:
    from zmqrpc.client import Answer

TIMEOUT = 5.0
"""Seconds that an answer may take unless the command line says otherwise: somebody sits there and waits."""


async def ask_each(
    client: RPCClient, target: Target, method: str, options: Namespace, args: dict[str, Any] | None = None
) -> list[Answer]:
    """
    Call a method that every server has at every member.

    :param args: its arguments; None for none.
    :raises NoRoute: nobody listens.
    :raises MatchmakerUnavailable: nobody knows who listens.
    """
    target = attrs.evolve(target, namespace=OWN_NAMESPACE)
    answers: list[Any] = await client.call_each(target, method, args, timeout=options.timeout or TIMEOUT)
    return answers
