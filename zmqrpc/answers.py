"""
What instances say on links, and what comes back from the way to them.

Results are not here: `zmqrpc.links.Links` takes those itself, since they are most of what comes in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zmqrpc.core.batch import Batch
from zmqrpc.core.envelope import Ack, Beat, Goaway, Hello, Nack, Pong, Refusal, Reply, Request, Welcome, encode_message
from zmqrpc.core.link import Phase
from zmqrpc.core.ranges import flatten
from zmqrpc.core.ways import Identity
from zmqrpc.core.welcome import misfit_of
from zmqrpc.link import Link
from zmqrpc.outbox import RETRY_FULL

if TYPE_CHECKING:
    from zmqrpc.links import Links

_ABOUT_LINK = frozenset((Welcome, Goaway, Pong, Hello))
NO_WELCOME = frozenset((Refusal.BAD_VERSION, Refusal.OVERLOADED))
"""With which HELLO is refused, in a NACK without ranges."""

_FORGETFUL = frozenset((Refusal.WRONG_INSTANCE, Refusal.OVERLOADED))


class Answers:
    """
    The answers of all instances.

    :param links: the links of the node.
    """

    def __init__(self, links: Links) -> None:
        self._links = links

    def take(self, link: Link, message: Any, identity: Identity, now: float) -> None:
        """
        Take one message that is neither a REPLY with a result nor a WELCOME.

        :param link: the link of whom it is from.
        :param identity: what it came by.
        """
        kind = type(message)
        state = link.state
        if kind in _ABOUT_LINK and identity != state.identity:
            # A connection that is being dropped is read to its end; it still answers calls, and says nothing else.
            return
        if kind is Reply:
            call = link.pending.take(message.sequence, now)
            if call is None:
                self._links.notices.count("late_reply")
            else:
                self._links.user.replied(call, message)
        elif kind is Ack:
            ended = link.pending.acknowledged(message.ranges, now)
            link.named()
            if ended:
                self._links.user.acknowledged(ended)
        elif kind is Beat:
            link.pending.running(message.ranges, now)
            link.named()
        elif kind is Pong:
            if state.ponged(now, message.token):
                link.all_arrived()
        elif kind is Nack:
            self._refused(link, message, now)
        elif kind is Goaway:
            if state.phase is not Phase.LEAVING:
                # In kind: nothing new follows, so the peer need not wait for it. Else that is said already.
                link.write(encode_message(Goaway()), now)
            link.perform(state.going_away(now, message.text), now)
        elif kind is Hello:
            # A connect within the ephemeral range of this machine can reach itself.
            self._links.connection_lost(state.identity, "connected to itself")
        else:
            self._links.notices.count("unexpected", "{peer} sent a {kind}", link.address, kind=kind.__name__)

    def _refused(self, link: Link, nack: Nack, now: float) -> None:
        reason = Refusal(nack.reason)
        if reason in NO_WELCOME and link.state.phase is Phase.CONNECTING and not nack.ranges:
            if reason is Refusal.OVERLOADED:
                link.state.turned_away()
            self._links.connection_lost(link.state.identity, nack.text or reason.words)
            return
        if reason is Refusal.WRONG_INSTANCE and link.state.phase is Phase.CONNECTING:
            # It never answers HELLO. A proxy that was stopped has brought what this way carried before; that may have
            # gone another way since, and is asked for once more when WELCOME comes.
            self._links.notices.count("stray")
            return
        text = nack.text or reason.words
        calls = link.pending.within(nack.ranges)
        if calls and reason is Refusal.EXPIRED:
            # A call whose time is up by our clock is not here any more.
            link.perform(link.state.refused_early(now), now)
        for call in calls:
            if link.pending.take(call.sequence, now) is None:
                # The errback of one before it cancelled it.
                continue
            if reason is Refusal.WRONG_INSTANCE and call.attempts == 1:
                # Whether the instance is still there shows in a moment: the connection is made anew.
                link.requeue(call)
            elif call.attempts > 1 and reason in _FORGETFUL:
                # It refuses this repetition; what it did with the message before, it does not know.
                self._links.user.lost([call], link, f"its repetition was refused: {text}")
            else:
                self._links.user.refused(call, link, reason, nack.text)
        if reason is Refusal.WRONG_INSTANCE:
            self._links.connection_lost(link.state.identity, "the peer does not know this connection")

    def welcomed(self, link: Link, welcome: Welcome, source: bytes, identity: Identity, now: float) -> None:
        """Take a WELCOME; not from within a pass, since that of another instance drops the connection."""
        state = link.state
        if identity != state.identity:
            return
        opens = state.phase is Phase.CONNECTING
        # Asked only now: a record may have changed since the link was made, and others may lead to its address.
        misfit = misfit_of(welcome, self._links.user.promised(link), by_target=opens and state.learns)
        if misfit and not opens:
            self._links.notices.count("unexpected", "{peer} said WELCOME again: {misfit}", link.address, misfit=misfit)
            return
        if opens and not misfit:
            misfit = self._links.numbering.claim(link, source)
        effects = state.welcome(now, source, now - welcome.echoed / 1000, misfit)
        if state.phase in (Phase.UP, Phase.DRAINING):
            link.learn(frozenset(welcome.targets), welcome.limits)
        link.perform(effects, now)

    def returned(self, link: Link, batch: Batch, reason: Refusal, text: str, now: float) -> None:
        """
        Take that a proxy gave back a batch of a link; not from within a pass.

        :param reason: OVERLOADED and TOO_LARGE refuse the calls; any other loses the connection.
        """
        numbers = flatten([message.sequence for message in batch.messages if isinstance(message, Request)])
        calls = link.pending.within(numbers)
        refuses = reason in (Refusal.OVERLOADED, Refusal.TOO_LARGE)
        if reason is Refusal.TOO_LARGE and len(calls) > 1:
            # Each may be small enough by itself; the limit of the instance at this proxy is not known here. One by one,
            # so that none comes back again when the next batch has come back, and what is in that has passed it by.
            link.write_singly()
            refuses = False
        for call in calls:
            if call.attempts > 1:
                # An earlier copy may have arrived: only its instance can tell.
                if reason is Refusal.OVERLOADED:
                    link.pending.undelivered(call, now + RETRY_FULL)
                    self._links.wake_by(link, link.pending.wake_at)
            elif link.pending.take(call.sequence, now) is not None:
                if refuses:
                    self._links.user.refused(call, link, reason, text)
                else:
                    link.requeue(call)
        if reason not in (Refusal.OVERLOADED, Refusal.TOO_LARGE):
            self._links.connection_lost(link.state.identity, text)
        elif link.queue:
            self._links.dirty.append(link)
            self._links.kick()
        link.refresh()
