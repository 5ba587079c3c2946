"""Pings or inspects who is at an address, without a matchmaker: every server there, or the proxy."""

from __future__ import annotations

from typing import Any

from zmqrpc.cli._greeting import Greeting, greet
from zmqrpc.client import Answer
from zmqrpc.core.envelope import Served
from zmqrpc.core.inspected import INSPECT, INSPECTION, REFUSED
from zmqrpc.core.roles import SERVER
from zmqrpc.dispatcher import OWN_NAMESPACE
from zmqrpc.errors import AccessDenied, NoRoute, RemoteProtocolError, ZmqRpcError
from zmqrpc.matchmaker._table import Table
from zmqrpc.matchmaker.dummy import DummyMatchmaker
from zmqrpc.node import Node
from zmqrpc.record import Record, Role
from zmqrpc.settings import Settings
from zmqrpc.site import sockets
from zmqrpc.target import Target

_MOST_TEXT = 1000


class Direct:
    """
    Who is at one address.

    :param address: as people are told it, ``tcp://host:port`` or ``ipc://path``.
    :param limit: seconds that an answer may take.
    """

    def __init__(self, reactor: Any, address: str, limit: float) -> None:
        self._reactor = reactor
        self._address = address
        self._limit = limit
        self._settings = Settings.from_url("zmq://")

    async def ask(self) -> list[Answer]:
        """
        Ask once, over new connections: who was there before may have been restarted.

        :return: one for each server, whose member is ``TOPIC.MEMBER``; of whoever serves nothing, such as a proxy, one
            whose member is its role, and whose result is that of ``ping`` where it says whether it is ready, else None.
        :raises NoRoute: nobody listens there.
        :raises DeadlineExceeded: nobody has answered in time.
        """
        greeting = await self._greet()
        answers = await self._ping(greeting) if greeting.role == SERVER else []
        return answers or [Answer(greeting.role, greeting.instance, _readiness(greeting), None, greeting.seconds)]

    async def inspect(self, events: int) -> list[Answer]:
        """
        Ask what is going on there, of whoever it is; `ask` says what it fails with.

        :param events: how many of the last events are wanted.
        :return: one, whose result is what it tells, or whose error why it tells nothing.
        """
        greeting = await self._greet({INSPECT: events})
        told, refused = greeting.extensions.get(INSPECTION), greeting.extensions.get(REFUSED)
        error: ZmqRpcError | None = None
        if isinstance(refused, str):
            error = AccessDenied("AccessDenied", refused[:_MOST_TEXT])
        elif told is None:
            text = f"{self._address} is a {greeting.role} of a release that cannot be inspected; upgrade it"
            error = RemoteProtocolError(text)
        return [Answer(self._address, greeting.instance, told, error, greeting.seconds)]

    async def _greet(self, extensions: dict[str, Any] | None = None) -> Greeting:
        transport = sockets(self._reactor, self._settings)
        transport.open(lambda: None)
        try:
            return await greet(self._reactor, transport, self._address, self._limit, extensions)
        finally:
            await transport.close(0)

    async def _ping(self, greeting: Greeting) -> list[Answer]:
        table = Table(self._reactor)
        # Listeners to notifications are told as well, and nobody calls them; those of no pool look like servers.
        served = [each for each in greeting.targets if each.member is not None and each.pool is None]
        for each in served:
            table.put(self._record(each, greeting.instance), 0)
        node = Node(self._reactor, self._settings, matchmaker=DummyMatchmaker(table))
        node.startService()
        answers: list[Answer] = []
        try:
            for each in served:
                target = Target(each.topic, each.member, each.exchange, namespace=OWN_NAMESPACE)
                name = f"{each.topic}.{each.member}"
                try:
                    (answer,) = await node.client().call_each(target, "ping", timeout=self._limit)
                except ZmqRpcError as error:
                    answer = Answer(name, greeting.instance, None, error, self._limit)
                if not isinstance(answer.error, NoRoute):
                    answers.append(answer._replace(member=name))
        finally:
            await node.stopService()
        return answers

    def _record(self, served: Served, instance: str) -> Record:
        return Record(
            Role.SERVER, served.exchange, served.topic, served.member or "", instance, addresses=(self._address,)
        )


def _readiness(greeting: Greeting) -> dict[str, Any] | None:
    text = greeting.extensions.get("not_ready")
    return {"ready": not text, "not_ready": text[:_MOST_TEXT]} if isinstance(text, str) else None
