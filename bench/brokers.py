"""What stands between servers and clients: the commands that start it, and how to learn where it listens."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.rows import Contender
from bench.work import Order

Command = Sequence[str]

_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin"


class ContenderFailed(Exception):
    """A process of a contender did not start, did not answer in time, or died; the text says which and why."""


@dataclass(frozen=True)
class Broker:
    """How the processes between servers and clients are started; `address` waits until they can be used."""

    commands: Callable[[Contender, Order], list[Command]]
    address: Callable[[Order], str]


def program(name: str, package: str) -> str:
    """Return where a program is; `ContenderFailed` says which package has it."""
    path = shutil.which(name, path=_PATH)
    if not path:
        raise ContenderFailed(f"{name} is not installed: apt-get install {package}")
    return path


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait(seconds: float, found: Callable[[], str | None], who: str, what: str = "where it listens") -> str:
    """
    Return what `found` returns, as soon as it does.

    :raises ContenderFailed: it did not for so long; the text says who did not say what.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if address := found():
            return address
        time.sleep(0.05)
    raise ContenderFailed(f"{who} did not say within {seconds:.0f} s {what}")


def _nats_commands(contender: Contender, order: Order) -> list[Command]:
    return [[program("nats-server", "nats-server"), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", order.directory]]


def _nats_address(order: Order) -> str:
    ports = Path(order.directory, f"nats-server_{order.brokers[0]}.ports")

    def found() -> str | None:
        return str(json.loads(ports.read_text())["nats"][0]) if ports.exists() and ports.stat().st_size else None

    return wait(10, found, "nats-server")


def _rabbit_commands(contender: Contender, order: Order) -> list[Command]:
    """
    Return epmd and the server as one node of their own: nothing of an installed RabbitMQ is read, used or written.

    Debian's command in /usr/sbin would change to the user rabbitmq and to the directories of the daemon.
    """
    scripts = Path("/usr/lib/rabbitmq/bin")
    if not scripts.is_dir():
        raise ContenderFailed("rabbitmq-server is not installed: apt-get install rabbitmq-server")
    home = Path(order.directory, "rabbitmq")
    home.mkdir()
    cookie = home / ".erlang.cookie"
    cookie.touch(0o600)
    cookie.write_text(secrets.token_hex(16))
    (home / "enabled_plugins").write_text("[].\n")
    (home / "environment").touch()
    port, epmd, distribution = free_port(), free_port(), free_port()
    (home / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.console.level = warning\nlog.file = false\n"
    )
    (home / "port").write_text(str(port))
    variables = {
        "HOME": home,
        "ERL_EPMD_PORT": epmd,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP_SECONDS": 0,
        "RABBITMQ_NODENAME": f"bench-{port}@localhost",
        "RABBITMQ_DIST_PORT": distribution,
        "RABBITMQ_CONF_ENV_FILE": home / "environment",
        "RABBITMQ_CONFIG_FILE": home / "rabbitmq.conf",
        "RABBITMQ_ADVANCED_CONFIG_FILE": home / "advanced.config",
        "RABBITMQ_ENABLED_PLUGINS_FILE": home / "enabled_plugins",
        "RABBITMQ_MNESIA_BASE": home / "mnesia",
        "RABBITMQ_LOG_BASE": home / "log",
        "RABBITMQ_PID_FILE": home / "pid",
        # So that its script becomes the server, and does not wait for it: what is killed here is the server itself.
        "RUNNING_UNDER_SYSTEMD": "true",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
    }
    environment = ["env", *(f"{name}={value}" for name, value in variables.items())]
    return [[*environment, program("epmd", "erlang-base")], [*environment, str(scripts / "rabbitmq-server")]]


def _rabbit_address(order: Order) -> str:
    home = Path(order.directory, "rabbitmq")
    port = int((home / "port").read_text())

    def found() -> str | None:
        # RabbitMQ listens last, when everything else is up.
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return None
        return f"rabbit://guest:guest@127.0.0.1:{port}/"

    return wait(60, found, "rabbitmq-server")


def _proxy_commands(contender: Contender, order: Order) -> list[Command]:
    proxy = [sys.executable, "-m", "twisted", "--log-format=text", "zmq-proxy", "--host", "127.0.0.1"]
    proxy += ["--url", f"zmq+sqlite://{order.directory}/matchmaker.db"]
    if "+pub-sub" in contender.topology:
        proxy[-1] += "?use_pub_sub=true"
    order.locals = [free_port() for _ in range(contender.locals)]
    locals_ = [[*proxy, "--local-publisher", "--publisher-port", str(port)] for port in order.locals]
    return [*[proxy] * contender.proxies, *locals_]


def proxies(directory: str, role: str) -> list[list[str]]:
    """Return the addresses of the proxies in the SQLite matchmaker (docs/spec/records)."""
    try:
        with sqlite3.connect(f"file:{directory}/matchmaker.db?mode=ro", uri=True) as database:
            rows = database.execute(
                "SELECT body FROM record WHERE exchange = '$zmqrpc' AND topic = 'proxies' AND role = ?", (role,)
            ).fetchall()
    except sqlite3.Error:  # not written yet
        return []
    return [json.loads(body)["addresses"] for (body,) in rows]


def _proxy_address(order: Order) -> str:
    wanted = len(order.brokers) - len(order.locals)

    def found() -> str | None:
        return order.directory if len(proxies(order.directory, "router")) >= wanted else None

    return wait(20, found, "zmq-proxy")


BROKERS = {
    "nats": Broker(_nats_commands, _nats_address),
    "rabbit": Broker(_rabbit_commands, _rabbit_address),
    "zmq-proxy": Broker(_proxy_commands, _proxy_address),
}
