"""What threads have done in a reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def hand_over(reactor: Any, act: Callable[..., object], *arguments: object) -> None:
    """
    Have something done in a reactor of ours, from any thread; as `callFromThread`, and quicker.

    Hot path: to wake the reactor up is a call of the system. It is woken once for what is first in its queue; what
    comes after that is looked for afterwards (`ReactorBase.runUntilCurrent`). What tells the first from others is the
    dict that it is called with, which holds nothing of it.
    """
    queue = reactor.threadCallQueue
    queue.append((act, arguments, {}))
    for _, _, first in queue[:1]:
        if first is not getattr(reactor, "woken_for", None):
            reactor.wakeUp()
            # Not before: in the main thread a signal handler may raise here, and all that comes later would wait.
            reactor.woken_for = first
