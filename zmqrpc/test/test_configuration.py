"""What command line, URL and files amount to, and what is said about what is wrong with them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from textwrap import dedent

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.cli._config import ignored
from zmqrpc.configuration import FOR_PROXIES, load
from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.node import Node
from zmqrpc.option import DEFAULT, PROXY, REDIS, RING, ZMQ, Effect
from zmqrpc.settings import OPTIONS, Settings
from zmqrpc.test.logs import LogLines
from zmqrpc.transport_url import store_url

URL = "zmq+sqlite:///run/matchmaker.db"
NOVA = Path(__file__).with_name("nova.conf")

OLDER = """\
[DEFAULT]
rpc_backend = zmq
rpc_zmq_host = node-1
rpc_zmq_matchmaker = redis
rpc_zmq_contexts = 1
zmq_target_expire = 60
rpc_cast_timeout = 5
[matchmaker_redis]
host = 10.0.0.1
port = 6380
password = p%40@/:?#s
"""


class ConfigurationCase(SynchronousTestCase):
    def setUp(self):
        self.patch(os, "environ", {})
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)

    def load(self, content="", **more):
        """Load one file, named zeromq.conf; none for no content."""
        if not content:
            return load(**more)
        Path("zeromq.conf").write_text(dedent(content))
        return load(config_files=["zeromq.conf"], **more)

    def zmq(self, lines, **more):
        return self.load(f"[DEFAULT]\ntransport_url = {URL}\n[oslo_messaging_zmq]\n{lines}\n", **more)

    def refused(self, content="", **more):
        error = str(self.assertRaises(ConfigError, self.load, content, **more))
        self.assertEqual(len(error.splitlines()), 1, error)
        self.assertLess(len(error), 300, error)
        self.assertNotIn("QQQ", error)
        return error


class PrecedenceTests(ConfigurationCase):
    def test_nothing_but_a_url(self):
        loaded = load(url=URL)
        self.assertEqual(loaded.settings, Settings(URL))
        self.assertEqual(set(loaded.origins.values()), {"--url", "default"})
        self.assertEqual((loaded.origins["url"], loaded.warnings), ("--url", ()))

    def test_command_line_query_file_default(self):
        """Each beats those after it, and each value says where it is from."""
        content = f"""\
            [DEFAULT]
            transport_url = {URL}?max_routes=3&max_clients=3
            control_exchange = file
            [oslo_messaging_zmq]
            rpc_zmq_host = file
            max_routes = 4
            max_clients = 4
            drain_timeout = 4
            """
        given = {"rpc_zmq_host": "given", "max_routes": 2, "drain_timeout": None}
        loaded = self.load(content, given=given)
        settings = loaded.settings
        self.assertEqual((settings.url, settings.control_exchange), (URL, "file"))
        self.assertEqual((settings.rpc_zmq_host, settings.max_routes), ("given", 2))
        self.assertEqual((settings.max_clients, settings.drain_timeout, settings.max_running_calls), (3, 4.0, 10000))
        self.assertEqual(
            {name: origin for name, origin in loaded.origins.items() if origin != "default"},
            {
                "url": "zeromq.conf line 2",
                "control_exchange": "zeromq.conf line 3",
                "rpc_zmq_host": "--host",
                "max_routes": "the command line",
                "max_clients": "URL query, zeromq.conf line 2",
                "drain_timeout": "zeromq.conf line 8",
            },
        )
        other = self.load(content, url="zmq://?max_routes=9")
        self.assertEqual((other.settings.url, other.settings.max_routes, other.settings.max_clients), ("zmq://", 9, 4))
        self.assertEqual((other.origins["url"], other.origins["max_routes"]), ("--url", "URL query"))

    def test_several_files(self):
        """The last that names an option counts."""
        Path("a.conf").write_text(
            f"[DEFAULT]\ntransport_url={URL}\n[oslo_messaging_zmq]\nmax_routes=1\nmax_clients=1\n"
        )
        Path("b.conf").write_text("[oslo_messaging_zmq]\nmax_routes=2\n")
        loaded = load(config_files=["a.conf", "b.conf"])
        self.assertEqual((loaded.settings.max_routes, loaded.settings.max_clients), (2, 1))
        self.assertEqual(loaded.origins["max_routes"], "b.conf line 2")
        self.assertEqual(loaded.warnings, ())

    def test_environment(self):
        """It counts when neither the command line nor a file names a URL."""
        os.environ["ZMQRPC_URL"] = "zmq://?max_routes=7"
        loaded = self.load("[oslo_messaging_zmq]\nmax_clients = 5\n")
        self.assertEqual((loaded.settings.url, loaded.settings.max_routes), ("zmq://", 7))
        self.assertEqual(loaded.origins["url"], "ZMQRPC_URL")
        self.assertEqual(loaded.origins["max_routes"], "URL query, ZMQRPC_URL")
        self.assertEqual(self.zmq("").settings.url, URL)
        self.assertEqual(load(url=URL).settings.url, URL)

    def test_no_url(self):
        self.assertIn("no transport URL; give --url, or set ZMQRPC_URL, for example", self.refused())
        self.assertIn("no transport URL in zeromq.conf; give --url", self.refused("[DEFAULT]\ndebug = true\n"))

    def test_given_is_checked(self):
        self.assertEqual(
            self.refused(url=URL, given={"rpc_zmq_host": "a b"}),
            "option rpc_zmq_host is 'a b', which is neither a host name nor an IP address (--host)",
        )

    def test_overruled(self):
        """What overrules a file is named as it is written there, and not as the file has it."""
        url = "zmq+redis://:QQQ@h"
        base = f"[DEFAULT]\ntransport_url = {URL}\n"
        older = f"{base}rpc_cast_timeout = 5\n"
        for content, more, text in (
            (
                f"{base}[matchmaker_redis]\npassword = QQQQ\n",
                {"url": url},
                "(url: --url; password in [matchmaker_redis]: zeromq.conf line 4)",
            ),
            (older, {"url": f"{URL}?zmq_linger=-5"}, "option zmq_linger is -5; it must be at least -1 (URL query)"),
            (
                older,
                {"given": {"zmq_linger": -5}},
                "option zmq_linger is -5; it must be at least -1 (the command line)",
            ),
        ):
            self.assertIn(text, self.refused(content, **more))

    def test_proxies(self):
        """A proxy's own URL is before that of everybody, which counts for proxies too."""
        content = f"[DEFAULT]\ntransport_url = {URL}\n[zmq_proxy_opts]\nhost = proxy-1\nfrontend_port = 5001\n"
        loaded = self.load(content, service=FOR_PROXIES, given={"proxy_backend_port": 5002})
        settings = loaded.settings
        self.assertEqual((settings.url, settings.proxy_host, settings.rpc_zmq_host), (URL, "proxy-1", None))
        self.assertEqual((settings.proxy_frontend_port, settings.proxy_backend_port), (5001, 5002))
        self.assertEqual(loaded.origins["proxy_backend_port"], "--backend-port")
        self.assertEqual(loaded.warnings, ())
        content += "url = zmq+dummy://\n"
        self.assertEqual(self.load(content, service=FOR_PROXIES).settings.url, "zmq+dummy://")
        self.assertEqual(self.load(content, service=FOR_PROXIES, url="zmq://").settings.url, "zmq://")
        services = self.load(content)
        self.assertEqual((services.settings.url, services.warnings), (URL, ()))


class ValueTests(ConfigurationCase):
    def test_every_option(self):
        """What the table says is its default can be written in a file, and means the default."""
        for service in ("service", FOR_PROXIES):
            lines = []
            for group in (DEFAULT, ZMQ, PROXY, REDIS, RING):
                lines.append(f"[{group}]")
                lines += [
                    f"{option.key} = {option.write(option.default)}" for option in OPTIONS if option.group == group
                ]
            loaded = self.load("\n".join(lines), service=service)
            self.assertEqual(loaded.settings, Settings())

    def test_kinds(self):
        for text, name, value in (
            ("use_pub_sub = True", "use_pub_sub", True),
            ("use_pub_sub = on", "use_pub_sub", True),
            ("use_pub_sub = 0", "use_pub_sub", False),
            ('rpc_zmq_host = "node-1"', "rpc_zmq_host", "node-1"),
            ("rpc_zmq_host = None", "rpc_zmq_host", None),
            ("rpc_zmq_host =", "rpc_zmq_host", None),
            ("rpc_zmq_host = {hostname}", "rpc_zmq_host", None),
            ("rpc_zmq_host = fe80::1", "rpc_zmq_host", "fe80::1"),
            ("zmq_target_expire = -1", "zmq_target_expire", -1),
            ("zmq_target_update = 0.5", "zmq_target_update", 0.5),
            ("rpc_retry_attempts = None", "rpc_retry_attempts", -1),
            ("rpc_zmq_max_port = 65536", "rpc_zmq_max_port", 65536),
            ("use_pub_sub = 1\nsubscribe_on = a:1, [::1]:2,\n  c-1:3", "subscribe_on", ("a:1", "[::1]:2", "c-1:3")),
        ):
            self.assertEqual(getattr(self.zmq(text).settings, name), value, text)

    def test_intervals(self):
        """The refresh is within the expiry, whatever is left unset."""
        for lines, interval in (
            ("", 150),
            ("zmq_target_expire = 120", 60),
            ("zmq_target_expire = 1000", 180),
            ("zmq_target_expire = 0", 180),
            ("zmq_target_expire = -1\nzmq_target_update = 1000", 1000),
            ("zmq_target_expire = 60\nzmq_target_update = 30", 30),
        ):
            self.assertEqual(self.zmq(lines).settings.refresh_interval, interval)

    def test_wrong(self):
        """One sentence with option, value, file, line, and what is valid."""
        for lines, text in (
            ("zmq_target_expire = soon", "zmq_target_expire is 'soon' (zeromq.conf line 4); it must be a whole number"),
            ("drain_timeout = x", "drain_timeout is 'x' (zeromq.conf line 4); it must be a number"),
            ("drain_timeout = nan", "drain_timeout is nan; it must be a finite number (zeromq.conf line 4)"),
            ("use_pub_sub = maybe", "use_pub_sub is 'maybe' (zeromq.conf line 4); it must be true or false"),
            ("use_pub_sub =", "use_pub_sub is '' (zeromq.conf line 4); it must be true or false"),
            ("\nrpc_zmq_min_port = 0", "is 0; it must be from 1 to 65535 (zeromq.conf line 5)"),
            (
                "rpc_zmq_advertised_address = node-1:",
                "rpc_zmq_advertised_address is 'node-1:', which has the port ''; it must be a number from 1 to 65535 "
                "(zeromq.conf line 4)",
            ),
            ("max_routes = 1 # few", "it must be a whole number; a comment stands on a line of its own"),
            ("max_routes = 1\n  max_clients = 2", "begin it in the first column"),
            ("rpc_zmq_host = $my_ip", "is '$my_ip', which is neither a host name nor an IP address"),
            (
                "rpc_zmq_host = tcp://x",
                "is 'tcp://x', which is neither a host name nor an IP address (zeromq.conf line 4)",
            ),
            (
                "subscribe_on = a:1,b",
                "subscribe_on names 'b', which has no port; write host:port, for example 10.0.0.1",
            ),
            ("subscribe_on = a:0", "names 'a:0', which has the port '0'"),
            ("subscribe_on = a:65536", "names 'a:65536'"),
            ("subscribe_on = ::1:5", "names '::1:5'"),
            (
                "rpc_zmq_hots = x",
                "unknown option rpc_zmq_hots in [oslo_messaging_zmq] (zeromq.conf line 4); did you mean",
            ),
            ("RPC_ZMQ_HOST = x", "(zeromq.conf line 4); did you mean rpc_zmq_host, "),
            (
                "colour = x",
                "unknown option colour in [oslo_messaging_zmq] (zeromq.conf line 4); zmqrpc config lists all",
            ),
            ("transport_url = zmq://:QQQ@h", "(zeromq.conf line 4); it belongs in [DEFAULT]"),
            ("frontend_port = 1", "(zeromq.conf line 4); it belongs in [zmq_proxy_opts]"),
            (
                "subscribe_on = a:1",
                "set use_pub_sub to true, or take subscribe_on away (subscribe_on: zeromq.conf line 4)",
            ),
            (
                "zmq_target_expire = 60\nzmq_target_update = 60",
                "make it smaller (zmq_target_update: zeromq.conf line 5; zmq_target_expire: zeromq.conf line 4)",
            ),
            (
                "rpc_zmq_min_port = 5\nrpc_zmq_max_port = 5",
                "(rpc_zmq_min_port: zeromq.conf line 4; rpc_zmq_max_port: zeromq.conf line 5)",
            ),
        ):
            self.assertIn(text, self.refused(f"[DEFAULT]\ntransport_url = {URL}\n[oslo_messaging_zmq]\n{lines}\n"))

    def test_wrong_elsewhere(self):
        base = f"[DEFAULT]\ntransport_url = {URL}\n"
        for content, text in (
            ("[DEFAULT]\ntransport_url = rabbit://:QQQ@h\n", "'rabbit://:***@h' does not start with zmq:// or zmq+"),
            ("[DEFAULT]\ntransport_url = rabbit://:QQQ@h\n", "(zeromq.conf line 2)"),
            ("[DEFAULT]\ntransport_url = zmq://?colour=red\n", "unknown option 'colour'"),
            (
                "[DEFAULT]\ntransport_url = zmq://?max_route=1\n",
                "unknown option 'max_route'; did you mean max_routes, max_running_bytes or max_filters?",
            ),
            (
                "[DEFAULT]\ntransport_url = zmq://?redis_sentinel_password=QQQ\n",
                "names 'redis_sentinel_password' in its query, where no password belongs, as it would be shown; write "
                "that of the store before the host, scheme://:PASSWORD@HOST, and that of Sentinels as "
                "sentinel_password into [matchmaker_redis] of a configuration file",
            ),
            (
                "[DEFAULT]\ntransport_url = zmq://?sentinel_user=ada\n",
                "names 'sentinel_user' in its query; write it, with sentinel_password, into [matchmaker_redis] of a "
                "configuration file (zeromq.conf line 2)",
            ),
            (
                "[DEFAULT]\ntransport_url = zmq://?redis_sentinel_user=ada\n",
                "redis_sentinel_password is not; write both into [matchmaker_redis] of a configuration file",
            ),
            ("[DEFAULT]\ntransport_url = zmq://?max_routes=x\n", "is 'x' (URL query, zeromq.conf line 2)"),
            (base + "control_exchange =\n", "give a printable name (zeromq.conf line 3)"),
            ("[DEFAULT]\nrpc_backend = rabbit\n", "rpc_backend is 'rabbit' (zeromq.conf line 2); write zmq, or a"),
            ("[DEFAULT]\nrpc_response_timeout = 0\n" + base, "rpc_response_timeout is 0; it must be at least 0.001"),
            (
                base + "[matchmaker_redis]\nport = 0\n",
                "option port in [matchmaker_redis] is 0; it must be from 1 to 65535 (zeromq.conf line 4)",
            ),
            (base + "[matchmaker_redis]\npasswort = QQQ\n", "unknown option passwort in [matchmaker_redis]"),
            (base + "[matchmaker_redis]\npasswort = QQQ\n", "did you mean password or "),
            (base + "[zmq_proxy_opt]\nbackend = 1\n", "did you mean backend_port?"),
            (
                base + "[matchmaker_redis]\nport = x\n",
                "option port in [matchmaker_redis] is 'x' (zeromq.conf line 4); it must be a whole number",
            ),
            (
                base + "[zmq_proxy_opts]\nfrontend_port = 65536\n",
                "option frontend_port in [zmq_proxy_opts] is 65536; it must be from 0 to 65535 (zeromq.conf line 4)",
            ),
            (
                base + "[zmq_proxy_opt]\nbackend_port = -1\n",
                "option backend_port in [zmq_proxy_opt] (now backend_port in [zmq_proxy_opts]) is -1; it must be",
            ),
            (
                base + "rpc_cast_timeout = soon\n",
                "option rpc_cast_timeout in [DEFAULT] (now zmq_linger in [oslo_messaging_zmq]) is 'soon' (zeromq.conf",
            ),
            (
                base + "rpc_cast_timeout = -5\n",
                "option rpc_cast_timeout in [DEFAULT] (now zmq_linger in [oslo_messaging_zmq]) is -5; it must be at",
            ),
            (
                "[DEFAULT]\ntransport_url = zmq+redis:/:QQQ@h\n",
                "'zmq+redis:***@h' needs two slashes; write zmq+redis://",
            ),
            ("[DEFAULT]\ntransport_url = zmq+sentinel://\n", "names no Sentinel; write zmq+sentinel://host1:26379"),
        ):
            self.assertIn(text, self.refused(content))

    def test_misspelt_sections(self):
        """One that is almost ours, and holds what is ours, is refused; what only looks so is said."""
        base = f"[DEFAULT]\ntransport_url = {URL}\n"
        for section, key, meant in (
            ("oslo_messaging_zmqq", "rpc_zmq_host = x", ZMQ),
            ("oslo-messaging-zmq", "max_routes = 5", ZMQ),
            ("oslo_messaging_zeromq", "use_pub_sub = true", ZMQ),
            ("OSLO_MESSAGING_ZMQ", "use_pub_sub = true", ZMQ),
            ("zmq_proxy_options", "frontend_port = 5", PROXY),
            ("matchmaker", "port = 5", REDIS),
            ("default", "transport_url = zmq://", DEFAULT),
        ):
            text = f"section [{section}] in zeromq.conf line 3 is not read; did you mean [{meant}]?"
            self.assertIn(text, self.refused(f"{base}[{section}]\n{key}\n"))
            self.assertEqual(self.load(f"{base}[{section}]\nfoo = bar\n").warnings, (text,))
        for section in ("oslo_messaging_rabbit", "oslo_messaging_notifications", "oslo_policy", "database", "zmq"):
            self.assertEqual(self.load(f"{base}[{section}]\nrpc_zmq_host = x\n").warnings, ())

    def test_unreadable(self):
        """Every file has to be readable, also when a URL is given."""
        self.assertIn("zeromq.conf line 1 stands before", self.refused("a = 1\n", url=URL))
        for path in ("/no/such/file", "/"):
            error = self.assertRaises(ConfigError, load, url=URL, config_files=[path])
            self.assertIn(f"the configuration file {path} cannot be read", str(error))

    def test_given_twice(self):
        """Which one was meant cannot be known in a section of ours; only of lists the last counts there."""
        self.assertIn(
            "max_routes in [oslo_messaging_zmq] (zeromq.conf line 4) is given again in line 5; take one of them away",
            self.refused(f"[DEFAULT]\ntransport_url={URL}\n[oslo_messaging_zmq]\nmax_routes = 1\nmax_routes = 2\n"),
        )
        loaded = self.zmq("use_pub_sub = 1\nsubscribe_on = a:1\nsubscribe_on = b:1")
        self.assertEqual(loaded.settings.subscribe_on, ("b:1",))
        self.assertEqual(
            loaded.warnings,
            ("subscribe_on in [oslo_messaging_zmq] (zeromq.conf line 5) is given again in line 6, which alone counts",),
        )

    def test_given_twice_in_default(self):
        """There the last counts, as for oslo.config, and that is said; of what is not ours nothing is."""
        loaded = self.load(
            "[DEFAULT]\ntransport_url = zmq+redis://:QQQ@h\nrpc_response_timeout = 1\n[x]\na = 1\na = 2\n"
            f"[DEFAULT]\ndebug = 1\ndebug = 2\nrpc_response_timeout = 2\ntransport_url = {URL}\n"
            "rpc_response_timeout = 3\n"
        )
        self.assertEqual((loaded.settings.url, loaded.settings.rpc_response_timeout), (URL, 3))
        self.assertEqual(loaded.origins["url"], "zeromq.conf line 11")
        self.assertEqual(
            loaded.warnings,
            (
                "transport_url in [DEFAULT] (zeromq.conf line 2) is given again in line 11, which alone counts",
                "rpc_response_timeout in [DEFAULT] (zeromq.conf line 3) is given again in line 12, which alone counts",
                "rpc_response_timeout in [DEFAULT] (zeromq.conf line 10) is given again in line 12, which alone counts",
            ),
        )

    def test_located(self):
        """Who builds parts of the settings can say where what it refuses was set."""
        loaded = self.zmq("use_pub_sub = true\nmax_routes = 5")
        for options, text in (
            (("use_pub_sub",), "no (zeromq.conf line 4)"),
            (("use_pub_sub", "use_router_proxy"), "no (use_pub_sub: zeromq.conf line 4)"),
            (("use_pub_sub", "max_routes"), "no (use_pub_sub: zeromq.conf line 4; max_routes: zeromq.conf line 5)"),
            (("use_router_proxy",), "no"),
            ((), "no"),
        ):
            self.assertEqual(str(loaded.located(ConfigError("no", options=options))), text)


class TopologyTests(ConfigurationCase):
    """What is found when a node is made, and says where it was set."""

    def assertRefused(self, content, text):
        loaded = self.load(content)
        error = self.assertRaises(ConfigError, Node, Clock(), loaded.settings)
        self.assertIn(text, str(loaded.located(error)))
        self.assertNotIn("QQQ", str(loaded.located(error)))

    def test_topologies(self):
        for lines, text in (
            (
                "zmq_topology = star",
                "no topology 'star'; valid are dynamic-direct, dynamic-direct+pub-sub, router-proxy,",
            ),
            ("zmq_topology = star", "static-direct+pub-sub (zeromq.conf line 4)"),
            (
                "zmq_topology = router-proxy\nuse_pub_sub = 1",
                "option zmq_topology is router-proxy, but use_pub_sub means static-direct+pub-sub; give one of them "
                "(zmq_topology: zeromq.conf line 4; use_pub_sub: zeromq.conf line 5)",
            ),
        ):
            self.assertRefused(f"[DEFAULT]\ntransport_url = {URL}\n[oslo_messaging_zmq]\n{lines}\n", text)
        for lines in ("zmq_topology = static-direct", "zmq_topology = dynamic-direct", "use_dynamic_connections = 1"):
            Node(Clock(), self.zmq(lines).settings)
        for lines in (
            "use_pub_sub = 1",
            "zmq_topology = router-proxy+pub-sub",
            "use_pub_sub = 1\nsubscribe_on = a:1",
            "use_pub_sub = 1\nuse_dynamic_connections = 1",
        ):
            content = f"[DEFAULT]\ntransport_url = {URL}\n[oslo_messaging_zmq]\n{lines}\n"
            self.assertTrue(Node(Clock(), self.load(content).settings).plan.subscribes)

    def test_ignored(self):
        """Dynamic connections beside router proxies are ignored, with a warning that names both."""
        lines = LogLines(self)
        content = "[oslo_messaging_zmq]\nuse_router_proxy=1\nuse_dynamic_connections=1\n"
        Node(Clock(), self.load(f"[DEFAULT]\ntransport_url = zmq+redis://h:1\n{content}").settings)
        self.assertEqual(len(lines.about("use_dynamic_connections is ignored because use_router_proxy is set")), 1)

    def test_a_fixed_table_and_publishers(self):
        """It is said at the start that nothing is published, and by `zmqrpc config`."""
        Path("ring.json").write_text('{"calc": {"one": "127.0.0.1:5001"}}')
        loaded = self.load(f"[DEFAULT]\ntransport_url = zmq+file://{Path('ring.json').absolute()}?use_pub_sub=1\n")
        lines = LogLines(self)
        Node(Clock(), loaded.settings)
        (line,) = lines.about("fan-outs go to each member by itself (use_pub_sub), as the table")
        self.assertIn(line, ignored(loaded))

    def test_matchmakers(self):
        """One that cannot serve the topology, that is still to come, that there is not, or whose URL it refuses."""
        for lines, text in (
            ("transport_url = zmq://\nuse_pub_sub = 1", "needs proxies, which the matchmaker dummy cannot find"),
            (
                "transport_url = zmq://\nuse_router_proxy = 1",
                "use zmq+sqlite:///path, or static-direct (transport_url: ze",
            ),
            (
                "transport_url = zmq+file:///nowhere\nuse_router_proxy = 1",
                "the topology router-proxy cannot be served with the matchmaker file, whose table names no instances",
            ),
            (
                "transport_url = zmq+sentinel://:QQQ@h:1,h:1",
                "names h:1 twice; name each server once; for example zmq+sentinel://:PASSWORD@host1:26379,host2:26379,host3:26379",
            ),
            ("transport_url = zmq+etcd://:QQQ@h:1", "has a password without a user; write user:password@"),
            ("transport_url = zmq+oracle://:QQQ@h", "there is no matchmaker 'oracle'; valid are dummy"),
            ("transport_url = zmq+oracle://:QQQ@h", "(transport_url: zeromq.conf line 2)"),
            ("transport_url = zmq://\nrpc_zmq_matchmaker = oracle", "rpc_zmq_matchmaker: zeromq.conf line 3)"),
            ("transport_url = zmq+sqlite://", "(zeromq.conf line 2)"),
        ):
            self.assertRefused(f"[DEFAULT]\n{lines}\n", text)


class OlderTests(ConfigurationCase):
    def test_older_layout(self):
        """The older seed's names count, and each is reported once with the new one, as are defaults that changed."""
        loaded = self.load(OLDER)
        settings = loaded.settings
        self.assertEqual(settings.url, "zmq+redis://:p%2540%40%2F%3A%3F%23s@10.0.0.1:6380")
        self.assertEqual((settings.rpc_zmq_host, settings.zmq_target_expire, settings.linger), ("node-1", 60, 5))
        self.assertEqual(loaded.origins["zmq_linger"], "zeromq.conf line 7")
        self.assertEqual(
            loaded.warnings,
            (
                "rpc_zmq_matchmaker in [DEFAULT] (zeromq.conf line 4) is deprecated; "
                "write rpc_zmq_matchmaker in [oslo_messaging_zmq]",
                "rpc_zmq_host in [DEFAULT] (zeromq.conf line 3) is deprecated; "
                "write rpc_zmq_host in [oslo_messaging_zmq]",
                "zmq_target_expire in [DEFAULT] (zeromq.conf line 6) is deprecated; "
                "write zmq_target_expire in [oslo_messaging_zmq] (its default was 120, and is 300)",
                "rpc_cast_timeout in [DEFAULT] (zeromq.conf line 7) is deprecated; "
                "write zmq_linger in [oslo_messaging_zmq]",
                "zeromq.conf: these defaults have changed since such files were written: "
                "rpc_zmq_min_port was 49152 and is 49153, use_pub_sub was true and is false",
                "option rpc_zmq_contexts (zeromq.conf line 5) has no effect. A node has one ZeroMQ context.",
                "rpc_backend (zeromq.conf line 2) is deprecated; write transport_url = zmq+redis://:***@10.0.0.1:6380",
            ),
        )
        self.assertEqual(loaded.outdated, set(loaded.warnings))

    def test_older_matchmaker_of_no_url(self):
        """What is advised is a URL, also where what is written makes none."""
        for name in ("foo", "sqlite"):
            loaded = self.load(f"[DEFAULT]\nrpc_backend = zmq\n[oslo_messaging_zmq]\nrpc_zmq_matchmaker = {name}\n")
            self.assertEqual(
                loaded.warnings[-1],
                "rpc_backend (zeromq.conf line 2) is deprecated; "
                "write transport_url = zmq+redis://HOST:PORT, or zmq+sqlite:///PATH on one machine",
            )

    def test_newer_name_wins(self):
        """Also when the older one is in a later file."""
        Path("new.conf").write_text(f"[DEFAULT]\ntransport_url = {URL}\n[oslo_messaging_zmq]\nzmq_linger = 1\n")
        Path("old.conf").write_text("[DEFAULT]\nrpc_cast_timeout = 2\n[oslo_messaging_zmq]\nrpc_cast_timeout = 3\n")
        loaded = load(config_files=["new.conf", "old.conf"])
        self.assertEqual((loaded.settings.zmq_linger, loaded.origins["zmq_linger"]), (1, "new.conf line 4"))
        self.assertEqual(
            loaded.warnings,
            (
                "rpc_cast_timeout in [oslo_messaging_zmq] (old.conf line 4) is ignored, "
                "since zmq_linger in [oslo_messaging_zmq] (new.conf line 4) is its newer name",
                "rpc_cast_timeout in [DEFAULT] (old.conf line 2) is ignored, "
                "since zmq_linger in [oslo_messaging_zmq] (new.conf line 4) is its newer name",
            ),
        )

    def test_proxy_groups(self):
        """Both spellings of the seed are read; the one of its prose wins."""
        base = f"[DEFAULT]\ntransport_url = {URL}\n[zmq_proxy_opt]\nhost = a\nbackend_port = 1\n"
        loaded = self.load(base, service=FOR_PROXIES)
        self.assertEqual((loaded.settings.proxy_host, loaded.settings.proxy_backend_port), ("a", 1))
        self.assertIn(
            "host in [zmq_proxy_opt] (zeromq.conf line 4) is deprecated; write host in [zmq_proxy_opts]",
            loaded.warnings,
        )
        both = self.load(f"{base}[zmq_proxy_opts]\nhost = b\n", service=FOR_PROXIES)
        self.assertEqual((both.settings.proxy_host, both.settings.proxy_backend_port), ("b", 1))
        self.assertTrue(any("[zmq_proxy_opt] (zeromq.conf line 4) is ignored" in said for said in both.warnings))

    def test_url_from_the_parts(self):
        """``[matchmaker_redis]`` and ``rpc_zmq_matchmaker`` complete a URL that leaves them open, and no other."""
        redis = "[matchmaker_redis]\nhost = ::1\npassword = None\n"
        sentinel = "[matchmaker_redis]\nsentinel_hosts = a:1,b:2\npassword = x\nsentinel_group_name = g\n"
        for backend, more, url in (
            ("rpc_backend = zmq", "", "zmq://"),
            ("rpc_backend = zmq\nrpc_zmq_matchmaker = dummy", redis, "zmq://"),
            ("rpc_backend = zmq\nrpc_zmq_matchmaker = redis", "", "zmq+redis://127.0.0.1:6379"),
            ("rpc_backend = nova.rpc.impl_zmq\nrpc_zmq_matchmaker = redis", redis, "zmq+redis://[::1]:6379"),
            ("rpc_backend = zmq\nrpc_zmq_matchmaker = sentinel", sentinel, "zmq+sentinel://:x@a:1,b:2/g"),
            ("transport_url = zmq://\nrpc_zmq_matchmaker = redis", redis, "zmq+redis://[::1]:6379"),
            ("transport_url = zmq://h:1/2\nrpc_zmq_matchmaker = redis", redis, "zmq+redis://h:1/2"),
            ("transport_url = zmq:///run/x.db\nrpc_zmq_matchmaker = sqlite", "", "zmq+sqlite:///run/x.db"),
            ("transport_url = zmq+redis://", redis, "zmq+redis://[::1]:6379"),
            ("transport_url = zmq+redis:///3", redis, "zmq+redis://[::1]:6379/3"),
            ("transport_url = zmq+redis://h", redis, "zmq+redis://h"),
            ("transport_url = zmq+sentinel://h:5", sentinel, "zmq+sentinel://h:5/g"),
            ("transport_url = zmq+sentinel://h:5/mine", sentinel, "zmq+sentinel://h:5/mine"),
            ("transport_url = zmq+sentinel://h:5", "", "zmq+sentinel://h:5"),
            ("rpc_backend = rabbit\ntransport_url = zmq://", "", "zmq://"),
        ):
            self.assertEqual(self.load(f"[DEFAULT]\n{backend}\n{more}").settings.url, url)

    @settings(max_examples=60, derandomize=True, database=None)
    @given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
    def test_passwords(self, password):
        """Whatever a password holds, a Redis server is told exactly that."""
        (place,) = RedisPlace.from_url(store_url("redis", ["host:1"], password))
        self.assertEqual((place.host, place.port, place.password), ("host", 1, password.encode()))

    def test_options_in_default(self):
        """Anything may stand there; but an option of ours that is not read there is reported."""
        loaded = self.load(f"[DEFAULT]\ntransport_url = {URL}\nmax_routes = 5\nhost = x\nanything = $1%\n")
        self.assertEqual(loaded.settings, Settings(URL))
        self.assertEqual(
            loaded.warnings,
            ("max_routes in [DEFAULT] (zeromq.conf line 3) is not read; it belongs in [oslo_messaging_zmq]",),
        )

    def test_without_effect(self):
        """What is dead is said once, with what to do."""
        dead = [option for option in OPTIONS if option.effect is Effect.NONE and option.group == ZMQ]
        self.assertGreater(len(dead), 4)
        loaded = self.zmq("\n".join(f"{option.key} = 1" for option in dead))
        self.assertEqual(len(loaded.warnings), len(dead))
        for option, warning in zip(dead, loaded.warnings, strict=True):
            self.assertIn(f"option {option.name} (zeromq.conf line", warning)
            self.assertIn(option.help, warning)
        self.assertEqual(len(load(url=f"{URL}?rpc_poll_timeout=1").warnings), 1)
        self.assertEqual(Settings.from_url(f"{URL}?rpc_poll_timeout=1"), Settings(URL))


class CompletedTests(ConfigurationCase):
    """What completes a URL, and what is said when it has nothing to complete."""

    def test_lost(self):
        """What the URL overrules is reported with file and line, all at once."""
        redis = "[matchmaker_redis]\nhost = 10.0.0.9\npassword = QQQ\n"
        host, password = (f"{name} in [matchmaker_redis] (zeromq.conf line" for name in ("host", "password"))
        for url, more, lost in (
            ("zmq+redis://127.0.0.1:6379", redis, f"{host} 4), {password} 5) are"),
            ("zmq+redis://10.0.0.9:6379", redis, f"{password} 5) is"),
            ("zmq+redis://:QQQ@10.0.0.9:6379", redis, ""),
            ("zmq+redis://:QQQ@h", redis, f"{host} 4) is"),
            ("zmq+redis://", redis, ""),
            ("zmq+sqlite:///x", redis, f"{host} 4), {password} 5) are"),
            ("zmq+redis://h", "[matchmaker_redis]\nhost = 127.0.0.1\nport = 6379\n", ""),
            (
                "zmq+sqlite:///x",
                "[oslo_messaging_zmq]\nrpc_zmq_matchmaker = redis\n",
                "rpc_zmq_matchmaker (zeromq.conf line 4) is",
            ),
            ("zmq+redis://h", "[oslo_messaging_zmq]\nrpc_zmq_matchmaker = redis\n", ""),
            (
                "zmq+sentinel://h:5/g",
                "[matchmaker_redis]\nsentinel_group_name = other\n",
                "sentinel_group_name in [matchmaker_redis] (zeromq.conf line 4) is",
            ),
            ("zmq+sentinel://h:5", "[matchmaker_redis]\nsentinel_group_name = other\n", ""),
        ):
            said = self.load(f"[DEFAULT]\ntransport_url = {url}\n{more}").warnings
            shown = url.replace(":QQQ@", ":***@")
            text = (
                f"{lost} ignored, since the transport URL {shown} (zeromq.conf line 2) says otherwise; write into it "
                "what should count"
            )
            self.assertEqual(said, (text,) if lost else (), url)

    def test_two_passwords(self):
        self.assertEqual(
            self.refused("[DEFAULT]\ntransport_url = zmq+redis://:QQQ@h\n[matchmaker_redis]\npassword = QQQQ\n"),
            "the transport URL zmq+redis://:***@h and option password in [matchmaker_redis] name different passwords; "
            "take one of them away (transport_url: zeromq.conf line 2; "
            "password in [matchmaker_redis]: zeromq.conf line 4)",
        )

    def test_from_python(self):
        """A URL alone is completed in the same way; neither files nor the environment are asked."""
        os.environ["ZMQRPC_URL"] = "zmq+sqlite:///environment"
        for url in ("zmq://?rpc_zmq_matchmaker=redis", "zmq+redis://"):
            for made in (Settings.from_url(url), Node(Clock(), url).settings):
                self.assertEqual(made.url, "zmq+redis://127.0.0.1:6379")
        self.assertEqual(Settings.from_url("zmq://", rpc_zmq_matchmaker="redis").url, "zmq+redis://127.0.0.1:6379")
        self.assertIn("does not start with zmq://", str(self.assertRaises(ConfigError, Settings.from_url, "")))
        error = self.assertRaises(ConfigError, Settings.from_url, "zmq+sqlite:///a\nb")
        self.assertIn("'zmq+sqlite:///a\\nb' holds a control character", str(error))

    def test_older_name(self):
        """What had another name in URLs and in Python is taken, and reported."""
        older = f"{URL}?redis_socket_timeout=2000"
        self.assertEqual(Settings.from_url(older), Settings(URL, matchmaker_timeout=2000))
        self.assertEqual(Settings.from_url(URL, redis_socket_timeout=2000), Settings(URL, matchmaker_timeout=2000))
        self.assertEqual(Settings.from_url(older, matchmaker_timeout=5).matchmaker_timeout, 5)
        loaded = load(url=older)
        text = "option redis_socket_timeout (URL query) is deprecated; its name is matchmaker_timeout"
        self.assertEqual((loaded.warnings, loaded.outdated), ((text,), {text}))
        lines = LogLines(self, "zmqrpc.settings")
        Settings.from_url(URL, redis_socket_timeout=2000)
        self.assertEqual(lines, ["option redis_socket_timeout is deprecated; its name is matchmaker_timeout"])
        for url, options, text in (
            (
                f"{older}&matchmaker_timeout=5",
                {},
                "options redis_socket_timeout and matchmaker_timeout are one, by two",
            ),
            (URL, {"redis_socket_timeout": 5, "matchmaker_timeout": 5}, "options redis_socket_timeout and matchmaker_"),
            (f"{URL}?redis_socket_timeout=x", {}, "option redis_socket_timeout is 'x' (URL query)"),
            (f"{URL}?redis_socket_timeout=0", {}, "option redis_socket_timeout is 0"),
        ):
            self.assertIn(text, str(self.assertRaises(ConfigError, Settings.from_url, url, **options)))

    def test_from_python_wrong(self):
        for url, options, text in (
            ("zmq://?max_routes=x", {}, "option max_routes is 'x' (URL query); it must be a whole number"),
            ("zmq://?max_routes=0", {}, "option max_routes is 0; it must be at least 1 (URL query)"),
            ("zmq://?max_routes=5", {"max_routes": 0}, "option max_routes is 0; it must be at least 1"),
            (
                "zmq://",
                {"max_route": 1},
                "there is no option 'max_route'; did you mean max_routes, max_running_bytes or max_filters?",
            ),
            (
                "zmq+redis://:QQQ@QQQ@h",
                {},
                "the transport URL 'zmq+redis://:***@h' has an @ in its user or password; write it as %40",
            ),
            ("zmq+redis://QQQ@QQQ:QQQ@h/1", {}, "the transport URL 'zmq+redis://QQQ@QQQ:***@h/1' has an @ in its user"),
            (
                "zmq+redis://:QQQ%zzQQQ@h",
                {},
                "the transport URL 'zmq+redis://:***@h' has a % in its user or password t",
            ),
            (
                "zmq+redis://:QQQ%@h",
                {},
                "the transport URL 'zmq+redis://:***@h' has a % in its user or password that no",
            ),
            ("zmq+sentinel://", {}, "the transport URL names no Sentinel; write zmq+sentinel://host1:26379"),
        ):
            error = str(self.assertRaises(ConfigError, Settings.from_url, url, **options))
            self.assertTrue(error.startswith(text), error)

    def test_from_python_without_effect(self):
        """What has no effect is logged, once."""
        lines = LogLines(self, "zmqrpc.settings")
        Node(Clock(), "zmq+dummy://?rpc_zmq_contexts=3&rpc_zmq_matchmaker=redis")
        self.assertEqual(
            lines,
            [
                "option rpc_zmq_contexts (URL query) has no effect. A node has one ZeroMQ context.",
                "rpc_zmq_matchmaker (URL query) is ignored, since the transport URL zmq+dummy:// says otherwise; write "
                "into it what should count",
            ],
        )


class SubstitutionTests(ConfigurationCase):
    def test_references(self):
        """As oslo.config writes them: the own section first, then [DEFAULT], or the one that is named."""
        for value, host in (
            ("$rpc_zmq_bind_address", "own"),
            ("$here", "default"),
            ("$there", "outer"),
            ("${there}-1", "outer-1"),
            ("${other.there}", "third"),
            ("${DEFAULT.here}", "default"),
            ("$deep", "own"),
        ):
            loaded = self.load(
                f"[DEFAULT]\ntransport_url = {URL}\nhere = default\nthere = outer\n"
                "deep = ${oslo_messaging_zmq.rpc_zmq_bind_address}\n[other]\nthere = third\n"
                f"[oslo_messaging_zmq]\nrpc_zmq_host = {value}\nrpc_zmq_bind_address = own\n"
                "[DEFAULT]\n"
            )
            self.assertEqual(loaded.settings.rpc_zmq_host, host, value)

    def test_password(self):
        """A ``$`` that names nothing stays; ``$$`` is one."""
        for written, url in (
            ("zmq+redis://:a$b%40%2540@h", "zmq+redis://:a$b%40%2540@h"),
            ("zmq+redis://:a$$b@h", "zmq+redis://:a$b@h"),
            ("zmq+redis://:$1%25@h", "zmq+redis://:$1%25@h"),
        ):
            self.assertEqual(self.load(f"[DEFAULT]\ntransport_url = {written}\n").settings.url, url)

    def test_endless(self):
        """What refers to itself ends, and is left as it is."""
        loaded = self.load(f"[DEFAULT]\ntransport_url = {URL}\ncontrol_exchange = a$control_exchange\n")
        self.assertEqual(loaded.settings.control_exchange, "a" * 11 + "$control_exchange")


class NovaTests(ConfigurationCase):
    def test_nova(self):
        """The file of a large service loads, whatever else it holds, without a word."""
        loaded = load(config_files=[str(NOVA)])
        settings = loaded.settings
        self.assertEqual(loaded.warnings, ())
        self.assertEqual(settings.url, "zmq+redis://:p%40ss%25w0rd@10.0.0.11:6379/0")
        self.assertEqual((settings.control_exchange, settings.rpc_response_timeout), ("nova", 120))
        self.assertEqual((settings.rpc_zmq_host, settings.zmq_target_expire), ("10.0.0.11", 120))
        self.assertTrue(re.fullmatch(r".*nova\.conf line \d+", loaded.origins["url"]))
