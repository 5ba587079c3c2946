"""Start the processes of one contender, have its client measure, and never leave one behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.work import Figures, Order

ROOT = Path(__file__).resolve().parent.parent
START = 20.0
"""Seconds a server has to say where it listens."""
FINISH = 60.0
"""Seconds a client has to answer."""


class ContenderFailed(Exception):
    """A process of a contender did not start, did not answer in time, or died; the text says which and why."""


@contextlib.contextmanager
def process(
    words: Sequence[str], directory: str, cores: Iterable[int] = (), root: Path = ROOT
) -> Iterator[subprocess.Popen[str]]:
    """
    Run a command for as long as the context lasts; its standard error goes to a file.

    :param cores: where it may run; empty is anywhere.
    :param root: the checkout it runs in, whose packages it imports.
    """

    def prepare() -> None:
        # PR_SET_PDEATHSIG: Linux kills the child when the harness is gone, however it went.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if cores:
            os.sched_setaffinity(0, cores)

    with open(Path(directory, "errors"), "a+") as errors:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
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


def _python(module: str, role: str, order: Order) -> list[str]:
    return [sys.executable, "-m", module, role, order.to_json()]


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    if not select.select([server.stdout], [], [], START)[0]:
        raise ContenderFailed(f"the server did not say within {START:.0f} s where it listens")
    line = server.stdout.readline()
    if not line:
        raise ContenderFailed("the server died while it started")
    return str(json.loads(line)["address"])


def _nats_address(directory: str, server: subprocess.Popen[str]) -> str:
    ports = Path(directory, f"nats-server_{server.pid}.ports")
    for _ in range(200):
        if ports.exists() and ports.stat().st_size:
            return str(json.loads(ports.read_text())["nats"][0])
        time.sleep(0.05)
    raise ContenderFailed("nats-server did not say within 10 s where it listens")


def measure(
    server_module: str, client_module: str, order: Order, *, nats: bool = False, pin: bool = False, root: Path = ROOT
) -> Figures:
    """
    Start a server, let a client measure it as `order` says, stop both, and return what the client answered.

    :param nats: start a nats-server first, and give its address to both.
    :param pin: keep the server on the first core of the machine and the client on the last.
    :param root: the checkout that both run in.
    :raises ContenderFailed: no figures came.
    """
    cores = sorted(os.sched_getaffinity(0)) if pin else []
    with tempfile.TemporaryDirectory(prefix="zmqrpc-bench-") as directory, contextlib.ExitStack() as stack:
        try:
            order.address = directory
            if nats:
                program = shutil.which("nats-server", path="/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin")
                if not program:
                    raise ContenderFailed("nats-server is not installed: apt-get install nats-server")
                words = [program, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", directory]
                broker = stack.enter_context(process(words, directory))
                order.pids = [broker.pid]
                order.address = _nats_address(directory, broker)
            server = stack.enter_context(process(_python(server_module, "server", order), directory, cores[:1], root))
            order.address = _address(server)
            order.pids.insert(0, server.pid)
            client = stack.enter_context(process(_python(client_module, "client", order), directory, cores[-1:], root))
            try:
                output, _ = client.communicate(timeout=FINISH)
            except subprocess.TimeoutExpired:
                raise ContenderFailed(f"the client did not answer within {FINISH:.0f} s") from None
            if client.returncode:
                raise ContenderFailed(f"the client ended with status {client.returncode}")
            figures: Figures = json.loads(output)
        except ContenderFailed as error:
            raise ContenderFailed(f"{error}{_last_words(directory)}") from None
    return figures


def _last_words(directory: str) -> str:
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
