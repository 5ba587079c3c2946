"""Start the processes of one contender, have its client measure, and never leave one behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.work import Figures, Order

ROOT = Path(__file__).resolve().parent.parent
START = 20.0
"""Seconds a server has to say where it listens."""
FINISH = 60.0
"""Seconds a client has to answer."""


class ContenderFailed(Exception):
    """A process of a contender did not start, did not answer in time, or died; the text says which and why."""


def _die_with_parent() -> None:
    # PR_SET_PDEATHSIG: Linux kills the child when the harness is gone, however it went.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextlib.contextmanager
def process(words: Sequence[str], directory: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command for as long as the context lasts, in the repository's root; its standard error goes to a file."""
    with open(Path(directory, "errors"), "a+") as errors:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            preexec_fn=_die_with_parent,
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


def measure(server_module: str, client_module: str, order: Order, *, nats: bool = False) -> Figures:
    """
    Start a server, let a client measure it as `order` says, stop both, and return what the client answered.

    :param nats: start a nats-server first, and give its address to both.
    :raises ContenderFailed: no figures came.
    """
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
            server = stack.enter_context(process(_python(server_module, "server", order), directory))
            order.address = _address(server)
            order.pids.insert(0, server.pid)
            client = stack.enter_context(process(_python(client_module, "client", order), directory))
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
