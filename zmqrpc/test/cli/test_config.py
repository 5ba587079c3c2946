"""`zmqrpc config`: a sample, or values and where they come from."""

from __future__ import annotations

import json
import os
import re
import sys
from argparse import Namespace
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zmqrpc import families
from zmqrpc.cli._config import run, sample
from zmqrpc.cli._report import Report
from zmqrpc.configuration import load
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IMatchmakerFactory
from zmqrpc.option import Effect
from zmqrpc.settings import FIELDS, OPTIONS, Settings
from zmqrpc.test.processes import ProcessTestCase

FILE = """\
[DEFAULT]
transport_url = zmq+redis://:QQQ%40@host-1:6379/0?max_routes=5
rpc_zmq_host = node-1
[oslo_messaging_zmq]
use_pub_sub = true
"""


@implementer(IMatchmakerFactory)
class ConsulFactory:
    """A third party's."""

    scheme = "consul"
    local = False

    def __init__(self, making=lambda reactor: None):
        self.making = making

    def make(self, reactor, url, settings):
        self.making(reactor)
        return self


def config(url, files, as_json):
    """Run it as the command line does."""
    return run("config", Namespace(url=url, config_file=files, json=as_json), Report("zmqrpc config", as_json))


class ConfigTests(SynchronousTestCase):
    def setUp(self):
        self.patch(os, "environ", {})
        self.out, self.err = StringIO(), StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.path = self.mktemp()

    def file(self, content):
        Path(self.path).write_text(content)
        return self.path

    def test_sample(self):
        """Every option that has a meaning is there, as a comment with its help; as it stands it changes nothing."""
        self.assertEqual(config(None, [], False), 0)
        text = self.out.getvalue()
        for option in OPTIONS:
            self.assertEqual(f"\n#{option.key} =" in text, option.effect is not Effect.NONE, option.key)
        self.assertIn("# Lowest port to bind.\n# int, from 1 to 65535\n#rpc_zmq_min_port = 49153\n", text)
        self.assertEqual(load(url="zmq://", config_files=[self.file(text)]).settings, Settings())

    def test_sample_means_the_defaults(self):
        """Without the marks of comments it says what is the case anyway."""
        lines = [re.sub("^#([a-z])", r"\1", line) for line in sample()]
        loaded = load(config_files=[self.file("\n".join(lines))])
        self.assertEqual((loaded.settings, loaded.warnings), (Settings(), ()))

    def test_sample_for_programs(self):
        config(None, (), True)
        table = json.loads(self.out.getvalue())
        self.assertEqual(sum(map(len, table.values())), len(OPTIONS))
        self.assertEqual(
            table["oslo_messaging_zmq"]["zmq_target_expire"],
            {
                "type": "int",
                "default": 300,
                "low": None,
                "high": None,
                "help": "Seconds until a record that is not refreshed is forgotten; <= 0: never.",
                "effect": "it counts",
                "deprecated": ["[DEFAULT] zmq_target_expire"],
            },
        )

    def test_values(self):
        """Each value has its origin above it, unset ones what they mean; warnings are on the other stream."""
        self.assertEqual(config(None, [self.file(FILE)], False), 0)
        text = self.out.getvalue()
        for lines in (
            f"[DEFAULT]\n# {self.path} line 2\ntransport_url = zmq+redis://:***@host-1:6379/0\n",
            f"# {self.path} line 3\nrpc_zmq_host = node-1\n",
            f"# {self.path} line 5\nuse_pub_sub = true\n",
            f"# URL query, {self.path} line 2\nmax_routes = 5\n",
            "# default; it means 150\n#zmq_target_update =\n",
            "# default; it means 30\nzmq_linger = -1\n",
            "# default\nuse_router_proxy = false\n",
        ):
            self.assertIn(lines, text)
        self.assertIn("rpc_zmq_host in [DEFAULT]", self.err.getvalue())
        self.assertNotIn("QQQ", text + self.err.getvalue())

    def test_values_can_be_read(self):
        """What is printed is a file that means the same, but for the password."""
        config(None, [self.file(FILE)], False)
        expected = load(config_files=[self.path]).settings
        again = load(url=expected.url, config_files=[self.file(self.out.getvalue())])
        self.assertEqual(again.settings, expected)

    def test_values_for_programs(self):
        config("zmq+redis://h?max_routes=6", [self.file(FILE)], True)
        shown = json.loads(self.out.getvalue())
        self.assertEqual(sum(map(len, shown["options"].values())), len(FIELDS))
        self.assertEqual(shown["options"]["DEFAULT"]["transport_url"], {"value": "zmq+redis://h", "origin": "--url"})
        self.assertEqual(shown["options"]["oslo_messaging_zmq"]["max_routes"], {"value": 6, "origin": "URL query"})
        self.assertEqual(len(shown["warnings"]), 2)
        self.assertEqual(self.err.getvalue(), "")

    def test_no_url(self):
        """A file that leaves the URL to another can be looked at."""
        self.assertEqual(config(None, [self.file("[oslo_messaging_zmq]\nmax_routes = 5\n")], False), 0)
        self.assertIn("# default\ntransport_url = zmq://\n", self.out.getvalue())
        said = self.err.getvalue()
        self.assertTrue(said.startswith(f"zmqrpc config: no transport URL in {self.path}; give --url"))
        self.assertEqual(said.count("\n"), 1)

    def test_ignored(self):
        """What is ignored is said, and all can be looked at."""
        for lines, *texts in (
            (
                "transport_url = zmq+redis://h\n[oslo_messaging_zmq]\nuse_router_proxy=1\nuse_dynamic_connections=1",
                "use_dynamic_connections is ignored because use_router_proxy is set; unset one of them",
            ),
        ):
            self.err.truncate(0)
            self.assertEqual(config(None, [self.file(f"[DEFAULT]\n{lines}\n")], False), 0)
            for text in texts:
                self.assertIn(f"zmqrpc config: {text}\n", self.err.getvalue())

    def theirs(self, factory):
        self.patch(families, "getPlugins", lambda interface, package=None: iter([factory]))
        return config(None, [self.file("[DEFAULT]\ntransport_url = zmq+consul://h:1\n")], False)

    def test_theirs(self):
        """A plugin is taken for what it is."""
        self.assertEqual(self.theirs(ConsulFactory()), 0)
        self.assertEqual(self.err.getvalue(), "")

    def test_theirs_uses_the_reactor(self):
        """A plugin gets a reactor, and may ask it for all that reactors have."""
        used: list[object] = []
        self.assertEqual(self.theirs(ConsulFactory(lambda reactor: used.append(reactor.getThreadPool))), 0)
        self.assertEqual(len(used), 1)

    def test_theirs_raises(self):
        """What a plugin raises is a refusal that names it."""
        refused = self.assertRaises(ConfigError, self.theirs, ConsulFactory(lambda reactor: 1 / 0))
        self.assertIn("the plugin zmqrpc.test.cli.test_config.ConsulFactory raised ZeroDivisionError", str(refused))
        self.assertIn("line 2", str(refused))

    def test_not_possible(self):
        """What no process can start with is refused, with its line."""
        for lines, text in (
            ("transport_url = zmq+bogus://h", "no matchmaker 'bogus'"),
            ("transport_url = zmq+sqlite://", "the transport URL"),
            ("transport_url = zmq://\n[oslo_messaging_zmq]\nuse_pub_sub = 1", "which the matchmaker dummy cannot find"),
            ("transport_url = zmq://\n[oslo_messaging_zmq]\nzmq_topology = star", "there is no topology 'star'"),
        ):
            path = self.file(f"[DEFAULT]\n{lines}\n")
            error = str(self.assertRaises(ConfigError, config, None, [path], False))
            self.assertIn(text, error)
            self.assertIn(f"{path} line ", error)

    def test_refused(self):
        self.assertRaises(ConfigError, config, None, ["/no/such/file"], False)
        self.assertRaises(ConfigError, config, "http://x", [], True)


class ConfigProcessTests(ProcessTestCase):
    def test_command(self):
        """What is wrong is one line on standard error, and status 2."""
        printed = self.run_to_end("zmqrpc", "config")
        self.assertEqual((printed.returncode, printed.stderr), (0, ""))
        (self.directory / "sample.conf").write_text(printed.stdout)
        shown = self.run_to_end("zmqrpc", "config", "-c", "sample.conf", "--url", self.url)
        self.assertEqual((shown.returncode, shown.stderr), (0, ""))
        self.assertIn(f"# --url\ntransport_url = {self.url}\n", shown.stdout)
        for content, text in (
            (
                "[oslo_messaging_zmq]\nmax_route = 5\n",
                "zeromq.conf line 2); did you mean max_routes, max_running_bytes or max_filters?",
            ),
            ("[DEFAULT]\ntransport_url = zmq+redis://:QQQ@h?max_routes=x\n", "(URL query, zeromq.conf line 2)"),
            ("password QQQ\n", "zeromq.conf line 1 stands before any section"),
            ("", "zeromq.conf is empty"),
            (
                "[DEFAULT]\ntransport_url = zmq+bogus://:QQQ@h\n",
                "valid are dummy, etcd, file, redis, sentinel, sqlite (transport_url: zeromq.conf line 2)",
            ),
        ):
            (self.directory / "zeromq.conf").write_text(content)
            for command in (("config",), ("call", "topic", "method"), ("cast", "topic", "method")):
                refused = self.run_to_end("zmqrpc", *command, "--config-file", "zeromq.conf")
                self.assertEqual((refused.returncode, refused.stdout), (2, ""))
                self.assert_one_sentence(text, refused.stderr)
                self.assertNotIn("QQQ", refused.stderr)
