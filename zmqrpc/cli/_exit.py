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
