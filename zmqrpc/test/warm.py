"""
Processes of tests that need not start an interpreter: forks of one that has imported already what our commands import.

An interpreter that is to be `twistd` or `zmqrpc` uses 0.4 s of a processor before it does anything. A fork has
arguments, environment, directory, standard streams and a reactor of its own, and ends as an interpreter does. What it
cannot show is that its modules can be imported: `zmqrpc.test.test_warm`, and those that install zmqrpc or follow the
documentation, start interpreters too.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import IO, NoReturn

Stream = int | IO[str] | IO[bytes]

LIMIT = 30
"""Seconds within which there must be a fork; reached only by a failure."""

IMPORTED = (
    "asyncio",
    "sqlite3",
    *("twisted.application.app", "twisted.application.reactors", "twisted.application.twist._twist"),
    *("twisted.internet.asyncioreactor", "twisted.internet.epollreactor", "twisted.internet.pollreactor"),
    *("twisted.internet.selectreactor", "twisted.internet.endpoints", "twisted.internet.threads"),
    *("twisted.python.logfile", "twisted.python.syslog", "twisted.scripts.twistd"),
    *("zmqrpc.node", "zmqrpc.reactor_zmq"),
)
"""What is imported; nothing that makes a reactor, which each fork chooses."""
PACKAGES = ("zmqrpc.cli", "zmqrpc.connections", "zmqrpc.core", "zmqrpc.matchmaker", "zmqrpc.proxy", "zmqrpc.tap")
"""Of these each module is, but those that need `_REACTOR`."""

_REACTOR = "twisted.internet.reactor"

_PYTHON = [sys.executable, "-P", "-c"]
_SERVE = "from zmqrpc.test.warm import serve; exec(serve({}))"
_READ_AT_THE_START = ("PYTHON", "COVERAGE_", "LANG", "LC_", "LD_")
"""How the variables begin that are heeded only when an interpreter starts."""


class WarmInterpreter:
    """
    An interpreter that has imported everything, and forks. It starts when it is first needed.

    :param environment: what it is started with.
    :param prefix: the words of a command that runs it, for example elsewhere.
    :param imported: names of modules that it imports as well.
    """

    def __init__(self, environment: Mapping[str, str], *prefix: str, imported: Sequence[str] = ()) -> None:
        self._environment = dict(environment)
        self._imported = imported
        self.prefix = prefix
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def can_run(self, words: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Tell whether a fork would be the same as this: ``python -P -c CODE ...``, in an environment like its own."""
        return (
            list(words[:3]) == _PYTHON
            and _heeded(environment) == _heeded(self._environment)
            and "COVERAGE_PROCESS_START" not in environment
        )

    def run(
        self, words: Sequence[str], directory: Path, environment: Mapping[str, str], streams: Iterable[Stream]
    ) -> Fork:
        """
        Run such a command.

        :param streams: its standard input, output and error.
        """
        if self._control is None:
            self._start()
        assert self._control is not None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        order = {"words": words[3:], "directory": str(directory), "environment": dict(environment)}
        given = [stream if isinstance(stream, int) else stream.fileno() for stream in streams]
        with theirs:
            socket.send_fds(self._control, [json.dumps(order).encode()], [*given, theirs.fileno()])
        return Fork(words, ours)

    def close(self) -> None:
        """End it, and what it has forked."""
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait(LIMIT)
            self._control = self._process = None

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Whole orders have to fit.
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with theirs:
            words = [*self.prefix, *_PYTHON, _SERVE.format(", ".join(map(repr, self._imported)))]
            self._process = subprocess.Popen(
                words, env=self._environment, stdin=theirs.fileno(), stdout=subprocess.DEVNULL
            )
        atexit.register(self.close)


def _heeded(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_THE_START)}


class Fork:
    """
    What `subprocess.Popen` is for a process of one's own, as far as tests need it.

    :ivar returncode: None until its end was seen by `poll` or `wait`.
    """

    def __init__(self, words: Sequence[str], status: socket.socket) -> None:
        self.args = words
        self.returncode: int | None = None
        self._status = status
        status.settimeout(LIMIT)
        told, descriptors, _, _ = socket.recv_fds(status, 100, 1)
        if not descriptors:
            raise AssertionError("the interpreter that forks has ended; it says why on standard error")
        self.pid = int(told)
        # Its number may be somebody else's once it has ended, and this never is.
        (self._itself,) = descriptors

    def poll(self) -> int | None:
        """Return its status, None when it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its status; fail with `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                told = self._status.recv(100)
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0) from None
            self._status.close()
            os.close(self._itself)
            self.returncode = int(told)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal it, if it has not ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._itself, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def serve(*imported: str) -> str:
    """
    Be the interpreter that forks, until standard input is closed.

    :param imported: names of modules that it imports as well.
    :return: in each fork: the code that it is to run, when everything about it is as that expects.
    """
    # Ctrl-C goes to all processes of a terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in (*IMPORTED, *imported):
        import_module(name)
    sys.modules[_REACTOR] = None  # type: ignore[assignment]
    for name in PACKAGES:
        for module in iter_modules(import_module(name).__path__, f"{name}."):
            with suppress(ImportError):
                if not module.name.endswith("__main__"):
                    import_module(module.name)
    del sys.modules[_REACTOR]
    gc.collect()
    gc.freeze()
    return _Forking().serve()


class _Forking:
    """:ivar _running: the process of each descriptor that stands for one, and the descriptor to tell its end to."""

    def __init__(self) -> None:
        self._control = socket.socket(fileno=0)
        self._running: dict[int, tuple[int, int]] = {}
        # Of all ways to wait this is the one that has no descriptor which forks would inherit.
        self._waiting = select.poll()
        self._waiting.register(0, select.POLLIN)

    def serve(self) -> str:
        while True:
            for descriptor, _ in self._waiting.poll():
                if descriptor:
                    self._ended(descriptor)
                    continue
                order, descriptors, _, _ = socket.recv_fds(self._control, 1 << 20, 4)
                if not order:
                    self._end()
                code = self._fork(json.loads(order), *descriptors)
                if code is not None:
                    return code

    def _fork(self, order, stdin: int, stdout: int, stderr: int, status: int) -> str | None:
        pid = os.fork()
        if pid:
            itself = os.pidfd_open(pid)
            self._running[itself] = pid, status
            self._waiting.register(itself, select.POLLIN)
            with socket.socket(fileno=os.dup(status)) as told, suppress(BrokenPipeError):
                socket.send_fds(told, [str(pid).encode()], [itself])
            for given in (stdin, stdout, stderr):
                os.close(given)
            return None
        self._control.detach()
        for number, given in enumerate((stdin, stdout, stderr)):
            os.dup2(given, number)
        for itself, (_, other) in self._running.items():
            os.close(itself)
            os.close(other)
        for given in (stdin, stdout, stderr, status):
            os.close(given)
        return _become(**order)

    def _ended(self, itself: int) -> None:
        pid, status = self._running.pop(itself)
        self._waiting.unregister(itself)
        _, told = os.waitpid(pid, 0)
        os.close(itself)
        with suppress(BrokenPipeError):
            os.write(status, str(os.waitstatus_to_exitcode(told)).encode())
        os.close(status)

    def _end(self) -> NoReturn:
        for itself, (pid, _) in list(self._running.items()):
            os.kill(pid, signal.SIGKILL)
            self._ended(itself)
        os._exit(0)


def _become(words: list[str], directory: str, environment: dict[str, str]) -> str:
    code, *arguments = words
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = ["-c", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return code
