"""Start the processes of one contender, have its client measure, and never leave one behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.brokers import BROKERS, ContenderFailed
from bench.rows import Contender
from bench.work import Figures, Order

ROOT = Path(__file__).resolve().parent.parent
START, FOR_EACH, FOR_MEMBER = 20.0, 3.0, 0.01
"""Seconds that servers have to say where they listen, and as many more for each of them, and for each member."""
FINISH = 600.0
"""Seconds a client has to answer beyond those it measures for, and a second more for each server."""


@contextlib.contextmanager
def process(
    words: Sequence[str], directory: str, cores: Iterable[int] = (), root: Path = ROOT, *, talks: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """
    Run a command for as long as the context lasts; its standard error goes to a file.

    :param cores: where it may run; empty is anywhere.
    :param root: the checkout it runs in, whose packages it imports.
    :param talks: whether its standard output is read; otherwise that goes to the file too.
    """

    def prepare() -> None:
        # PR_SET_PDEATHSIG: Linux kills the child when the harness is gone, however it went.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        # Some have thousands of connections. Not without end: Erlang has a table with a place for each.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        most = 65535 if hard == resource.RLIM_INFINITY else min(hard, 65535)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        if cores:
            os.sched_setaffinity(0, cores)

    with open(Path(directory, "errors"), "a+") as errors:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else errors,
            stderr=errors,
            text=True,
            cwd=root,
            preexec_fn=prepare,
        )
        try:
            yield child
        finally:
            child.kill()  # works on a stopped process too; nothing here has anything to lose
            child.wait()
            if child.stdout:
                child.stdout.close()


@contextlib.contextmanager
def no_orphans() -> Iterator[None]:
    """
    End what children of ours have started and left, when the context ends.

    Linux kills these with whoever started them, but not at once: they would write into a directory that is removed.
    """
    # PR_SET_CHILD_SUBREAPER: they become children of ours.
    ctypes.CDLL(None).prctl(36, 1)
    try:
        yield
    finally:
        while children := _children():
            for pid in children:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)


def _children() -> list[int]:
    return [
        int(pid) for task in Path("/proc/self/task").iterdir() for pid in Path(task, "children").read_text().split()
    ]


def _python(module: str, role: str, order: Order) -> list[str]:
    return [sys.executable, "-m", module, role, order.to_json()]


def _address(server: subprocess.Popen[str], seconds: float) -> str:
    assert server.stdout is not None
    if not select.select([server.stdout], [], [], max(0.0, seconds))[0]:
        raise ContenderFailed("a server did not say in time where it listens")
    line = server.stdout.readline()
    if not line:
        raise ContenderFailed("a server died while it started")
    return str(json.loads(line)["address"])


def measure(contender: Contender, order: Order, *, pin: bool = False, root: Path = ROOT) -> Figures:
    """
    Start what a contender consists of, let its client measure as `order` says, stop all, and return what it answered.

    :param pin: keep the server on the first core of the machine and the client on the last.
    :param root: the checkout that both run in.
    :raises ContenderFailed: no figures came.
    """
    cores = sorted(os.sched_getaffinity(0)) if pin else []
    directories = tempfile.TemporaryDirectory(prefix="zmqrpc-bench-")
    with directories as directory, no_orphans(), contextlib.ExitStack() as stack:
        try:
            order.address = order.directory = directory
            order.topology = contender.topology
            order.store = contender.store
            if contender.broker:
                broker = BROKERS[contender.broker]
                for command in broker.commands(contender, order):
                    order.brokers.append(stack.enter_context(process(command, directory, talks=False)).pid)
                order.address = broker.address(order)
            servers = []
            for part in range(order.servers):
                words = _python(contender.server, "server", replace(order, part=part))
                servers.append(stack.enter_context(process(words, directory, cores[:1], root)))
            until = time.monotonic() + START + FOR_EACH * len(servers) + FOR_MEMBER * order.members
            for server in servers:
                order.address = _address(server, until - time.monotonic())
            order.pids = [server.pid for server in servers]
            words = _python(contender.client, "client", order)
            client = stack.enter_context(process(words, directory, cores[-1:], root))
            finish = FINISH + order.seconds + len(servers)
            try:
                output, _ = client.communicate(timeout=finish)
            except subprocess.TimeoutExpired:
                raise ContenderFailed(f"the client did not answer within {finish:.0f} s") from None
            if client.returncode:
                raise ContenderFailed(f"the client ended with status {client.returncode}")
            figures: Figures = json.loads(output)
        except ContenderFailed as error:
            raise ContenderFailed(f"{error}{last_words(directory)}") from None
    return figures


def last_words(directory: str) -> str:
    """Return the last lines that processes with this directory have written to their standard error."""
    errors = Path(directory, "errors")
    lines = errors.read_text(errors="replace").strip().splitlines() if errors.exists() else []
    return "".join(f"\n    | {line}" for line in lines[-15:])


class Neighbours:
    """How much of the machine others used since this was made."""

    def __init__(self) -> None:
        self._started, self._busy = time.monotonic(), self._others()

    @staticmethod
    def _others() -> float:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        idle = fields[3] + fields[4]
        ours = sum(os.times()[:4])  # with the processes that have ended, which is all that were started
        return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK") - ours

    def cores(self) -> float:
        """Return how many cores they kept busy, on average."""
        return max(0.0, (self._others() - self._busy) / (time.monotonic() - self._started))
