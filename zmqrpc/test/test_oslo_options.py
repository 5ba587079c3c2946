"""docs/oslo-options has every option of both seeds, and docs/_ext/seed_options.py makes its tables."""

from __future__ import annotations

import re
import sys
from configparser import ConfigParser
from importlib import import_module
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from zmqrpc.option import DEFAULT, PROXY, REDIS, ZMQ, Effect
from zmqrpc.settings import OPTIONS
from zmqrpc.test.test_documentation import DOCS
from zmqrpc.test.test_seed_files import FILES

IN_TEXT = {
    ZMQ: (
        *("rpc_zmq_host", "rpc_zmq_matchmaker", "rpc_zmq_bind_address", "rpc_zmq_min_port", "rpc_zmq_max_port"),
        *("rpc_zmq_bind_port_retries", "rpc_zmq_ipc_dir", "zmq_target_expire", "zmq_target_update", "zmq_linger"),
        *("zmq_failover_connections", "use_pub_sub", "use_router_proxy", "use_dynamic_connections", "subscribe_on"),
    ),
    DEFAULT: ("transport_url", "rpc_backend"),
    REDIS: ("host", "port", "password"),
    PROXY: ("host", "frontend_port", "backend_port", "publisher_port"),
}
"""The options that the sentences of the seeds name, in the sections of the newer one."""

SPELLED = (
    *("zmq_proxy_opt", "zmq_proxy_opts", "matchmaker_redis", "oslo_messaging_zmq"),
    *("zmq://", "zmq+redis://host-1:6379", "zmq+sentinel://host1:26379,host2:26379,host3:26379"),
    *("oslo-messaging-zmq-proxy", "oslo-messaging-zmq-broker", "oslo-messaging-zmq-receiver"),
    *("--config-file", "--log-file", "--host", "--frontend-port", "--backend-port", "--publisher-port"),
    *("--local-publisher", "--debug"),
    *("ENABLED_SERVICES+=,-rabbit,zeromq", "ZEROMQ_MATCHMAKER=redis", "ENABLE_DEBUG_LOG_LEVEL=True"),
    "enable_plugin zmq https://github.com/openstack/devstack-plugin-zmq.git",
    *("OSLOMSG_REPO", "OSLOMSG_BRANCH", "LIBS_FROM_GIT=oslo.messaging"),
    *("DATABASE_PASSWORD", "ADMIN_PASSWORD", "SERVICE_PASSWORD", "SERVICE_TOKEN"),
)
"""What else they spell: sections, URLs, commands with their flags, and lines for DevStack."""


class OptionsPageTests(SynchronousTestCase):
    def setUp(self) -> None:
        if not DOCS.exists():
            raise SkipTest("the documentation is not here")
        self.patch(sys, "path", [str(DOCS / "_ext"), *sys.path])
        self.made: Any = import_module("seed_options")
        self.page = (DOCS / "oslo-options.rst").read_text()
        self.tables = "\n".join(
            "\n".join(self.made.table_lines(group))
            for group in re.findall(r"^\.\. seed-options:: (\w+)$", self.page, re.MULTILINE)
        )

    def assert_has(self, group: str, key: str) -> None:
        """Check that the table of a section has an option, where it stood or under its newer place."""
        self.assertIn(f"   * - ``{key}``\n", "\n".join(self.made.table_lines(group)) + "\n", f"{key} in [{group}]")

    def test_sections(self) -> None:
        """The page has a table for each section."""
        groups = re.findall(r"^\.\. seed-options:: (\w+)$", self.page, re.MULTILINE)
        self.assertEqual(set(groups), {group for group, _ in self.made.THERE})

    def test_text(self) -> None:
        for group, keys in IN_TEXT.items():
            for key in keys:
                self.assert_has(group, key)
        for text in SPELLED:
            self.assertRegex(self.page, re.escape(text) + r"(?![\w-])")

    def test_files(self) -> None:
        """Whatever the configuration files of the seeds set is there, in the section that they have or a newer one."""
        seen = 0
        for path in FILES.rglob("*.conf"):
            parser = ConfigParser(interpolation=None, default_section="")
            parser.read_string(path.read_text())
            for section in parser.sections():
                for key in parser[section]:
                    places = {
                        (option.group, option.key)
                        for option in OPTIONS
                        if (section, key) in ((option.group, option.key), *option.was)
                    }
                    self.assertEqual(len(places), 1, f"{key} in [{section}] ({path.name})")
                    self.assert_has(*places.pop())
                    seen += 1
        self.assertGreater(seen, 60)

    def test_commands(self) -> None:
        """Every flag of the commands that the seeds print is there."""
        commands = re.findall(r"^   \$ (oslo-messaging.*(?:\\\n.*)*)", (FILES / "index.rst").read_text(), re.MULTILINE)
        self.assertEqual(len(commands), 4)
        for word in " ".join(commands).split():
            if word.startswith("--"):
                self.assertIn(f"``{word}``", self.page)

    def test_every_older_place(self) -> None:
        """What is read from an older place, or has no effect, is of the predecessor, and so on the page."""
        for option in OPTIONS:
            for group, key in option.was or ((option.group, option.key),):
                if option.was or option.effect is Effect.NONE:
                    self.assertRegex(self.tables + self.page, rf"[` ]{key}``", f"{key} in [{group}]")

    def test_defaults(self) -> None:
        """Where the table knows what the default was in the older seed, the page says so."""
        for place, there in self.made.THERE.items():
            older = self.made.row_of(place).older_default
            if older is not None:
                self.assertIn(f"older {older}", there)

    def test_what_is_no_option(self) -> None:
        """A row of which the one table knows nothing keeps the documentation from being built."""
        self.assertRaises(LookupError, self.made.row_of, (ZMQ, "no_such_option"))
