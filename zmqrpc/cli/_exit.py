"""What the exit status of `zmqrpc` says."""

from __future__ import annotations

from enum import IntEnum

from zmqrpc import errors


class Exit(IntEnum):
    """The exit statuses; they never change their meaning."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    NOBODY_LISTENS = 3
    DEADLINE = 4
    METHOD_FAILED = 5
    NO_MATCHMAKER = 6
    REFUSED = 7
    OUTCOME_UNKNOWN = 8
    INTERRUPTED = 130
    """What shells report for a command that Ctrl-C has ended."""
    READER_LEFT = 141
    """What shells report for a command whose output nobody reads any more, as `head` has seen enough."""


MEANINGS = {
    Exit.DONE: "done",
    Exit.UNEXPECTED: "something unexpected",
    Exit.USAGE: "the command line or a setting is not valid, or the arguments cannot be sent",
    Exit.NOBODY_LISTENS: "nobody listens (NoRoute)",
    Exit.DEADLINE: "the time was up (DeadlineExceeded)",
    Exit.METHOD_FAILED: "the method raised, or refused its arguments",
    Exit.NO_MATCHMAKER: "the matchmaker does not answer, or refuses to (MatchmakerUnavailable)",
    Exit.REFUSED: "refused: overloaded, stopping, authentication, access",
    Exit.OUTCOME_UNKNOWN: "outcome unknown (ServerLost, NotAcknowledged)",
    Exit.INTERRUPTED: "interrupted with Ctrl-C; the call was cancelled",
    Exit.READER_LEFT: "whoever read the output has left, such as head",
}
"""For the help, the manual page and the reference."""

_EXITS: tuple[tuple[type[Exception], Exit], ...] = (
    (errors.ConfigError, Exit.USAGE),
    (errors.NoRoute, Exit.NOBODY_LISTENS),
    (errors.DeadlineExceeded, Exit.DEADLINE),
    (errors.MatchmakerUnavailable, Exit.NO_MATCHMAKER),
    (errors.AccessDenied, Exit.REFUSED),
    (errors.Overloaded, Exit.REFUSED),
    (errors.Draining, Exit.REFUSED),
    (errors.AuthenticationFailed, Exit.REFUSED),
    (errors.RemoteError, Exit.METHOD_FAILED),
    (errors.ServerLost, Exit.OUTCOME_UNKNOWN),
    (errors.NotAcknowledged, Exit.OUTCOME_UNKNOWN),
    (errors.Cancelled, Exit.INTERRUPTED),
)
"""The first that fits; `AccessDenied` is before `RemoteError`, which it is too."""


def exit_for(error: Exception) -> Exit:
    """Tell the exit status for an error."""
    if isinstance(error, (errors.EncodingError, errors.MessageTooLarge)):
        # The arguments could not be sent; or, when it ran, the result could not.
        return Exit.METHOD_FAILED if error.maybe_executed else Exit.USAGE
    for kind, status in _EXITS:
        if isinstance(error, kind):
            return status
    return Exit.UNEXPECTED
