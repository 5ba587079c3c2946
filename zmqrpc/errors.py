"""
Every error that zmqrpc raises.

::

    ZmqRpcError
      ConfigError                   settings, a URL or a name could not be accepted; nothing was started
        PortRangeExhausted          no port of the configured range could be bound
      DeliveryError                 how a call ended without an answer from the method
        NoRoute                     nobody listens on the target, or nobody who does can be reached
        MatchmakerUnavailable       the name service did not answer, and nothing is known from before
        NotAcknowledged             every retry went unanswered
        DeadlineExceeded            the time was up (also a TimeoutError)
        ServerLost                  the instance that had the message is gone
        Overloaded                  a bounded queue or window is full
        Draining                    who could take it is stopping
        MessageTooLarge             the encoded message is over a limit of the sender or of the peer
        EncodingError               a value cannot cross the wire
        AuthenticationFailed        the peer refused our key
        Cancelled                   the caller cancelled it (also a CancelledError)
        ClientClosed                the client was stopped while it waited
      ProtocolError
        LocalProtocolError          our code asked for something the protocol does not allow
        RemoteProtocolError         a peer sent what cannot be accepted
      RemoteError                   the method raised; carries type name, text and, when allowed, the traceback
        NoSuchMethod                the endpoint has no such exposed method; it did not run
        InvalidArguments            the arguments do not fit the method; it did not run
        UnsupportedVersion          no endpoint serves the namespace in that version; it did not run
        AccessDenied                the caller may not call the method; it did not run

Every error a call can end with has `maybe_executed`: False says that the method did not run, True that it may have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
from twisted.internet.defer import CancelledError


class ZmqRpcError(Exception):
    """The root of every error of zmqrpc."""

    maybe_executed: bool = False


class ConfigError(ZmqRpcError):
    """
    A setting, URL or name cannot be accepted; the text says which and what is valid.

    :ivar options: names of the options that are at fault, for who knows where they were set; may be empty.
    """

    def __init__(self, *args: object, options: tuple[str, ...] = ()) -> None:
        super().__init__(*args)
        self.options = options

    def located(self, origins: Mapping[str, str], written: Mapping[str, str] | None = None) -> ConfigError:
        """
        Return the error with where its options were set, and as they are written there.

        :param origins: where each option was set, by name; what is missing, or ``default``, was not.
        :param written: what each option is called there, where that is not its name.
        """
        text, written = str(self), written or {}
        for name in self.options:
            text = text.replace(f"option {name} ", f"option {written.get(name, name)} ")
        places = [(written.get(name, name), origins.get(name, "default")) for name in self.options]
        shown = [f"{name}: {place}" if len(places) > 1 else place for name, place in places if place != "default"]
        # The new one names no options, so that this is said once.
        return type(self)(f"{text} ({'; '.join(shown)})") if shown else self


class PortRangeExhausted(ConfigError):
    """No port of the configured range could be bound; the text names the range and the number of tries."""


@attrs.frozen
class Journey:
    """
    How far a message got: the facts a person needs to find it in a log.

    :ivar target: where it was sent, as text.
    :ivar member: the member it was handed to, None before one was chosen.
    :ivar address: that member's address, None before one was chosen.
    :ivar message_id: client instance, server instance and sequence, or empty before they are known.
    :ivar stage: ``resolving``, ``queued``, ``sent``, ``acknowledged`` or ``running``.
    :ivar record_age: age in seconds of the record it was routed by, None when none is left, or none is told.
    :ivar through: host name and address of the router proxy on the way to the member, None where there is none.
    :ivar recorded: whether that record is there, be its age told or not.
    """

    target: str
    member: str | None = None
    address: str | None = None
    message_id: str = ""
    stage: str = "queued"
    record_age: float | None = None
    through: str | None = None
    recorded: bool = False

    def __str__(self) -> str:
        """Return the facts as one clause of a sentence."""
        facts = [f"target {self.target}"]
        if self.member is not None:
            facts.append(f"member {self.member}")
        if self.address is not None:
            facts.append(f"at {self.address}")
        if self.through is not None:
            facts.append(f"through router proxy {self.through}")
        if self.message_id:
            facts.append(f"message {self.message_id}")
        facts.append(f"stage {self.stage}")
        if self.address is not None or self.record_age is not None:
            facts.append(record_in_words(self.record_age, self.recorded))
        return ", ".join(facts)


def record_in_words(age: float | None, recorded: bool) -> str:
    """
    Say what is known of a record.

    :param age: in seconds; None where nobody tells it.
    :param recorded: whether it is there all the same.
    """
    if age is not None:
        return f"record {age:.1f} s old"
    return "record of unknown age" if recorded else "its record is gone"


class DeliveryError(ZmqRpcError):
    """
    A message did not bring back an answer of the method.

    :ivar reason: what happened and what to do, one sentence.
    :ivar journey: how far the message got; None where none was made.
    :ivar maybe_executed: whether the method may have run.
    :ivar did_run: whether it is known that it ran to its end, and only its answer could not be had.
    """

    def __init__(
        self, reason: str, journey: Journey | None = None, maybe_executed: bool = False, did_run: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.journey = journey
        self.maybe_executed = maybe_executed or did_run
        self.did_run = did_run

    def __str__(self) -> str:
        """Return the reason, the journey and whether the method ran or may have run."""
        if self.journey is None:
            return self.reason
        return f"{self.reason} ({self.journey}; {_ran(self)})"


def _ran(error: DeliveryError | RemoteError) -> str:
    if error.did_run:
        return "it ran"
    return "it may have run" if error.maybe_executed else "it did not run"


class NoRoute(DeliveryError):
    """Nobody listens on the target, or nobody who is recorded there can be reached."""


class MatchmakerUnavailable(DeliveryError):
    """The matchmaker did not answer, so nobody knows who listens; distinct from `NoRoute`."""


class NotAcknowledged(DeliveryError):
    """The message was sent as often as allowed and never acknowledged."""


class DeadlineExceeded(DeliveryError, TimeoutError):
    """
    The time given for the call was up.

    :ivar inherited: whether that was the time of the caller of the method that made it, as the text says.
    """

    inherited: bool = False


class ServerLost(DeliveryError):
    """The instance that had the message is gone or silent, has cancelled it, or does not keep its answer any more."""


class Overloaded(DeliveryError):
    """A bounded queue or window, here or at the member, is full; slow down or add members."""


class Draining(DeliveryError):
    """Only members that are stopping could take it, and they take nothing new."""


class MessageTooLarge(DeliveryError):
    """The encoded message is larger than the sender or the peer accepts."""


class EncodingError(DeliveryError):
    """A value cannot cross the wire; the text names where it stands and what is allowed."""


class AuthenticationFailed(DeliveryError):
    """The peer refused our key."""


class Cancelled(DeliveryError, CancelledError):
    """The caller cancelled the call."""


class ClientClosed(DeliveryError):
    """The client was stopped while the call waited."""


class ProtocolError(ZmqRpcError):
    """Bytes or calls that the protocol does not allow; only its subclasses are raised."""


class LocalProtocolError(ProtocolError):
    """Our own code asked for something the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """A peer sent what cannot be accepted: malformed frames, or a wire version we do not speak."""


class RemoteError(ZmqRpcError):
    """
    The method was reached and did not return a value.

    :ivar type_name: the name of the exception's class at the server.
    :ivar message: its text.
    :ivar traceback: its traceback as text, empty unless the server sends them.
    :ivar journey: the facts of the call; None until the client adds them.
    """

    maybe_executed: bool = True
    did_run: ClassVar[bool] = True

    def __init__(self, type_name: str, message: str, traceback: str = "", journey: Journey | None = None) -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.journey = journey
        self.maybe_executed = self.did_run

    def __str__(self) -> str:
        """Return the remote type and text, the facts of the call, and whether the method ran."""
        text = f"{self.type_name}: {self.message}" if self.message else self.type_name
        if self.journey is None:
            return text
        return f"{text} ({self.journey}; {_ran(self)})"


class NoSuchMethod(RemoteError):
    """The server has no such exposed method in that namespace; it did not run."""

    did_run = False


class InvalidArguments(RemoteError):
    """The arguments do not fit the method's parameters; it did not run."""

    did_run = False


class UnsupportedVersion(RemoteError):
    """No endpoint of the namespace serves that version (major equal, minor at least); it did not run."""

    did_run = False


class AccessDenied(RemoteError):
    """The caller may not call the method; it did not run."""

    did_run = False
