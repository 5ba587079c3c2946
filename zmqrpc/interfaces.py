"""
Every part of zmqrpc that can be swapped, as zope interfaces.

Each method says when its Deferred fires and every way it fails. The families with factories are plugins: an
implementation is found in `zmqrpc.plugins` or `twisted.plugins` (`zmqrpc.families`), and is chosen by name.

Everybody imports interfaces from here: also those of the sockets, which a module of their own defines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface

from zmqrpc._sockets import (
    FULL,
    GONE,
    SENT,
    IBoundReceiver,
    IBoundRouter,
    IConnectingRouter,
    ILinkReceiver,
    IPublisher,
    IPublisherReceiver,
    IRouterReceiver,
    ISubscriber,
    ISubscriberReceiver,
    ITransport,
)
from zmqrpc.record import Record, Sighting
from zmqrpc.target import Target

if TYPE_CHECKING:
    from zmqrpc.settings import Settings

__all__ = [
    "FULL",
    "GONE",
    "SENT",
    "Changed",
    "IBoundReceiver",
    "IBoundRouter",
    "IConnectingRouter",
    "IConnectionStrategy",
    "IConnectionStrategyFactory",
    "IInspected",
    "ILinkReceiver",
    "ILinks",
    "IMatchmaker",
    "IMatchmakerFactory",
    "IOutages",
    "IProxy",
    "IProxyFactory",
    "IProxySite",
    "IPublisher",
    "IPublisherReceiver",
    "IRPCApplication",
    "IRouterReceiver",
    "ISubscriber",
    "ISubscriberReceiver",
    "ITransport",
]

Changed = Callable[[list[Sighting]], None]
"""What a watch calls: with every record of the topic, after each change of it."""


class IMatchmaker(Interface):
    """
    A name service: who listens on a topic.

    It may forget what it was told: a node that sees so registers again by itself (it watches its own topics), and
    clients go on to call those they are connected to.

    The Deferreds of every method fail with `MatchmakerUnavailable` when the store did not answer in time, and with
    nothing else unless said. A method never raises synchronously for what the store does. An outage is logged by the
    matchmaker: one line when it begins and one when it ends, not one for each try.
    """

    def register(record: Record, expire: float) -> Deferred[None]:
        """
        Store the record, or refresh it where it is already there (same `Record.key`).

        A fixed table stores nothing. It fails with `ConfigError`, and logs once, when it has no such line; the record
        then has no instance. Another store that refuses a record for good, for example for want of a right, fails with
        `ConfigError` too; the node logs that once, and tries again.

        :param expire: seconds after which the store forgets it unless it is refreshed; 0 or less: never.
        :return: fires when a `lookup` by anybody would find it.
        """

    def withdraw(record: Record) -> Deferred[None]:
        """
        Remove the entry with this record's key; no other instance's entry is touched, a missing one is no error.

        :return: fires when a `lookup` by anybody would not find it.
        """

    def lookup(exchange: str, topic: str) -> Deferred[list[Sighting]]:
        """
        Find who listens on a bare topic, members and roles alike.

        :return: fires with every live record of exactly that exchange and topic, ordered by member and instance;
            empty when nobody listens, which is an answer and not an error.
        """

    def records() -> Deferred[list[Sighting]]:
        """
        List every live record of the store.

        :return: fires with the records, ordered by role, exchange, topic, member, instance.
        """

    def watch(exchange: str, topic: str, changed: Changed) -> Callable[[], None]:
        """
        Call `changed` with the records of the topic, once soon and then after each change, until stopped.

        Changes may be merged; the last call always has the newest content. An exception of `changed` is logged.

        :return: a callable that ends the watch; calling it again does nothing.
        """

    def acknowledge(record: Record) -> Deferred[None] | None:
        """
        Hear that the instance answers: withdraws what `neg_acknowledge` said about it.

        A node says so when the link to an instance comes up that it had doubted, and when a complaint of its
        application is over (`RPCClient.neg_acknowledge`). Both are hints: nobody waits for what becomes of them. What
        they raise is logged by the node.

        :return: None; or, where others are told, a Deferred that fires when they are, and fails with
            `MatchmakerUnavailable` when they are not: the node counts that (``doubt_lost``).
        """

    def neg_acknowledge(record: Record, reason: str) -> Deferred[None] | None:
        """
        Hear that the instance was not reachable, or fails its callers; a hint to others, which never removes a record.

        A node says so of every record behind a link after two tries in a row that came to nothing or one that was
        refused just after a loss, each time that another instance answers there, when a peer is silent, and when its
        application complains. What is said again of the same entry replaces what was said before. The matchmaker logs
        when a doubt begins and when it ends.

        A store that takes records shares a doubt as one with the role ``doubt`` (docs/spec/records), unless somebody
        else has done so. Nodes that see it ask the instance over their own connections, and believe those alone.

        :return: as of `acknowledge`.
        """

    def bind_address(target: Target) -> str | None:
        """
        Tell which address a server for the target must bind, for fixed tables; it may read a file for that.

        For a proxy it is asked for each of its sockets: with the exchange ``$zmqrpc``, and one of
        `zmqrpc.record.SIDES` as the topic.

        :param target: has a topic, a member and an exchange.
        :return: ``host:port``, IPv6 in brackets, or None when the server may choose. Others are told this address, and
            the records of the node have no instance.
        :raises ConfigError: the table has no line for the target's member; the text names those it has.
        """

    def close() -> Deferred[None]:
        """
        End every watch and give back what the matchmaker holds; no other method may be called afterwards.

        :return: fires when nothing of it runs any more; never fails.
        """


class IOutages(Interface):
    """
    What a matchmaker may provide besides `IMatchmaker`, when it knows whether its store answers.

    Then a node is known to be not ready as soon as that is so, and not only when it refreshes its records; it is told,
    and asks nothing again and again. All methods tell what is known already, at once, and ask nobody. A store that has
    not been used yet counts as one that answers.
    """

    def away() -> str:
        """
        Tell why nothing can be registered or looked up now: a clause that names the store.

        :return: empty while that works, also where it works with some of several stores only.
        """

    def failing() -> list[str]:
        """
        Tell for each store, of one or several, that does not answer, why not: a clause that names it.

        So too for each topic that a store cannot read while it answers about others.
        """

    def watch_outages(turned: Callable[[], None]) -> Callable[[], None]:
        """
        Call `turned` soon after what `away` or `failing` return has changed, each time, until stopped.

        It is called in the reactor's thread and never from within a method. Changes may be merged, and what is over at
        once is not told. An exception of `turned` is logged.

        :return: a callable that ends the watch, as `IMatchmaker.close` does; calling it again does nothing.
        """


class IMatchmakerFactory(IPlugin):
    """
    Makes the matchmaker of one kind of transport URL.

    It may have one method more, ``absence_of(url: str) -> str``: commands that find nobody ask it what is missing, such
    as a file that is still to be made. It returns a clause, empty when nothing is missing, and raises nothing.
    """

    scheme = Attribute("The part of the URL after ``zmq+``, for example ``redis``; a str.")
    local = Attribute("Whether its records never leave this machine: then servers bind and advertise loopback; a bool.")

    def make(reactor: Any, url: str, settings: Settings) -> IMatchmaker:
        """
        Make a matchmaker; nothing is contacted before its first method is called, but a fixed table is read.

        :param reactor: the reactor (or, in tests, a clock) everything runs on.
        :param url: the whole transport URL.
        :raises ConfigError: the URL is not one of this kind, or a file that people write for it is wrong; the text says
            what is, and shows the URL as `zmqrpc.settings.masked_url` writes it, without its password.
        """


class ILinks(Interface):
    """
    What a connection strategy may do with the links of its node.

    A link is named by a key, a str, which stays the same for as long as records lead to it. An unknown key is no error.
    The Deferreds of calls may fire within any of these, and what their callbacks call comes back to the strategy.
    """

    def open(key: str, record: Record, proxied: bool = False) -> Any:
        """
        Have a link with this key, to the instance of a record; it is not connected by that.

        Without it no message can go there. It connects by itself when a message waits for it. Until `release` it is
        kept: it stays connected then, and reconnects by itself.

        :param proxied: whether it goes through a router proxy, whichever is there, instead of to the address of the
            record. The first such link has the node connect to the proxies. A record without an instance is connected
            to directly all the same, since proxies go by instances.
        """

    def connect_now(key: str) -> bool:
        """
        Connect a link that is idle, before anything is to be sent over it; one in another phase stays as it is.

        :return: whether it is being connected now.
        """

    def release(key: str) -> None:
        """
        Keep a link no longer: it reconnects only when something is to be sent over it, or is outstanding.

        Where it is up, nothing is outstanding on it and nothing waits for it, it says GOAWAY and is closed at once.
        Else nothing happens now: call it again after `IConnectionStrategy.idle`.
        """

    def pass_on(key: str, others: Iterable[str]) -> bool:
        """
        Take what waits for a link and may as well go elsewhere, and give it to the one of others that came up first.

        What was handed over stays where it is, and so does what is for this instance alone. Where none of the others
        is up nothing happens.

        :return: whether something still waits that could go to one of the others.
        """

    def withdraw(key: str, reason: str) -> None:
        """Give nothing new to a link; it closes when what it has is answered, and is forgotten."""


class IConnectionStrategy(Interface):
    """
    How envelopes of some kinds reach the instances of a target: it decides which links are connected, and when.

    Which instance has its turn is not decided here, and no message passes through it: a message is given to the link
    whose turn it is, and waits there until the link is up. Its methods return at once, raise nothing, and are called
    in the reactor's thread; what one of a plugin raises is logged.

    `zmqrpc.testing.strategy.StrategyContract` tests what is owed.
    """

    name = Attribute("Its name in a `DeliveryPlan`, for example ``static-direct``; a str.")
    transient = Attribute("Whether it is told of `idle` links; a bool, asked once.")
    wake_at = Attribute("When `sweep` has to be called next, by the monotonic clock; infinity for never.")

    def appeared(key: str, record: Record) -> None:
        """
        Hear that a record leads to an instance no topic in use led to before.

        It has to `ILinks.open` the link; whether it connects it now is its decision.
        """

    def gone(key: str) -> None:
        """Hear that no topic in use leads there any more; it has to `ILinks.withdraw` the link."""

    def needed(key: str, others: Iterable[str]) -> None:
        """
        Hear that a message waits for a link that is not up; it is being connected, unless it backs off.

        :param others: the links that could take the message as well, in the order of their turns, perhaps with this
            one; empty when it is for this instance alone. To be read as far as it is wanted, beginning at once: what
            is read later is as it was when that began.
        """

    def opened(key: str) -> None:
        """Hear that a link has come up, and that what waited for it was handed over."""

    def idle(key: str) -> None:
        """
        Hear that the last message that was handed over to a link has ended and nothing waits for it; if `transient`.

        It is said after the pass in which that happened, once, and not when something was sent there meanwhile.
        """

    def closed(key: str) -> None:
        """
        Hear that a link has no connection any more: it was closed, or could not be connected.

        What waited for it was given to others before, as far as there are any.
        """

    def sweep(now: float) -> None:
        """Do what time asks for."""


class IConnectionStrategyFactory(IPlugin):
    """Makes the connection strategy that ``zmq_topology = NAME`` chooses, for all that is sent to servers."""

    name = Attribute("The name; a str.")

    def make(
        links: ILinks, settings: Settings, seconds: Callable[[], float], wake_by: Callable[[float], None]
    ) -> IConnectionStrategy:
        """
        Make a strategy; it uses `links` only after this has returned.

        :param seconds: the monotonic clock.
        :param wake_by: asks that `IConnectionStrategy.sweep` is called at a time, or sooner.
        :raises ConfigError: a setting is not valid for it.
        """


class IProxySite(Interface):
    """What a proxy is given to work with, by the node that runs it (`zmqrpc.proxy_node`)."""

    settings = Attribute("The `Settings` of the process.")
    instance = Attribute("The instance of the node, 16 bytes.")
    transport = Attribute("The `ITransport`, open.")
    notices = Attribute("The `zmqrpc.notices.Notices`, where refusals are counted and logged.")
    seconds = Attribute("Returns the monotonic clock, in seconds.")
    jitter = Attribute("Returns a number from 0.5 to 1, so that many do not act in step.")
    wake_by = Attribute("Asks that `IProxy.sweep` is called at a time, or sooner.")
    not_ready = Attribute("Why others cannot find the proxy, a clause; empty when they can, as far as is known.")
    owner = Attribute("User and group id that the process goes on as once it has bound; None when it stays as it is.")

    def inspect(events: int, most_bytes: float) -> dict[str, Any]:
        """
        Tell what is going on in the process, for a WELCOME (docs/spec/wire, Inspection).

        :raises AccessDenied: its operator does not want that.
        """

    def bind(socket: Any, port: int) -> str:
        """
        Bind a socket of the transport where the settings say.

        :param port: 0 for one of the range.
        :return: the address that others are told, ``tcp://host:port``.
        :raises ConfigError: as `IBoundRouter.bind`, or the settings ask for what cannot be.
        """

    def server_came(topics: Iterable[tuple[str, str]]) -> None:
        """
        Hear that a server has come, so that what its records say is compared with the settings of the proxy.

        :param topics: exchange and name of what it says that it serves; nobody has checked it.
        """


class IProxy(Interface):
    """
    What stands between clients and servers: everything of it that is not the same for every process.

    The node that runs it finds the matchmaker, registers it, and stops it: it calls `open` once, then the others, and
    `close` at the end. Where `open` or `records` raises, `close` follows at once, and the next try is with another
    proxy.
    """

    wake_at = Attribute("When `sweep` has to be called next; infinity for never.")
    drained = Attribute("Whether nothing is left to do after `drain`; a bool.")

    def open() -> None:
        """
        Bind.

        :raises ConfigError: an address cannot be bound.
        """

    def records() -> tuple[Record, ...]:
        """Tell what is to be registered, once it is open; empty when others do not find it by the matchmaker."""

    def found(sightings: list[Sighting]) -> None:
        """Hear which proxies the matchmaker knows, this one included; soon, and after each change."""

    def end_pass() -> None:
        """Write what was gathered during a pass over a socket."""

    def sweep(now: float) -> None:
        """Do what time asks for."""

    def drain(text: str) -> None:
        """Tell everybody that it stops, and go on until `drained`."""

    def close(linger: float) -> None:
        """Close every socket; what was written is delivered in the background for up to `linger` seconds."""


class IInspected(Interface):
    """What an `IProxy` may provide besides, so that ``zmqrpc inspect`` and SIGUSR2 tell more than of any proxy."""

    def inspect(seen: Any, most: int, now: float) -> None:
        """
        Write down what is going on: names and times, and no values.

        :param seen: a `zmqrpc.core.inspected.Inspected`, which has what is the same for all.
        :param most: how many rows each of its lists may get; ``left_out`` gets how many there are more, by its name.
        :param now: the time, by the monotonic clock.
        """


class IProxyFactory(IPlugin):
    """Makes the proxy that ``zmq-proxy --type NAME`` runs."""

    name = Attribute("The name that ``--type`` takes; a str.")

    def make(site: IProxySite) -> IProxy:
        """
        Make a proxy; nothing is opened before `IProxy.open`.

        :raises ConfigError: a setting is not valid for it.
        """


class IRPCApplication(IPlugin):
    """
    An application that `twistd zmq-rpc-server --app NAME` runs.

    It may also have an attribute `exchange`, a str: the exchange of its topic, in place of ``--exchange`` and of
    ``control_exchange``. Applications with one topic share a server; two of them that serve a method of the same name,
    namespace and major version are refused.

    `zmqrpc.testing.application.ApplicationContract` tests what is said here.
    """

    name = Attribute("The name that ``--app`` takes; a str without a colon, of which there is one.")
    topic = Attribute("The topic it serves; a str, or None to be told by ``--topic``.")

    def endpoints(reactor: Any, client: Any, settings: Settings) -> Any:
        """
        Make the endpoints; called at each start, when the port is bound and the process has given up its rights.

        What it raises keeps the process from starting: one sentence with its text and line on standard error, its
        traceback in the log, exit status 2. What a Deferred or coroutine fails with later stops the process, in the
        same way. Meanwhile the process calls others and its topic is not served. When it is stopped before that, the
        Deferred is cancelled.

        :param reactor: the reactor of the process.
        :param client: an `RPCClient` of the same node.
        :param settings: what the process was started with.
        :return: an iterable of at least one endpoint, or a Deferred or coroutine of one; new ones each time. An
            endpoint that provides `IService` is started before its server can be found (a Deferred that its
            `startService` returns is waited for, and its failure is one of the start), and stopped when the last call
            has ended (a failure is logged).
        """
