"""
The DevStack plugin: what it writes, and what it would start.

All tests run with doubles of DevStack's functions, and once more with DevStack's own where ``ZMQRPC_DEVSTACK`` is the
path of a checkout (``make devstack``).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.configuration import FOR_PROXIES, FOR_SERVICES, load
from zmqrpc.test.devstack.machine import DEVSTACK, PLUGIN, PROXY, Machine, local_conf
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import CHECKOUT

ENABLE = "[[local|localrc]]\nenable_plugin zmqrpc https://example.org/zmqrpc\n"
PAGE = CHECKOUT / "docs" / "howto" / "devstack.rst"
SERVICES = ("keystone", "glance-api", "cinder", "nova", "nova_cell1", "nova-cpu", "neutron")
"""The configuration files of one node."""

CELL = ("nova_cell1", "nova-cpu")
"""Those of them that belong to a cell."""


class PluginTests(SynchronousTestCase):
    devstack = ""

    def machine(self, text: str = ENABLE, name: str = "zmqrpc", **options: Any) -> Machine:
        """Make a machine whose Redis port nobody has."""
        options = {"ZEROMQ_REDIS_PORT": free_port(), **options}
        return Machine(self, text, name, self.devstack, **options)

    def words(self, machine: Machine) -> dict[str, str]:
        """Return the commands of the units, with the directory of the machine left out."""
        return {name: " ".join(words).replace(f"{machine.root}/", "") for name, words in machine.units.items()}

    def assert_understood(self, machine: Machine) -> None:
        """Check that zmqrpc reads every file that was written, and finds nothing to complain of."""
        self.patch(os, "environ", {})
        for name in SERVICES:
            if "DEFAULT" in machine.conf(name):
                read = load(config_files=[str(machine.path(name))], service=FOR_SERVICES)
                self.assertEqual(read.warnings, (), name)
        for path in (machine.root / "oslo").glob("*.conf"):
            read = load(config_files=[str(path)], service=FOR_PROXIES)
            self.assertEqual(read.warnings, (), path.name)

    def assert_manual(self, name: str, password: str) -> None:
        """Go through all phases with the lines that one of the manuals prints."""
        machine = self.machine(local_conf(name), "zmq")
        port = machine.option("ZEROMQ_REDIS_PORT")
        machine.ends_well("stack")

        enabled = machine.settings()["ENABLED_SERVICES"].split(",")
        self.assertNotIn("rabbit", enabled)
        self.assertIn("zeromq", enabled)

        url = f"zmq+redis://:{password}@127.0.0.1:{port}"
        common = {
            "rpc_zmq_host": "127.0.0.1",
            "rpc_zmq_min_port": "51000",
            "rpc_zmq_max_port": "60000",
            "use_pub_sub": "True",
            "use_router_proxy": "False",
            "use_dynamic_connections": "False",
        }
        for service in SERVICES:
            written = machine.conf(service)
            number = 1 if service in CELL else 0
            section = "oslo_messaging_notifications" if service == "keystone" else "DEFAULT"
            self.assertEqual(written[section]["transport_url"], f"{url}/1" if number else url, service)
            self.assertEqual(
                written["oslo_messaging_zmq"], {**common, "subscribe_on": f"127.0.0.1:{60001 + number}"}, service
            )
            self.assertNotIn("oslo_messaging_rabbit", written)
        self.assertEqual(
            machine.conf("nova")["oslo_messaging_notifications"], {"driver": "messagingv2", "transport_url": url}
        )
        self.assertEqual(machine.conf("proxy-server")["filter:ceilometer"]["url"], url)
        self.assert_understood(machine)

        program = f"stack/data/venv/bin/{PROXY}"
        local = f"{program} --local-publisher --config-file oslo/zeromq-local"
        units = self.words(machine)
        self.assertRegex(units.pop("zeromq-redis"), r"^/\S+-server stack/data/zeromq/redis\.conf$")
        self.assertEqual(
            units,
            {
                "zeromq": f"{program} --config-file oslo/zeromq.conf --host 127.0.0.1 "
                "--frontend-port 50001 --publisher-port 50003 --debug",
                "zeromq-nova_cell1": f"{program} --config-file oslo/zeromq-nova_cell1.conf --host 127.0.0.1 "
                "--frontend-port 50011 --publisher-port 50013 --debug",
                "zeromq-local": f"{local}.conf --host localhost --publisher-port 60001 --debug",
                "zeromq-local-nova_cell1": f"{local}-nova_cell1.conf --host localhost --publisher-port 60002 --debug",
            },
        )
        programs = ("pip", "venv/pip", "apt-get")
        installed = [line for line in machine.commands if line.startswith(programs) and "update" not in line]
        self.assertTrue(installed[0].startswith("venv/pip "))
        self.assertEqual(
            [line.rpartition("install ")[2].rpartition("constraints.txt ")[2] for line in installed],
            [f"-e {machine.root}/stack/zmq[oslo]", "redis-server"],
        )
        self.assertEqual(
            [line for line in machine.commands if line.startswith("systemctl start")],
            [
                f"systemctl start devstack@{service}.service"
                for service in (
                    "zeromq-redis",
                    *("zeromq", "zeromq-nova_cell1"),
                    *("zeromq-local", "zeromq-local-nova_cell1"),
                )
            ],
        )

        before = len(machine.commands)
        machine.ends_well("unstack")
        stopped = [line for line in machine.commands[before:] if line.startswith("systemctl stop")]
        self.assertEqual(
            [line.removeprefix("systemctl stop devstack@").removesuffix(".service") for line in stopped],
            ["zeromq-local-nova_cell1", "zeromq-local", "zeromq-nova_cell1", "zeromq", "zeromq-redis"],
        )
        machine.ends_well("clean")
        for directory in ("oslo", "stack/data/zeromq"):
            self.assertFalse((machine.root / directory).exists(), directory)

    def test_older_manual(self) -> None:
        """What it prints, in a file. DevStack makes up a password where it says none."""
        self.assert_manual("older", "read")

    def test_newer_manual(self) -> None:
        """Its file, as it stands. RabbitMQ is among DevStack's services, and is taken out."""
        self.assert_manual("newer", "password")

    def test_other_repository(self) -> None:
        """`enable_plugin zmqrpc` is the same, from another directory."""
        machine = self.machine()
        machine.ends_well("stack")
        self.assertIn(f"-e {machine.root}/stack/zmqrpc[oslo]", " ".join(machine.commands))
        self.assertIn("zeromq", machine.units)

    def test_enabled_twice(self) -> None:
        machine = self.machine(ENABLE + "enable_plugin zmq https://example.org/zmqrpc\n")
        (machine.root / "stack" / "zmq").symlink_to(machine.plugin.resolve())
        ended = machine.run("stack")
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("The zmqrpc plugin is enabled twice", ended.stderr)

    def test_switched_off(self) -> None:
        """With `disable_service zeromq` everything is as without the plugin."""
        machine = self.machine(f"{ENABLE}disable_service zeromq\n", RABBIT_PASSWORD="secret", RABBIT_HOST="127.0.0.1")
        machine.ends_well("settings")
        services = machine.settings()["ENABLED_SERVICES"].split(",")
        self.assertIn("rabbit", services)
        self.assertEqual([service for service in services if "zeromq" in service], [])
        lines = ("run_phase source >/dev/null", "run_phase stack pre-install", "run_phase stack install")
        ended = machine.script(*lines, "get_transport_url", "run_phase unstack", "run_phase clean")
        self.assertEqual(ended.stdout, "rabbit://stackrabbit:secret@127.0.0.1:5672/\n")
        self.assertEqual((machine.commands, machine.units), ([], {}))

    def test_again(self) -> None:
        """A second `stack.sh` starts everything anew, and leaves files with what they had."""
        machine = self.machine()
        machine.ends_well("stack")
        files = [path for name in ("etc", "oslo", "systemd") for path in sorted((machine.root / name).iterdir())]
        texts = [path.read_text() for path in files]
        before = len(machine.commands)
        machine.ends_well("stack")
        self.assertEqual([path.read_text() for path in files], texts)
        units = [line for line in machine.commands[before:] if "devstack@zeromq-redis" in line]
        self.assertEqual([line.split()[1] for line in units], ["stop", "disable", "enable", "start"])

    def test_other_options(self) -> None:
        """What was started with other options is stopped too, by `unstack.sh` and by a second `stack.sh`."""
        for program in ("unstack", "stack"):
            machine = self.machine(ZEROMQ_MATCHMAKER="sentinel", ZEROMQ_TOPOLOGY="router-proxy+pub-sub")
            machine.ends_well("stack")
            started = set(machine.units)
            before = len(machine.commands)
            ended = machine.run(program, ZEROMQ_MATCHMAKER="redis", ZEROMQ_TOPOLOGY="static-direct")
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))
            for word in ("stop", "disable"):
                begin = f"systemctl {word} devstack@"
                names = [line for line in machine.commands[before:] if line.startswith(begin)]
                self.assertEqual({name.removeprefix(begin).removesuffix(".service") for name in names}, started)
                self.assertEqual(len(names), len(started))
            again = {line for line in machine.commands[before:] if line.startswith("systemctl start")}
            self.assertEqual(again, {"systemctl start devstack@zeromq-redis.service"} if program == "stack" else set())

    def test_told(self) -> None:
        """The command that the operator is told can be run as it stands: the venv of DevStack is in nobody's PATH."""
        machine = self.machine()
        said = machine.ends_well("stack")
        command = f"{machine.root}/stack/data/venv/bin/zmqrpc ls --config-file {machine.path('oslo/zeromq')}"
        self.assertIn(f"static-direct+pub-sub, redis; see {command}\n", said)

    def test_trace(self) -> None:
        """Whether commands are traced is as before, after each file and phase."""
        lines = []
        for phase in ("source", "stack pre-install", "unstack"):
            for letter in "+-":
                lines += [f"set {letter}o xtrace", f"run_phase {phase}", "set +o | grep xtrace >&3"]
        machine = self.machine()
        ended = machine.script('exec 3>"$SCRATCH/traced"', *lines)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        traced = (machine.root / "traced").read_text().splitlines()
        self.assertEqual(traced, ["set +o xtrace", "set -o xtrace"] * 3)

    def test_trace_of_a_password(self) -> None:
        """A traced `stack.sh` has no line for each character of it."""
        lines = ("run_phase source >/dev/null", "run_phase stack pre-install", "set -o xtrace", "get_transport_url")
        ended = self.machine(SERVICE_PASSWORD="x" * 100).script(*lines)
        self.assertLess(len(ended.stderr.splitlines()), 100)

    # How processes find each other

    def test_urls(self) -> None:
        """Of every matchmaker, for the virtual host without a name and for that of a cell."""
        port = free_port()
        data = "zmq+sqlite://{}/stack/data/zeromq/matchmaker"
        cases: list[tuple[dict[str, Any], str, str]] = [
            ({"ZEROMQ_MATCHMAKER": "redis"}, f"zmq+redis://127.0.0.1:{port}", "/2"),
            ({"MATCHMAKER_REDIS_HOST": "redis.example"}, f"zmq+redis://redis.example:{port}", "/2"),
            ({"ZEROMQ_MATCHMAKER": "sentinel"}, "zmq+sentinel://127.0.0.1:26379", "/nova_cell2"),
            (
                {"ZEROMQ_MATCHMAKER": "sentinel", "ZEROMQ_SENTINELS": "a:1,b:2,c:3"},
                "zmq+sentinel://a:1,b:2,c:3",
                "/nova_cell2",
            ),
            ({"ZEROMQ_MATCHMAKER": "etcd"}, "zmq+etcd://127.0.0.1:2379", "/nova_cell2"),
            ({"ZEROMQ_MATCHMAKER": "etcd", "ZEROMQ_ETCD_HOSTS": "a,b"}, "zmq+etcd://a,b", "/nova_cell2"),
        ]
        for options, url, more in cases:
            with_port = {"ZEROMQ_REDIS_PORT": port, "ZEROMQ_REDIS_PASSWORD": "", **options}
            machine = self.machine(**with_port)
            lines = machine.answers("get_transport_url", "get_transport_url nova_cell2", "get_notification_url x-7")
            self.assertEqual(lines[:2], [url, url + more])
            self.assertEqual(lines[2], url + ("/7" if more == "/2" else "/x-7"))
            self.patch(os, "environ", {})
            for line in lines:
                load(url=line)
        machine = self.machine(ZEROMQ_MATCHMAKER="sqlite")
        path = data.format(machine.root)
        self.assertEqual(
            machine.answers("get_transport_url", "get_transport_url nova_cell2"),
            [f"{path}.db", f"{path}-nova_cell2.db"],
        )

    def test_passwords(self) -> None:
        """Any character may be in one, and a server elsewhere has none unless it is told."""
        odd = 'p@s:s/w?ö#r%d $x\\y"z&'
        for password in (odd, "-n", "-e"):
            url = self.machine(SERVICE_PASSWORD=password).answers("get_transport_url")[0]
            self.assertEqual(unquote(urlsplit(url).password or ""), password)
        for options, userinfo in (
            ({}, ":service@"),
            ({"ZEROMQ_REDIS_PASSWORD": "own"}, ":own@"),
            ({"ZEROMQ_REDIS_PASSWORD": ""}, ""),
            ({"MATCHMAKER_REDIS_HOST": "redis.example"}, ""),
            ({"MATCHMAKER_REDIS_HOST": "redis.example", "ZEROMQ_REDIS_PASSWORD": "own"}, ":own@"),
            ({"ZEROMQ_MATCHMAKER": "etcd"}, ""),
        ):
            url = self.machine(SERVICE_PASSWORD="service", **options).answers("get_transport_url")[0]
            self.assertEqual(urlsplit(url).netloc.rpartition("@")[0], userinfo.rstrip("@"), options)

    def test_secret_files(self) -> None:
        """Files that have the password are for their user alone."""
        machine = self.machine()
        machine.ends_well("stack")
        files = [*(machine.root / "oslo").iterdir(), *(machine.root / "stack/data/zeromq").iterdir()]
        self.assertEqual(len(files), 5)
        for path in files:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path.name)

    def test_sentinel(self) -> None:
        """One Redis server for each virtual host, and one Sentinel for all."""
        machine = self.machine(ZEROMQ_MATCHMAKER="sentinel", ZEROMQ_REDIS_PASSWORD="secret")
        port = int(machine.option("ZEROMQ_REDIS_PORT"))
        machine.ends_well("stack")
        units = self.words(machine)
        self.assertEqual(
            [units[name].partition(" ")[2] for name in ("zeromq-redis", "zeromq-redis-nova_cell1", "zeromq-sentinel")],
            [
                "stack/data/zeromq/redis.conf",
                "stack/data/zeromq/redis-nova_cell1.conf",
                "stack/data/zeromq/sentinel.conf --sentinel",
            ],
        )
        lines = (machine.root / "stack/data/zeromq/sentinel.conf").read_text().splitlines()
        self.assertEqual(
            [line for line in lines if line.startswith("sentinel")],
            [
                f"sentinel monitor oslo-messaging-zeromq 127.0.0.1 {port} 1",
                'sentinel auth-pass oslo-messaging-zeromq "secret"',
                f"sentinel monitor nova_cell1 127.0.0.1 {port + 1} 1",
                'sentinel auth-pass nova_cell1 "secret"',
            ],
        )
        self.assert_understood(machine)

    def test_no_store(self) -> None:
        """etcd is DevStack's own, SQLite needs no process, and a Redis server may be somebody else's."""
        for options in (
            {"ZEROMQ_MATCHMAKER": "etcd"},
            {"ZEROMQ_MATCHMAKER": "sqlite"},
            {"MATCHMAKER_REDIS_HOST": "192.0.2.7"},
            {"ZEROMQ_RUN_STORE": "no"},
        ):
            machine = self.machine(**options)
            machine.ends_well("stack")
            self.assertNotIn("zeromq-redis", machine.units, options)
            self.assertNotIn("redis-server", " ".join(machine.commands), options)

    def test_a_server_that_is_there(self) -> None:
        """The daemon of a package that was installed before goes on to run."""
        machine = self.machine(installed=True)
        machine.ends_well("stack")
        self.assertNotIn("redis-server", " ".join(machine.commands))
        self.assertIn("zeromq-redis", machine.units)

    def test_offline(self) -> None:
        """With DevStack's OFFLINE nothing is installed, so that there is no daemon to stop either."""
        machine = self.machine(OFFLINE=True)
        machine.ends_well("stack")
        self.assertEqual([line for line in machine.commands if not line.startswith("systemctl")], [])
        self.assertNotIn("systemctl stop redis-server", machine.commands)
        self.assertIn("zeromq-redis", machine.units)

    def test_no_server(self) -> None:
        """Then `stack.sh` says so, and ends."""
        machine = self.machine(OFFLINE=True)
        lines = ("run_phase source >/dev/null", "run_phase stack pre-install", "set -o errexit", "zeromq_start_store")
        ended = machine.script(*lines[:3], "function command { return 1; }", lines[3], "echo not reached")
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("There is neither redis-server nor valkey-server in /", ended.stderr)
        self.assertNotIn("not reached", ended.stdout)

    def test_distributions(self) -> None:
        for vendor, package in (
            ({"-i": "Ubuntu", "-r": "24.04", "-c": "noble"}, "redis-server"),
            ({"-i": "Fedora", "-r": "41", "-c": "x"}, "redis"),
            ({"-i": "Fedora", "-r": "42", "-c": "x"}, "valkey"),
        ):
            machine = self.machine(vendor=vendor)
            machine.ends_well("stack")
            said = [line for line in machine.commands if " install " in line and "pip" not in line]
            self.assertEqual([line.split()[-1] for line in said], [package])
            self.assertIn(f"systemctl disable {package}", machine.commands)

    # Which way messages go

    def test_topologies(self) -> None:
        """Each has its three options, and the proxies that it needs."""
        front, back, publish = "--frontend-port 50001", "--backend-port 50002", "--publisher-port 50003"
        for name, booleans, ports in (
            ("static-direct", (False, False, False), None),
            ("dynamic-direct", (False, False, True), None),
            ("router-proxy", (False, True, False), f"{front} {back}"),
            ("static-direct+pub-sub", (True, False, False), f"{front} {publish}"),
            ("dynamic-direct+pub-sub", (True, False, True), f"{front} {publish}"),
            ("router-proxy+pub-sub", (True, True, False), f"{front} {back} {publish}"),
        ):
            machine = self.machine(ZEROMQ_TOPOLOGY=name, ENABLE_DEBUG_LOG_LEVEL=False)
            machine.ends_well("stack")
            written = machine.conf("nova")["oslo_messaging_zmq"]
            options = ("use_pub_sub", "use_router_proxy", "use_dynamic_connections")
            self.assertEqual(tuple(written[option] == "True" for option in options), booleans, name)
            self.assertEqual(written.get("subscribe_on"), "127.0.0.1:60001" if booleans[0] else None, name)
            # That is for people too, who ask who is there.
            self.assertIn("transport_url", machine.conf("oslo/zeromq")["DEFAULT"])
            units = self.words(machine)
            self.assertEqual("zeromq" in units, ports is not None, name)
            self.assertEqual(
                {"zeromq-local", "zeromq-local-nova_cell1"} & set(units),
                set(units) - {*("zeromq", "zeromq-nova_cell1", "zeromq-redis")},
            )
            self.assertEqual("zeromq-local" in units, booleans[0], name)
            if ports is not None:
                self.assertTrue(units["zeromq"].endswith(f"--host 127.0.0.1 {ports}"), units["zeromq"])
            self.assert_understood(machine)

    def test_without_local_publishers(self) -> None:
        """Services subscribe to the publishers that the matchmaker knows."""
        machine = self.machine(f"{ENABLE}disable_service zeromq-local zeromq-local-nova_cell1\n")
        machine.ends_well("stack")
        for service in SERVICES:
            self.assertNotIn("subscribe_on", machine.conf(service)["oslo_messaging_zmq"])
        self.assertEqual(set(machine.units), {"zeromq", "zeromq-nova_cell1", "zeromq-redis"})

    # Several nodes, and cells

    def test_other_addresses(self) -> None:
        """A node is that of `SERVICE_HOST` by any address that it has, and by any name of one."""
        for host, here in (
            ("192.0.2.9", "True"),
            ("[2001:db8::9]", "True"),
            ("node-1.example", "True"),
            ("192.0.2.90", "False"),
            ("node-2.example", "False"),
        ):
            machine = self.machine(
                HOST_IP="192.0.2.1",
                SERVICE_HOST=host,
                ADDRESSES="192.0.2.1 192.0.2.9 2001:db8::9",
                HOSTS="node-1.example=192.0.2.9 node-2.example=192.0.2.90",
            )
            settings = machine.settings()
            self.assertEqual((settings["ZEROMQ_RUN_STORE"], settings["ZEROMQ_RUN_PROXIES"]), (here, here), host)

    def test_another_node(self) -> None:
        """It uses the store and the proxies of the first, and has local publishers of its own."""
        addresses = {"SERVICE_HOST": "192.0.2.1", "SERVICE_PASSWORD": "secret"}
        first = self.machine(HOST_IP="192.0.2.1", ZEROMQ_REDIS_PORT=6379, **addresses)
        other = self.machine(
            HOST_IP="192.0.2.2", ZEROMQ_REDIS_PORT=6379, ENABLED_SERVICES="n-cpu,q-agt,placement-client", **addresses
        )
        self.assertEqual(
            {name for name in first.settings()["ENABLED_SERVICES"].split(",") if name.startswith("zeromq")},
            {"zeromq", "zeromq-nova_cell1", "zeromq-local", "zeromq-local-nova_cell1", "zeromq-redis"},
        )
        other.ends_well("stack")
        self.assertEqual(set(other.units), {"zeromq-local", "zeromq-local-nova_cell1"})
        self.assertNotIn("redis-server", " ".join(other.commands))
        written = other.conf("nova-cpu")
        self.assertEqual(written["DEFAULT"]["transport_url"], "zmq+redis://:secret@192.0.2.1:6379/1")
        self.assertEqual(written["oslo_messaging_zmq"]["rpc_zmq_host"], "192.0.2.2")
        self.assertEqual(written["oslo_messaging_zmq"]["subscribe_on"], "127.0.0.1:60002")
        urls = [
            machine.answers("get_transport_url", "get_transport_url nova_cell1", "get_notification_url")
            for machine in (first, other)
        ]
        self.assertEqual(urls[0], urls[1])

    def test_more_proxies(self) -> None:
        """A node that is not the first may run proxies too."""
        machine = self.machine(
            HOST_IP="192.0.2.2", SERVICE_HOST="192.0.2.1", ZEROMQ_RUN_PROXIES="yes", ENABLED_SERVICES="n-cpu"
        )
        machine.ends_well("stack")
        self.assertIn("--host 192.0.2.2 --frontend-port 50011", self.words(machine)["zeromq-nova_cell1"])

    def test_cells(self) -> None:
        machine = self.machine(NOVA_NUM_CELLS=2, NOVA_CPU_CELL=2)
        machine.ends_well("stack")
        self.assertTrue(machine.conf("nova_cell2")["DEFAULT"]["transport_url"].endswith("/2"))
        self.assertTrue(machine.conf("nova-cpu")["DEFAULT"]["transport_url"].endswith("/2"))
        units = self.words(machine)
        self.assertIn("--frontend-port 50021 --publisher-port 50023", units["zeromq-nova_cell2"])
        self.assertIn("--publisher-port 60003", units["zeromq-local-nova_cell2"])

    def test_one_conductor(self) -> None:
        """Then there are no cells that would have to be kept apart."""
        machine = self.machine(CELLSV2_SETUP="singleconductor")
        machine.ends_well("stack")
        self.assertEqual(set(machine.units), {"zeromq", "zeromq-local", "zeromq-redis"})
        urls = {machine.conf(name)["DEFAULT"]["transport_url"] for name in SERVICES if name != "keystone"}
        self.assertEqual(len(urls), 1)

    def test_ipv6(self) -> None:
        machine = self.machine(SERVICE_IP_VERSION=6, HOST_IPV6="2001:db8::1", ZEROMQ_REDIS_PORT=6379)
        settings = machine.settings()
        self.assertEqual((settings["ZEROMQ_HOST"], settings["ZEROMQ_RUN_STORE"]), ("2001:db8::1", "True"))
        lines = machine.answers("get_transport_url", "zeromq_redis_lines 6379")
        self.assertEqual(lines[0], "zmq+redis://[2001:db8::1]:6379")
        self.assertIn("bind 2001:db8::1", lines)

    # Other options

    def test_notifications_elsewhere(self) -> None:
        """Half and half: calls by ZeroMQ, and notifications by RabbitMQ, or any other transport."""
        rabbit = "rabbit://stackrabbit:secret@127.0.0.1:5672/"
        for option, url in (("rabbit", rabbit), ("kafka://127.0.0.1:9092/", "kafka://127.0.0.1:9092/")):
            machine = self.machine(
                ZEROMQ_NOTIFICATION_URL=option, RABBIT_PASSWORD="secret", RABBIT_USERID="stackrabbit"
            )
            machine.ends_well("stack")
            services = machine.settings()["ENABLED_SERVICES"].split(",")
            self.assertEqual("rabbit" in services, option == "rabbit")
            for service in ("keystone", "nova", "nova-cpu", "neutron"):
                self.assertEqual(machine.conf(service)["oslo_messaging_notifications"]["transport_url"], url)
            for service in ("nova", "nova-cpu", "neutron"):
                self.assertIn("zmq+redis://", machine.conf(service)["DEFAULT"]["transport_url"])
            self.assertEqual(machine.conf("proxy-server")["filter:ceilometer"]["url"], url)
            # No virtual host was made in RabbitMQ.
            self.assertEqual(machine.answers("get_notification_url nova_cell1"), [url])

    def test_options(self) -> None:
        """More options for services and proxies, which have to agree on some, and what they bind."""
        machine = self.machine(
            ZEROMQ_OPTIONS="zmq_target_expire=60 zmq_linger=60 max_message_size=1000000",
            ZEROMQ_HOST="node-1.example",
            ZEROMQ_BIND_ADDRESS="192.0.2.1",
            ZEROMQ_MIN_PORT=9050,
            ZEROMQ_MAX_PORT=10050,
        )
        machine.ends_well("stack")
        written = machine.conf("neutron")["oslo_messaging_zmq"]
        wanted = {
            "zmq_target_expire": "60",
            "zmq_linger": "60",
            "max_message_size": "1000000",
            "rpc_zmq_host": "node-1.example",
            "rpc_zmq_bind_address": "192.0.2.1",
            "rpc_zmq_min_port": "9050",
            "rpc_zmq_max_port": "10050",
        }
        self.assertEqual({name: written[name] for name in wanted}, wanted)
        self.assertEqual(machine.conf("oslo/zeromq")["oslo_messaging_zmq"]["rpc_zmq_bind_address"], "192.0.2.1")
        for proxy in ("zeromq", "zeromq-nova_cell1", "zeromq-local", "zeromq-local-nova_cell1"):
            written = machine.conf(f"oslo/{proxy}")["oslo_messaging_zmq"]
            wanted = {"zmq_target_expire": "60", "zmq_linger": "60", "max_message_size": "1000000"}
            self.assertEqual({name: written.get(name) for name in wanted}, wanted, proxy)
        self.assertIn("--host node-1.example", self.words(machine)["zeromq"])
        # It is for the services of its node alone.
        self.assertNotIn("rpc_zmq_bind_address", machine.conf("oslo/zeromq-local")["oslo_messaging_zmq"])
        self.assert_understood(machine)

    def test_every_interface(self) -> None:
        """That is the default, and a star is no name of files."""
        machine = self.machine(ZEROMQ_BIND_ADDRESS="*")
        machine.ends_well("stack")
        self.assertNotIn("rpc_zmq_bind_address", machine.conf("nova")["oslo_messaging_zmq"])

    def test_file_of_somebody_else(self) -> None:
        """What others have in the directory of configuration files stays."""
        machine = self.machine()
        machine.ends_well("stack")
        other = machine.root / "oslo" / "other.conf"
        other.write_text("[DEFAULT]\n")
        machine.ends_well("clean")
        self.assertEqual(list((machine.root / "oslo").iterdir()), [other])

    def test_refused(self) -> None:
        """One sentence before anything is installed, and the status of a failure."""
        cases: list[tuple[Mapping[str, Any], str]] = [
            ({"ZEROMQ_MATCHMAKER": "rediss"}, "ZEROMQ_MATCHMAKER is rediss; valid are redis, sentinel, etcd, sqlite"),
            ({"ZEROMQ_OPTIONS": "drain_timeout=1 linger"}, "ZEROMQ_OPTIONS has linger; write name=value"),
            (
                {"ZEROMQ_OPTIONS": "rpc_zmq_bind_address=*"},
                "ZEROMQ_OPTIONS has rpc_zmq_bind_address=*; write name=value",
            ),
            ({"ZEROMQ_MATCHMAKER": "dummy"}, "ZEROMQ_MATCHMAKER is dummy, with which a process finds only itself"),
            (
                {"ZEROMQ_MATCHMAKER": "sqlite", "SERVICE_HOST": "192.0.2.1"},
                "ZEROMQ_MATCHMAKER is sqlite, which is for one node, and SERVICE_HOST (192.0.2.1) is another one",
            ),
            (
                {"ZEROMQ_MATCHMAKER": "etcd", "ENABLED_SERVICES": "n-cpu"},
                "ZEROMQ_MATCHMAKER is etcd, and the service etcd3 is not enabled",
            ),
            (
                {"MATCHMAKER_REDIS_HOST": "2001:db8::1"},
                "MATCHMAKER_REDIS_HOST is 2001:db8::1; an address of IPv6 is written in brackets, [2001:db8::1]",
            ),
            ({"ZEROMQ_TOPOLOGY": "pub-sub"}, "ZEROMQ_TOPOLOGY is pub-sub; valid are static-direct, dynamic-direct"),
            ({"ZEROMQ_VHOSTS": "cell"}, "There is no virtual host cell: a name has to end with a number of 1 to 63"),
            ({"ZEROMQ_VHOSTS": "cell64"}, "There is no virtual host cell64: the highest number is 63"),
            (
                {"ZEROMQ_NOTIFICATION_URL": "rabbit", "ENABLED_SERVICES": "n-cpu"},
                "ZEROMQ_NOTIFICATION_URL is rabbit, and there is none",
            ),
            (
                {"ZEROMQ_NOTIFICATION_URL": "rabbit", "ENABLED_SERVICES": "n-cpu", "RABBIT_HOST": "192.0.2.1"},
                "ZEROMQ_NOTIFICATION_URL is rabbit, and there is none",
            ),
        ]
        for options, sentence in cases:
            machine = self.machine(**options)
            ended = machine.run("stack")
            self.assertNotEqual(ended.returncode, 0, options)
            self.assertIn(sentence, ended.stderr)
            self.assertEqual((machine.commands, machine.units), ([], {}))
            self.assertFalse((machine.root / "etc").exists())

    def test_unknown_virtual_host(self) -> None:
        """Who asks for one that has no place in the store fails, and nothing is written."""
        machine = self.machine()
        lines = ("run_phase source >/dev/null", "run_phase stack pre-install", "set -o errexit")
        for call in ("rpc_backend_add_vhost trove", 'iniset_rpc_backend x "$SCRATCH/x.conf" DEFAULT trove'):
            ended = machine.script(*lines, call, "echo not reached")
            self.assertNotEqual(ended.returncode, 0)
            self.assertNotIn("not reached", ended.stdout)
            self.assertIn("There is no virtual host trove", ended.stderr)
            self.assertFalse((machine.root / "x.conf").exists())


if DEVSTACK:

    class OriginalsTests(PluginTests):
        """The same with DevStack's own functions."""

        devstack = DEVSTACK

        def test_fetched(self) -> None:
            """The lines of the page have DevStack clone a repository that has no branch but ours."""
            lines = re.findall(r"enable_plugin zmqrpc REPOSITORY.*", PAGE.read_text())
            self.assertEqual(len(lines), 2)
            for line in lines:
                config = os.path.abspath(self.mktemp())
                machine = self.machine("[[local|localrc]]\n", name="zmq", GIT_CONFIG_SYSTEM=config)
                origin = machine.root / "origin"
                git = f"git -C {origin} -c user.name=x -c user.email=x@example.org"
                ended = machine.script(
                    "set -o errexit",
                    f"git init --quiet --initial-branch main {origin}",
                    f"cp -r {PLUGIN} {origin}",
                    f"{git} add .",
                    f"{git} commit --quiet --message x",
                    line.replace("REPOSITORY", f"file://{origin}"),
                    "fetch_plugins",
                )
                self.assertEqual(ended.returncode, 0, f"{line}: {ended.stdout}\n{ended.stderr}")
                self.assertTrue((machine.root / "stack/zmqrpc/devstack/plugin.sh").exists())
