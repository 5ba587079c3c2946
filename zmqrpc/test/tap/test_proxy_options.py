"""The options of `twistd zmq-proxy`."""

from __future__ import annotations

import os
import sys
from io import StringIO
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import ConfigError
from zmqrpc.proxy_node import ProxyNode
from zmqrpc.tap._refusal import StartRefused
from zmqrpc.tap.proxy import Options

URL = "zmq+sqlite:///run/matchmaker.db"


class ProxyOptionsTests(SynchronousTestCase):
    def setUp(self):
        self.said = StringIO()
        self.patch(sys, "__stderr__", self.said)
        self.patch(os, "environ", {})

    def parse(self, *arguments):
        options = Options()
        options.parseOptions(["--url", URL, *arguments])
        return options

    def refusal(self, options):
        """Return what a proxy with these options is refused with."""
        refused = self.assertRaises(ConfigError, ProxyNode, Clock(), options.settings)
        return str(options.configuration.located(refused))

    def test_least(self):
        settings = self.parse().settings
        self.assertEqual(settings.url, URL)
        self.assertEqual((settings.proxy_frontend_port, settings.proxy_backend_port), (None, None))
        self.assertEqual(
            (settings.proxy_local_publisher, settings.proxy_ipc, settings.proxy_type), (False, False, None)
        )

    def test_long_and_short(self):
        log = self.mktemp()
        for host, frontend, backend, publisher, file, debug in (
            ("--host", "--frontend-port", "--backend-port", "--publisher-port", "--log-file", "--debug"),
            ("-H", "-f", "-b", "-p", "-l", "-d"),
        ):
            options = self.parse(
                host, "node-123", frontend, "50001", backend, "0", publisher, "50003", file, log, debug
            )
            settings = options.settings
            self.assertEqual((settings.proxy_host, settings.rpc_zmq_host), ("node-123", None))
            ports = settings.proxy_frontend_port, settings.proxy_backend_port, settings.proxy_publisher_port
            self.assertEqual(ports, (50001, 0, 50003))
            assert options.log_file is not None
            self.assertIs(options.log_file._level, LogLevel.debug)
        settings = self.parse("--local-publisher", "--ipc").settings
        self.assertTrue(settings.proxy_local_publisher and settings.proxy_ipc)
        self.assertEqual(self.parse("--type", "theirs").settings.proxy_type, "theirs")

    def test_config_file(self):
        """What is in it counts where the command line says nothing, in both spellings of the section."""
        for section in ("zmq_proxy_opts", "zmq_proxy_opt"):
            path = Path(self.mktemp())
            said = "host = host-1\nfrontend_port = 1\nlocal_publisher = yes\n"
            path.write_text(f"[DEFAULT]\ntransport_url = {URL}\n[{section}]\n{said}")
            options = Options()
            options.parseOptions(["-c", str(path), "-f", "2"])
            settings = options.settings
            self.assertEqual((settings.url, settings.proxy_host, settings.proxy_frontend_port), (URL, "host-1", 2))
            self.assertTrue(settings.proxy_local_publisher)
            path.write_text(path.read_text() + "url = zmq+redis://other\n")
            options = Options()
            options.parseOptions(["-c", str(path)])
            self.assertEqual(options.settings.url, "zmq+redis://other")

    def test_file_of_other_proxies(self):
        """The newer seed starts a local publisher with it: what it has no use for is left out, with a warning."""
        path = Path(self.mktemp())
        path.write_text(
            f"[DEFAULT]\ntransport_url = {URL}\n[oslo_messaging_zmq]\nuse_pub_sub = true\n"
            "[zmq_proxy_opts]\nfrontend_port = 50001\npublisher_port = 50003\nipc = true\n"
        )
        for flags in (("--local-publisher",), ("--type", "local-publisher")):
            options = Options()
            options.parseOptions(["-c", str(path), *flags, "-p", "60001"])
            self.assertEqual((options.settings.proxy_frontend_port, options.settings.proxy_ipc), (None, False))
            self.assertEqual(options.settings.proxy_publisher_port, 60001)
            warnings = options.configuration.warnings
            self.assertEqual(len(warnings), 2)
            self.assertIn(f"option frontend_port in [zmq_proxy_opts] ({path} line 6) is ignored: what", warnings[0])
        options = Options()
        options.parseOptions(["-c", str(path), "--local-publisher", "-f", "50001"])
        self.assertIn(
            "option proxy_frontend_port is 50001, and a local publisher has nothing of", self.refusal(options)
        )

    def test_refused_with_their_places(self):
        """What contradicts is named with where it was set."""
        path = Path(self.mktemp())
        path.write_text("[oslo_messaging_zmq]\nuse_pub_sub = false\n[zmq_proxy_opts]\npublisher_port = 50003\n")
        refusal = self.refusal(self.parse("-c", str(path)))
        self.assertIn(
            "option publisher_port in [zmq_proxy_opts] is 50003, and without use_pub_sub nothing is published; ",
            refusal,
        )
        self.assertIn(f"{path} line 4; use_pub_sub: {path} line 2)", refusal)

    def test_wrong(self):
        for text, *arguments in (
            (
                "option --frontned-port not recognized; did you mean --frontend-port",
                "--frontned-port",
            ),
            ("option --frontend-port is 'x'; it must be a whole number", "-f", "x"),
            ("option proxy_backend_port is 70000; it must be from 0 to 65535 (--backend-port)", "-b", "70000"),
            ("option --backend-port is given twice; give it once", "-b", "1", "--backend-port", "2"),
            ("'extra' is not an option", "extra"),
            ("the log file /no/such/directory/x.log cannot be written (No such file", "-l", "/no/such/directory/x.log"),
        ):
            self.said.truncate(0)
            refused = self.assertRaises(StartRefused, self.parse, *arguments)
            self.assertIsInstance(refused, ConfigError)
            self.assertIn(f"zmq-proxy: {text}", self.said.getvalue())
            self.assertEqual(self.said.getvalue().count("\n"), 1)
