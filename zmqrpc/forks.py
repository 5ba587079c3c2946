"""
What becomes of started nodes in a process that is forked from theirs: they are of no use there (docs/adr/0040).

Sockets of ZeroMQ do not work in a fork, and what else is open belongs to the parent: its connections, its files, the
queue of events of its reactor. So nothing of it is read, written or closed there, and the nodes are kept for ever. A
fork that comes back into the reactor of its parent would do all of that; it ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import RLock
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from twisted.python.failure import Failure

_started: WeakKeyDictionary[Any, Callable[[Any, str], None]] = WeakKeyDictionary()
_kept: list[Any] = []
_in_each: list[Callable[[], object]] = []


def started(node: Any, forked: Callable[[Any, str], None]) -> None:
    """
    Tell a node, in a fork of its process, to refuse everything and to touch nothing.

    :param forked: called with the node, and with what to say to whoever uses it.
    """
    # In a fork of which nobody told, this one is not of the parent.
    begin_if_forked()
    _started[node] = forked


def stopped(node: Any) -> None:
    """Take that a node has given back all that it had."""
    _started.pop(node, None)


def in_each_fork(act: Callable[[], object]) -> None:
    """Have something done in each fork of this process, as soon as that exists."""
    _in_each.append(act)


def begin_if_forked() -> None:
    """Do what is to be done in a fork of which Python was not told, if this is one, as uWSGI makes them; 0.1 us."""
    if os.getpid() != _process.pid:
        _process.begin_once()


class _Process:
    """
    The process this is, which may fork, and may be a fork.

    :ivar pid: its own, or that of its parent, as long as not all is done that is to be done in a fork.
    :ivar forks: whether Python is about to fork: the fork may have the pid of its parent, in a name space of its own.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.forks = False
        self._lock = RLock()
        self._to_do: list[Callable[[], object]] = []

    def before(self) -> None:
        self.forks = True

    def after(self) -> None:
        self.forks = False

    def in_fork(self) -> None:
        # A thread that is not here may have held that of the parent.
        self._lock = RLock()
        if self.forks:
            self.forks = False
            self._begin()
        else:
            begin_if_forked()

    def begin_once(self) -> None:
        with self._lock:
            # Another thread may have done it.
            if os.getpid() != self.pid:
                self._begin()

    def _begin(self) -> None:
        process = os.getpid()
        if not self._to_do:
            self._to_do = self._all_to_do(process)
        # A signal handler, or an object that is collected, may come here in between: it does the rest.
        while self._to_do:
            self._to_do.pop(0)()
        # Last: who sees it needs all the rest.
        self.pid = process

    def _all_to_do(self, process: int) -> list[Callable[[], object]]:
        text = (
            f"this node was started in process {self.pid} and is of no use in process {process}, a fork of it; make a "
            "new Node in a new interpreter (multiprocessing's spawn, or subprocess)"
        )
        nodes = list(_started.items())
        _started.clear()
        _kept.extend(nodes)
        # There is something left as long as the last of them is under way.
        return [*(partial(forked, node, text) for node, forked in nodes), *_in_each, _nothing]


def _nothing() -> None:
    pass


_process = _Process()

os.register_at_fork(before=_process.before, after_in_parent=_process.after, after_in_child=_process.in_fork)


def leaving(reactor: Any) -> None:
    """Have a fork end when it comes back into a reactor that ran in its parent."""
    if reactor.running:
        reactor.doIteration = leave
        # What ends a reactor ends what it waits for, which is the parent's as well.
        reactor.fireSystemEvent = leave
        # The reactor of asyncio has no iterations.
        reactor.callLater(0, leave)


def leave(*outcome: object) -> NoReturn:
    """
    End a fork that has come back.

    :param outcome: of what it did; with a `SystemExit` in it the fork ends as that says, and in silence.
    """
    for error in (each.value for each in outcome if isinstance(each, Failure)):
        if isinstance(error, SystemExit):
            end(error)
    _say(
        f"zmqrpc: process {os.getpid()} is a fork and came back into the reactor of its parent, which is not its own; "
        "it ends here. End a fork with os._exit, or start a new interpreter instead\n"
    )
    os._exit(1)


def end(error: SystemExit) -> None:
    """Have a fork end as its `SystemExit` says; does nothing in a process where no node of its parent was running."""
    if not _kept:
        return
    code = error.code
    if code is not None and not isinstance(code, int):
        _say(f"{code}\n")
        code = 1
    os._exit((code or 0) & 0xFF)


def _say(text: str) -> None:
    with suppress(OSError):
        os.write(2, text.encode(errors="replace"))
