"""What the DevStack plugin would start is started: Redis, Sentinel, proxies and local publishers, and who uses them."""

from __future__ import annotations

import json
import signal
import socket
import sys
from typing import Any

from zmqrpc.test.devstack.machine import DEVSTACK, PROXY, PROXY_CODE, Machine
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import ProcessTestCase, Running, until
from zmqrpc.test.programs import program
from zmqrpc.test.tap.test_seeds import CALC

ENABLE = "[[local|localrc]]\nSERVICE_PASSWORD='-pä@s\"\\w/1'\nenable_plugin zmq https://example.org/zmqrpc\n"

READY = {"zeromq": "ready: registered", "zeromq-nova_cell1": "ready: registered"}
"""What processes say when they do what they are for; Redis is asked."""


def ports() -> dict[str, Any]:
    """Choose ports such that those of a cell are free as well."""
    while True:
        first = free_port()
        chosen: dict[str, Any] = {
            "ZEROMQ_FRONTEND_PORT": first,
            "ZEROMQ_BACKEND_PORT": first + 1,
            "ZEROMQ_PUBLISHER_PORT": first + 2,
            "ZEROMQ_REDIS_PORT": first + 3,
            "ZEROMQ_SENTINEL_PORT": first + 6,
            "ZEROMQ_LOCAL_PUBLISHER_PORT": first + 7,
        }
        if all(_is_free(first + more) for more in range(14)):
            return chosen


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class RunningTests(ProcessTestCase):
    devstack = ""

    def setUp(self) -> None:
        program("redis-server", "redis-server")
        super().setUp()
        self.module("calc", CALC)

    def run_units(self, **options: Any) -> tuple[Machine, dict[str, Running]]:
        """Run all phases, and every process that they would start; return them when they do what they are for."""
        machine = Machine(self, ENABLE, "zmq", self.devstack, **ports(), **options)
        machine.ends_well("stack")
        started = {}
        for name, words in machine.units.items():
            if words[0].endswith(PROXY):
                self.assertEqual(words[0], str(machine.root / "stack/data/venv/bin" / PROXY))
                command = [sys.executable, "-P", "-c", PROXY_CODE, *words[1:]]
            else:
                command = words
            started[name] = running = Running(command, self.directory, self.environment)
            self.addCleanup(running.kill)
        for name, running in started.items():
            if name in READY:
                running.says(READY[name])
            elif "-local" in name:
                running.says("publisher at tcp://127.0.0.1:")
        return machine, started

    def command(self, machine: Machine, service: str, *words: str) -> Any:
        """Run `zmqrpc` with the configuration file of a service."""
        options = ("--config-file", str(machine.path(service)), "--json")
        ended = self.run_to_end("zmqrpc", *words, *options, *([] if words[0] == "ls" else ["--timeout", "20"]))
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), f"{words}: {ended.stdout}")
        return json.loads(ended.stdout)

    def serve_by(self, machine: Machine, service: str, member: str) -> Running:
        """Run a server with the configuration file of a service, until it is registered."""
        server = self.start(
            *("twistd", "-n", "--pidfile=", "zmq-rpc-server", "--config-file", str(machine.path(service))),
            *("--app", "calc:Calc", "--topic", "calc", "--server", member),
        )
        server.says("ready: registered")
        return server

    def check(self, machine: Machine, published: bool) -> None:
        """Reach a server of the cell and one outside it, in every way; neither is seen from the other side."""
        for service, member in (("nova", "api"), ("nova-cpu", "compute")):
            self.serve_by(machine, service, member)
            self.assertEqual(self.command(machine, service, "call", "calc", "add", "a=2", "b=3"), 5)
            reached = self.command(machine, service, "fanout", "calc", "note", f"text={member}")
            self.assertEqual(reached["missing"], [])
            self.assertEqual(len(reached["published" if published else "members"]), 1, reached)
            until(
                lambda service=service, member=member: (
                    self.command(machine, service, "call", "calc", "read") == [member]
                ),
                f"the fan-out at {member}",
            )

    def stop(self, machine: Machine, started: dict[str, Running]) -> None:
        """Do what `unstack.sh` has systemd do: each process ends well, and one after the other."""
        before = len(machine.commands)
        machine.ends_well("unstack")
        stopped = [line for line in machine.commands[before:] if line.startswith("systemctl stop devstack@")]
        names = [line.partition("@")[2].removesuffix(".service") for line in stopped]
        self.assertEqual(set(names), set(started))
        for name in names:
            started[name].signal()
            self.assertIn(started[name].ends(), (0, -signal.SIGTERM), f"{name}: {started[name].out}")
            self.assertNotIn("Traceback", started[name].out + started[name].err)
        machine.ends_well("clean")

    def test_as_it_is(self) -> None:
        """The defaults: direct calls, and fan-outs by publishers; the file of a cell leads to its own."""
        machine, started = self.run_units()
        self.assertEqual(
            set(started),
            {"zeromq-redis", "zeromq", "zeromq-nova_cell1", "zeromq-local", "zeromq-local-nova_cell1"},
        )
        self.check(machine, published=True)
        # With --debug, which DevStack's ENABLE_DEBUG_LOG_LEVEL asks for, each message is in the log.
        for name in ("zeromq-local", "zeromq-local-nova_cell1"):
            started[name].says("calc")
        self.stop(machine, started)

    def test_router_proxies_and_sentinel(self) -> None:
        machine, started = self.run_units(ZEROMQ_MATCHMAKER="sentinel", ZEROMQ_TOPOLOGY="router-proxy")
        self.assertEqual(
            set(started),
            {"zeromq-redis", "zeromq-redis-nova_cell1", "zeromq-sentinel", "zeromq", "zeromq-nova_cell1"},
        )
        self.check(machine, published=False)
        self.stop(machine, started)

    def test_ipv6(self) -> None:
        """Everybody listens on, and registers, an address of IPv6; Redis too."""
        machine, started = self.run_units(SERVICE_IP_VERSION=6, HOST_IPV6="::1")
        self.check(machine, published=True)
        listed = json.dumps(self.command(machine, "nova", "ls"))
        self.assertIn("tcp://[::1]:", listed)
        self.assertNotIn("tcp://127.0.0.1:", listed)
        self.stop(machine, started)

    def test_sqlite(self) -> None:
        """No process at all where the store is a file, and everybody connects to everybody, by loopback alone."""
        for addresses in ({"HOST_IP": "127.0.0.2"}, {"SERVICE_IP_VERSION": 6, "HOST_IPV6": "2001:db8::1"}):
            options = {"ZEROMQ_MATCHMAKER": "sqlite", "ZEROMQ_TOPOLOGY": "static-direct", **addresses}
            machine, started = self.run_units(**options)
            self.assertEqual(started, {})
            self.check(machine, published=False)
            self.assertIn("tcp://127.0.0.1:", json.dumps(self.command(machine, "nova", "ls")))
            machine.ends_well("clean")

    def test_redis_is_there(self) -> None:
        """One that takes our password is used; anything else on its port is refused, with what can be done."""
        machine = Machine(self, ENABLE, "zmq", self.devstack, **ports())
        machine.ends_well("stack")
        redis = Running(machine.units["zeromq-redis"], self.directory, self.environment)
        self.addCleanup(redis.kill)
        port = int(machine.option("ZEROMQ_REDIS_PORT"))
        until(lambda: not _is_free(port), "Redis listening")
        same: dict[str, Any] = {name: machine.option(name) for name in ports()}
        other = Machine(self, ENABLE, "zmq", self.devstack, **same)
        said = other.ends_well("stack")
        self.assertIn(f"There is a Redis server at 127.0.0.1:{port}, which is used", said)
        self.assertNotIn("zeromq-redis", other.units)
        wrong = Machine(self, ENABLE, "zmq", self.devstack, **same, ZEROMQ_REDIS_PASSWORD="wrong").run("stack")
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn(
            f"Something at 127.0.0.1:{port} is no Redis server with the password of ZEROMQ_REDIS_PASSWORD; set that, "
            "or ZEROMQ_REDIS_PORT to a port that is free",
            wrong.stderr,
        )
        redis.signal()
        self.assertEqual(redis.ends(), 0)


if DEVSTACK:

    class OriginalsTests(RunningTests):
        """The same with DevStack's own functions."""

        devstack = DEVSTACK
