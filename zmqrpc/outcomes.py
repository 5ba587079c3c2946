"""
How calls end without a result: with which error, and in which words.

Each ends with exactly one, which tells how far it got and whether the method may have run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from zmqrpc.core.batch import BATCH_OVERHEAD, RETURN_OVERHEAD
from zmqrpc.core.call import Loss, Stage
from zmqrpc.core.envelope import NOUNS, RAN, Failure, FailureCode, Refusal, Reply
from zmqrpc.core.link import Phase
from zmqrpc.core.outgoing import Trouble
from zmqrpc.core.routing import RoutingTable
from zmqrpc.errors import (
    AccessDenied,
    Cancelled,
    ClientClosed,
    ConfigError,
    DeadlineExceeded,
    DeliveryError,
    Draining,
    EncodingError,
    InvalidArguments,
    Journey,
    MatchmakerUnavailable,
    MessageTooLarge,
    NoRoute,
    NoSuchMethod,
    NotAcknowledged,
    Overloaded,
    RemoteError,
    ServerLost,
    UnsupportedVersion,
    ZmqRpcError,
    record_in_words,
)
from zmqrpc.inherited import LENT, Inherited, detached, none_left, time_up
from zmqrpc.link import Link
from zmqrpc.settings import Settings
from zmqrpc.spelling import first_of, meant_or_some
from zmqrpc.target import Pool, Target
from zmqrpc.waiter import Waiter

_REMOTE: dict[FailureCode, type[RemoteError]] = {
    FailureCode.RAISED: RemoteError,
    FailureCode.NO_SUCH_METHOD: NoSuchMethod,
    FailureCode.INVALID_ARGUMENTS: InvalidArguments,
    FailureCode.BAD_INTERFACE: UnsupportedVersion,
    FailureCode.ACCESS_DENIED: AccessDenied,
}
_WITHOUT_RESULT: dict[FailureCode, type[DeliveryError]] = {
    FailureCode.UNENCODABLE: EncodingError,
    FailureCode.TOO_LARGE: MessageTooLarge,
    FailureCode.CANCELLED: Cancelled,
    FailureCode.OVERDUE: DeadlineExceeded,
    FailureCode.NOT_KEPT: ServerLost,
}
_REFUSED: dict[Refusal, tuple[type[DeliveryError], str]] = {
    Refusal.EXPIRED: (DeadlineExceeded, "its time was up when it arrived"),
    Refusal.OVERLOADED: (Overloaded, "the member is overloaded, try later or add members"),
    Refusal.TOO_LARGE: (MessageTooLarge, "it is too large for the member (max_message_size there)"),
    Refusal.DRAINING: (Draining, "the member is stopping, send it again when it is back"),
}
_CROWDED = "too much waits for this member already (max_queued_calls, max_queued_bytes), try later or add members"
MATCHMAKER_AWAY = "the matchmaker cannot tell who listens, look after it"
_ALL_STOPPING = "only members that are stopping could take it, add another"
_NONE_REACHED = "nobody who is recorded can be reached, look after them"
_OR_WAIT = " or wait for one (wait_for_ready)"
_MOST_POOLS = 8
_MOST_COMPARED = 200
ELSEWHERE = frozenset((Refusal.WRONG_INSTANCE, Refusal.DRAINING, Refusal.UNROUTABLE, Refusal.NOT_SERVED))
"""What one instance refuses, another may take."""


class Outcomes:
    """
    The errors of one node's calls.

    :param instance: our own instance.
    :param table: knows how old records are.
    :param seconds: the monotonic clock.
    :ivar served: goes through the exchange and name of topics that somebody listens on, for who asks for another.
    :ivar why_not: why the node can make no calls in this process; empty where it can.
    :param record: notes how a call failed, as `Notices.record`.
    """

    def __init__(
        self,
        instance: bytes,
        settings: Settings,
        table: RoutingTable,
        seconds: Callable[[], float],
        record: Callable[..., None],
    ) -> None:
        self.served: Callable[[], Iterable[tuple[str, str]]] = table.served
        self.why_not = ""
        self.record = record
        self._instance = instance
        self._settings = settings
        self._table = table
        self._seconds = seconds

    def fail(
        self,
        call: Waiter,
        error: type[DeliveryError],
        reason: str,
        maybe_executed: bool = False,
        did_run: bool = False,
    ) -> None:
        """End the call with an error."""
        where = call.link.address if call.link is not None else call.target.topic
        self.record(error.__name__, "{number} call{s} ended so: {reason}", where, reason=reason)
        self._end(call, error(f"the {NOUNS[call.kind]} failed: {reason}", self.journey(call), maybe_executed, did_run))

    def _end(self, call: Waiter, error: ZmqRpcError) -> None:
        call.ended = True
        if call.may_have_run:
            error.maybe_executed = True
        if isinstance(error, DeadlineExceeded):
            error.inherited = isinstance(call.deadline, Inherited)
        if call.called:
            return
        if LENT.get()[0] is None:
            call.errback(error)
            return
        # What is added to it is the business of others, not of the method that runs here.
        with detached():
            call.errback(error)

    def journey(self, call: Waiter) -> Journey:
        """Tell how far a call got."""
        link: Link | None = call.link
        message_id = ""
        if link is not None and link.instance is not None and call.sequence:
            message_id = f"{self._instance.hex()[:12]}/{link.instance.hex()[:12]}/{call.sequence}"
        stage = call.stage.name.lower()
        if link is None:
            return Journey(str(call.target), call.target.server, None, message_id, stage)
        member, age, recorded = self._record(call, link)
        return Journey(
            target=str(call.target),
            member=member,
            address=link.address,
            message_id=message_id,
            stage=stage,
            record_age=age,
            through=link.carrier.proxy(link),
            recorded=recorded,
        )

    def _record(self, call: Waiter, link: Link) -> tuple[str, float | None, bool]:
        """
        Look for the record that led a call to a link, which may serve other members and topics as well.

        :return: the member, several where all of them may be meant; how old the record is, None where nobody tells; and
            whether it is there.
        """
        target = call.target
        topic = self._table.known_topic(target.exchange or self._settings.control_exchange, target.topic or "")
        found = topic.behind(link.key, target) if topic is not None else []
        if topic is None or not found:
            return target.server or link.member, None, False
        members = dict.fromkeys(sighting.record.member for sighting in found)
        return ", ".join(members), topic.age(found[0], self._seconds()), True

    def called(self, call: Waiter, link: Link) -> str:
        """Say who is meant by a call at a link, and where he is."""
        return f"{self._record(call, link)[0]} at {link.address}"

    def reached(self, call: Waiter, link: Link) -> str:
        """Say who is meant by a call at a link, where he is, and through which router proxy."""
        return f"{self.called(call, link)}{_way(link)}"

    def tell(self, call: Waiter, link: Link, trouble: str = "") -> str:
        """
        Say in what state a link is that does not take a call.

        :param trouble: why, where the link itself does not know.
        """
        state = link.state
        member, age, recorded = self._record(call, link)
        where, record = f"{member} at {link.address}{_way(link)}", record_in_words(age, recorded)
        why = trouble or state.trouble or call.trouble
        return f"{where}, {state.standing}, {record}{f': {why}' if why else ''}"

    # Before it was handed over

    def closed(self, call: Waiter) -> None:
        """End a call of a node that does not run."""
        if self.why_not:
            self._end(call, ConfigError(self.why_not))
            return
        self.fail(call, ClientClosed, "the node was not started yet, or is stopped")

    def too_late(self, call: Waiter) -> None:
        """End a call that had no time when it was made."""
        self.fail(call, DeadlineExceeded, none_left(call.deadline))

    def crowded(self, call: Waiter, link: Link) -> None:
        """End a call that there is no room for at the link whose turn it is."""
        call.link = link
        call.stage = Stage.QUEUED
        self.fail(call, Overloaded, _CROWDED)

    def overloaded(self, call: Waiter, text: str, others: int, spared: bool) -> None:
        """
        End a call that its member has no room for.

        :param others: how many members did not take it before.
        :param spared: whether there are others, and it is not repeated all the same.
        """
        more = f"; {others} asked before did not take it either" if others else ""
        if spared:
            more += "; no other was asked (rpc_retry_attempts, rpc_retry_budget)"
        self.refused(call, Refusal.OVERLOADED, text + more)

    def crowded_out(self, call: Waiter, waiting: int, size: int) -> None:
        """
        End a call that there is no room for among those that wait for discovery.

        :param waiting: how many those are.
        :param size: how many bytes they have.
        """
        limits = "max_queued_calls, max_queued_bytes"
        text = f"{waiting} calls of {size} bytes wait for the matchmaker's answer about this topic ({limits})"
        self._unless_lost(call, Overloaded, text)

    def returned_too_much(self, call: Waiter) -> None:
        """End a notification that was given back, and that there is no room for among those that rest."""
        limits = "max_queued_calls, max_queued_bytes"
        self.fail(
            call, Overloaded, f"{call.trouble}, as too many before it ({limits}); look at the listeners of the pool"
        )

    def unroutable(
        self, call: Waiter, error: MatchmakerUnavailable | None, recorded: Sequence[Link], stopping: Sequence[Link]
    ) -> None:
        """
        End a call that nobody can take, or nobody else.

        :param error: why the matchmaker did not answer, None when it did.
        :param recorded: the links that records of the target lead to.
        :param stopping: the links to members of the target that are stopping.
        """
        if error is not None and not recorded:
            self._unless_lost(call, MatchmakerUnavailable, f"{MATCHMAKER_AWAY}: {error}")
        else:
            self._unless_lost(call, *self.nobody(call, recorded, stopping))

    def _unless_lost(self, call: Waiter, error: type[DeliveryError], text: str) -> None:
        """End a call for want of somebody to take it; one that was lost before as that, since it may have run."""
        if call.loss is not None:
            self.lost_before(call, call.loss, text)
        else:
            self.fail(call, error, text)

    def nobody(
        self, call: Waiter, recorded: Sequence[Link], stopping: Sequence[Link]
    ) -> tuple[type[DeliveryError], str]:
        """Say why nobody can take a call, and with which error it ends unless it waits; see `unroutable`."""
        if call.crowded:
            return Overloaded, f"{_REFUSED[Refusal.OVERLOADED][1]}, and no other can take it: {call.crowded}"
        if crowded := [self.tell(call, link) for link in recorded if link.state.crowded]:
            return Overloaded, f"{_REFUSED[Refusal.OVERLOADED][1]}, and no other can take it: {first_of(crowded, '; ')}"
        if isinstance(call.target, Pool):
            return self._no_listener(call, call.target, recorded, stopping)
        or_wait = "" if call.wait_for_ready else _OR_WAIT
        if stopping or call.stopping:
            others = [link for link in recorded if link not in stopping and link.key not in call.tried]
            troubles = [self.tell(call, link) for link in stopping] or [call.stopping]
            troubles += [self.tell(call, link) for link in others]
            return Draining, f"{_ALL_STOPPING}{or_wait}: {first_of(troubles, '; ')}"
        if not recorded:
            return NoRoute, f"nobody listens there, start a server or check the name{self._others(call.target)}"
        troubles = [self.tell(call, link) for link in recorded]
        return NoRoute, f"{_NONE_REACHED}{or_wait}: {first_of(troubles, '; ')}"

    def _no_listener(
        self, call: Waiter, pool: Pool, recorded: Sequence[Link], stopping: Sequence[Link]
    ) -> tuple[type[DeliveryError], str]:
        """Say why no listener of a pool takes a notification, and which other pools have some."""
        topic = self._table.known_topic(pool.exchange, pool.topic)
        pools = sorted(each.called for each in (topic.pools if topic is not None else ()) if each != pool)
        others = f"; {pool.topic} is listened to by {first_of(pools, ', ', _MOST_POOLS)}" if pools else ""
        ends = bool(stopping or call.stopping)
        if not recorded and not ends:
            return NoRoute, f"no listener of {pool.called} is there, start one{others}"
        links = [*stopping, *(link for link in recorded if link not in stopping)]
        troubles = first_of([self.tell(call, link) for link in links], "; ") or call.stopping
        if ends:
            return Draining, f"only listeners of {pool.called} that stop are left, start another: {troubles}{others}"
        text = f"no listener of {pool.called} can be reached, look after them or start another"
        return NoRoute, f"{text}: {troubles}{others}"

    def _others(self, target: Target | Pool) -> str:
        """Say who or what is known beside a target where nobody listens; what is known already, asked of nobody."""
        exchange, name = target.exchange or self._settings.control_exchange, target.topic or ""
        topic = self._table.known_topic(exchange, name)
        members = dict.fromkeys(record.member for record in topic.servers()) if topic is not None else {}
        if members:
            return f"; {meant_or_some(target.server or '', members, f'members of {name} are')}"
        others = [each for each in islice(self.served(), _MOST_COMPARED) if each != (exchange, name)]
        elsewhere = [f"{where}/{other}" for where, other in others if other == name]
        if elsewhere:
            return f"; did you mean {elsewhere[0]} (exchange, slash, topic)?"
        known = sorted(other if where == exchange else f"{where}/{other}" for where, other in others)
        hint = meant_or_some(name, known, "topics with servers are")
        return f"; {hint}" if hint else ""

    def unreached(self, call: Waiter, link: Link, reason: str) -> None:
        """End a call that only this link could take, which cannot."""
        call.link = link
        call.stage = Stage.QUEUED
        if link.state.stopping or link.state.crowded:
            error, says = _REFUSED[Refusal.DRAINING if link.state.stopping else Refusal.OVERLOADED]
            self.fail(call, error, f"{says}: {reason}")
        else:
            self.fail(call, NoRoute, f"the member cannot be reached: {reason}")

    def crowded_out_of_publishing(self, call: Waiter, waiting: int) -> None:
        """End a fan-out that there is no room for among those that are to be published."""
        text = f"{waiting} fan-outs wait to be published already (max_queued_calls, max_queued_bytes), try later"
        self.fail(call, Overloaded, text)

    def unpublishable(self, call: Waiter, largest: int, uncertain: bool) -> None:
        """
        End a fan-out that is too large for every publisher.

        :param largest: the most that one of them takes, bytes.
        :param uncertain: whether one that is lost may have published it.
        """
        text = (
            f"no publisher that is up takes so much ({largest} bytes, max_message_size there); set the same everywhere"
        )
        self.fail(call, MessageTooLarge, text, maybe_executed=uncertain)

    def unpublished(self, call: Waiter, trouble: Trouble, missing: str, uncertain: bool) -> None:
        """
        End a fan-out that was not published in time.

        :param missing: which publishers are recorded.
        :param uncertain: whether it may have been published all the same.
        """
        if trouble is Trouble.NO_PUBLISHER:
            self.fail(call, NoRoute, f"{trouble.value}: {missing}", maybe_executed=uncertain)
        elif trouble is Trouble.UNROUTABLE:
            text = f"{trouble.value}, though records say that they subscribe; look whether they reach the publishers"
            self.fail(call, NoRoute, text, maybe_executed=uncertain)
        else:
            text = f"{time_up(call.deadline)}, {trouble.value}"
            self.fail(call, DeadlineExceeded, text, maybe_executed=uncertain)

    # Afterwards

    def refused(self, call: Waiter, reason: Refusal, text: str) -> None:
        """End a call that its member does not take."""
        if reason in _REFUSED:
            error, says = _REFUSED[reason]
            own = self._settings.max_message_size - BATCH_OVERHEAD - RETURN_OVERHEAD
            if reason is Refusal.TOO_LARGE and len(call.encoded) > own:
                says = "it is too large for this client (max_message_size)"
            self.fail(call, error, f"{says}: {text}")
        elif reason in ELSEWHERE:
            self.fail(call, NoRoute, f"the member refused it: {reason.words} {text}")
        else:
            self.fail(call, DeliveryError, f"the member cannot take it: {reason.words} {text}")

    def replied(self, call: Waiter, reply: Reply) -> None:
        """End a call whose method failed; not as *forgotten*, which is a loss."""
        failure = reply.failure
        # It has come to its end there, whatever was heard of it before.
        call.stage = Stage.RUNNING
        if failure is None:
            text = f"the reply has the content type {reply.content_type!r}, which is not known here"
            self.fail(call, EncodingError, text, did_run=True)
            return
        code = FailureCode(failure.code)
        if code in _WITHOUT_RESULT:
            self.fail(call, _WITHOUT_RESULT[code], failure.text, maybe_executed=True, did_run=code in RAN)
        else:
            self._end(call, self._remote(call, code, failure))

    def _remote(self, call: Waiter, code: FailureCode, failure: Failure) -> RemoteError:
        if code is not FailureCode.RAISED:
            call.stage = Stage.ACKNOWLEDGED
        return _REMOTE[code](failure.type_name, failure.text, failure.traceback, self.journey(call))

    def lost(self, call: Waiter, why: str) -> None:
        """End a call that its instance has taken with it."""
        self.fail(call, ServerLost, why, maybe_executed=True)

    def lost_before(self, call: Waiter, loss: Loss, because: str) -> None:
        """
        End a call that its instance has taken with it, and that goes to nobody else though it is idempotent.

        :param because: why not, a clause of a sentence.
        """
        nobody = "no further one" if call.moves else "no other"
        self.lost(call, f"{_as_lost(call, loss)}; {nobody} was asked: {because}")

    def overdue_since_lost(self, call: Waiter, loss: Loss) -> None:
        """End a call that its instance has taken with it, and for which nobody else was found until its deadline."""
        why = _as_lost(call, loss)
        call.trouble = f"{why}; {call.trouble}" if call.trouble else why
        self.overdue([call])

    def overdue(self, calls: Sequence[Waiter], link: Link | None = None) -> None:
        """
        End calls whose deadline has come.

        :param link: where they were, None while that was not known.
        """
        for call in calls:
            handed = call.stage >= Stage.SENT
            stranded = link.stranded if link is not None else ""
            if stranded and not handed:
                self.fail(call, NoRoute, f"{time_up(call.deadline)}, and {stranded}")
                continue
            trouble = f", {call.trouble}" if call.trouble else ""
            if link is not None and link.state.phase is not Phase.UP:
                why = link.state.trouble or f"no WELCOME of the member has come yet{_way(link, ' ')}"
                trouble = f", the link is {link.state.phase.value}: {why}"
            elif link is not None and link.state.mute:
                trouble = f", {_unheard(link)}"
            self.fail(call, DeadlineExceeded, f"{time_up(call.deadline)}{trouble}", maybe_executed=handed)

    def given_up(self, calls: Sequence[Waiter], link: Link) -> None:
        """End calls that were sent as often as allowed, and never acknowledged."""
        for call in calls:
            text = f"sent {call.attempts} times and never acknowledged, look at the member"
            self.fail(call, NotAcknowledged, text, maybe_executed=True)

    def cancelled(self, call: Waiter) -> None:
        """End a call that its caller does not want any more."""
        self.fail(call, Cancelled, "its caller cancelled it", maybe_executed=call.stage >= Stage.SENT)

    def stopped(self, call: Waiter) -> None:
        """End a call whose node stops."""
        self.fail(call, ClientClosed, "the client was stopped", maybe_executed=call.stage >= Stage.SENT)


def gone(reason: str) -> str:
    """Say that an instance is not there any more."""
    return f"the instance that had it is gone: {reason}"


def _as_lost(call: Waiter, loss: Loss) -> str:
    """Have a call tell who had it and how far it got there, wherever it was to go since; return how it was lost."""
    call.link, why, call.sequence, call.stage = loss
    return why


def _way(link: Link, before: str = ", ") -> str:
    """Name the router proxy that a link goes through; empty when it goes through none."""
    proxy = link.carrier.proxy(link)
    return f"{before}through router proxy {proxy}" if proxy is not None else ""


def _unheard(link: Link) -> str:
    """Say who may be the cause when no PING is answered."""
    way = _way(link, " ")
    if way:
        return f"no PING is answered{way} either: that proxy or the member is stopped, blocked or cut off"
    return "the member answers no PING either: it is stopped, blocked or cut off"
