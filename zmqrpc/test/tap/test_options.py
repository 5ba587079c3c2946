"""The options of `twistd zmq-rpc-server`, and what ``--app`` finds."""

from __future__ import annotations

import os
import sys
from io import StringIO
from pathlib import Path

from twisted.internet import reactor
from twisted.logger import LogLevel
from twisted.plugin import IPlugin
from twisted.scripts._twistd_unix import ServerOptions
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from zmqrpc import expose
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IRPCApplication
from zmqrpc.tap import _applications
from zmqrpc.tap._log import no_other_log
from zmqrpc.tap._refusal import StartRefused
from zmqrpc.tap.server import Options
from zmqrpc.target import Target

URL = "zmq+sqlite:///run/matchmaker.db"
HERE = __name__


class Calc:
    target = Target(topic="calc", exchange="numbers")

    @expose
    def add(self, context, a, b):
        return a + b


class NeedsMore:
    def __init__(self, more):
        pass


@implementer(IPlugin, IRPCApplication)
class Application:
    name = "an-application"
    topic = "t"

    def endpoints(self, reactor, client, settings):
        return [Calc()]


calc = Calc()


class OptionsTests(SynchronousTestCase):
    def setUp(self):
        self.said = StringIO()
        self.patch(sys, "__stderr__", self.said)
        self.patch(os, "environ", {})

    def test_url_from_environment(self):
        os.environ["ZMQRPC_URL"] = URL
        options = Options()
        options.parseOptions(["--app", f"{HERE}:Calc"])
        self.assertEqual(options.settings.url, URL)

    def parse(self, *arguments):
        options = Options()
        options.parseOptions(["--url", URL, "--app", f"{HERE}:Calc", *arguments])
        return options

    def assertRefused(self, text, *arguments):
        self.said.truncate(0)
        refused = self.assertRaises(StartRefused, Options().parseOptions, arguments)
        self.assertIsInstance(refused, ConfigError)
        self.assertEqual(refused.code, 2)
        self.assertIn(text, self.said.getvalue())
        self.assertEqual(self.said.getvalue().count("\n"), 1)

    def test_least(self):
        options = self.parse()
        self.assertEqual(options.settings.url, URL)
        self.assertIsNone(options.settings.rpc_zmq_host)
        self.assertEqual(options.target, Target())
        self.assertEqual(options.applications, [(f"{HERE}:Calc", Calc)])
        self.assertIsNone(options.log_file)
        self.assertFalse(options["debug"])

    def test_long_and_short(self):
        log = self.mktemp()
        for url, app, host, file, debug in (
            ("--url", "--app", "--host", "--log-file", "--debug"),
            ("-u", "-a", "-H", "-l", "-d"),
        ):
            options = Options()
            options.parseOptions(
                [
                    *(url, f"{URL}?drain_timeout=5", app, f"{HERE}:Calc", app, f"{HERE}:calc", host, "10.0.0.1"),
                    *("--server", "node-1", "--topic", "calc", "--exchange", "x", file, log, debug),
                ]
            )
            self.assertEqual((options.settings.url, options.settings.drain_timeout), (URL, 5))
            self.assertEqual(options.settings.rpc_zmq_host, "10.0.0.1")
            self.assertEqual(options.target, Target("calc", server="node-1", exchange="x"))
            self.assertEqual([found for _, found in options.applications], [Calc, calc])
            assert options.log_file is not None
            self.assertEqual(options.log_file.path, os.path.abspath(log))
            self.assertIs(options.log_file._level, LogLevel.debug)
            self.assertTrue(options["debug"])

    def test_wrong(self):
        app = ("--app", f"{HERE}:Calc")
        for text, *arguments in (
            ("nothing to serve",),
            ("no transport URL", *app),
            ("option --tpoic not recognized; did you mean --topic? twistd zmq-rpc-server", "--tpoic", "x"),
            (
                "option --frob not recognized; twistd zmq-rpc-server --help lists all",
                "--frob",
            ),
            ("option -z not recognized; twistd zmq-rpc-server --help lists all", "-z"),
            ("option --url requires argument", "--url"),
            ("option --url is given twice; give it once", *app, "--url", URL, "-u", URL),
            ("option --topic is given twice", *app, "--topic", "a", "--url", URL, "--topi", "b"),
            ("'extra' is not an option", *app, "extra"),
            ("does not start with zmq://", *app, "--url", "redis://x"),
            ("unknown option 'colour'", *app, "--url", f"{URL}?colour=red"),
            ("option drain_timeout is 'x' (URL query); it must be a number", *app, "--url", f"{URL}?drain_timeout=x"),
            ("the server", *app, "--url", URL, "--server", "a\nb"),
            ("the topic ''", *app, "--url", URL, "--topic", ""),
            ("no application plugin 'bogus'", "--url", URL, "--app", "bogus"),
            ("No module named 'no'", "--url", URL, "--app", "no.such.module:x"),
            ("there is no 'Nope' in the module", "--url", URL, "--app", f"{HERE}:Nope"),
            ("cannot be written (Not a directory)", *app, "--url", URL, "--log-file", f"{__file__}/x.log"),
            ("cannot be written (No such file", *app, "--url", URL, "--log-file", "/no/such/directory/x.log"),
            ("cannot be written (Is a directory)", *app, "--url", URL, "--log-file", "/tmp"),
        ):
            self.assertRefused(text, *arguments)

    def test_config_files(self):
        """The last file, then the URL's query, then the command line count; the URL may be a file's."""
        first, second = Path(self.mktemp()), Path(self.mktemp())
        first.write_text(f"[DEFAULT]\ntransport_url = {URL}?max_clients=3\n[oslo_messaging_zmq]\nrpc_zmq_host = a\n")
        second.write_text("[oslo_messaging_zmq]\nmax_routes = 2\nmax_clients = 2\nrpc_zmq_host = b\n")
        for long, short in (("--config-file", "-c"), ("-c", "--config-file")):
            options = Options()
            options.parseOptions([long, str(first), short, str(second), "-a", f"{HERE}:Calc", "-H", "c"])
            settings = options.settings
            self.assertEqual((settings.url, settings.max_routes, settings.max_clients), (URL, 2, 3))
            self.assertEqual(settings.rpc_zmq_host, "c")
            self.assertEqual(options.configuration.origins["rpc_zmq_host"], "--host")
            self.assertEqual(options.configuration.origins["max_routes"], f"{second} line 2")
        self.assertEqual(self.parse("-c", str(second)).settings.rpc_zmq_host, "b")
        self.assertRefused("--config-file requires argument", "--config-file")
        self.assertRefused("no transport URL in", "-a", f"{HERE}:Calc", "-c", str(second))
        self.assertRefused("cannot be read (No such file", "-a", f"{HERE}:Calc", "-c", "/no/such/file")

    def under_twistd(self, *arguments):
        twistd = ServerOptions()
        log = self.mktemp()
        twistd.parseOptions([*arguments, "zmq-rpc-server", "-u", URL, "-a", f"{HERE}:Calc", "-l", log])
        return twistd

    def test_the_only_log(self):
        """With --log-file twistd does not write a log of its own, unless it was told to."""
        self.assertIs(self.under_twistd("-n")["logger"], no_other_log)
        self.assertIsNone(self.under_twistd("-n", "--logfile", "x.log")["logger"])
        self.assertIsNone(self.under_twistd("-n", "--syslog")["logger"])

    def test_becomes_daemon(self):
        self.assertFalse(self.parse().becomes_daemon)
        self.assertFalse(self.under_twistd("-n").subOptions.becomes_daemon)
        self.assertTrue(self.under_twistd().subOptions.becomes_daemon)


class ApplicationTests(SynchronousTestCase):
    def make(self, name):
        return _applications.make(name, _applications.find(name))

    def test_endpoint(self):
        """A class and an object are one endpoint each; its own target may name topic and exchange."""
        for name in (f"{HERE}:Calc", f"{HERE}:calc"):
            application = self.make(name)
            self.assertTrue(verifyObject(IRPCApplication, application))
            self.assertEqual((application.name, application.topic, application.exchange), (name, "calc", "numbers"))
            (endpoint,) = application.endpoints(reactor, None, None)
            self.assertIsInstance(endpoint, Calc)
        self.assertIs(endpoint, calc)

    def test_application(self):
        self.assertIsInstance(self.make(f"{HERE}:Application"), Application)

    def test_inner(self):
        self.assertIs(_applications.find(f"{HERE}:Calc.target"), Calc.target)

    def test_needs_arguments(self):
        refused = self.assertRaises(ConfigError, self.make, f"{HERE}:NeedsMore")
        self.assertIn("cannot be made without arguments (TypeError:", str(refused))

    def test_missing_module(self):
        """A line of Python's own, which says nothing to the author, is not named."""
        for name in ("nothing.at:all", "nothing:all", "zmqrpc.nothing:all"):
            refused = self.assertRaises(ConfigError, _applications.find, name)
            self.assertRegex(str(refused), r"cannot be imported: ModuleNotFoundError: No module named '[a-z.]+'$")

    def test_broken_module(self):
        """The sentence says what was raised, and where, since no traceback is shown."""
        directory = Path(self.mktemp())
        directory.mkdir()
        self.patch(sys, "path", [str(directory), *sys.path])
        for number, (source, text) in enumerate(
            (
                ("\n1 / 0", "ZeroDivisionError: division by zero, .*broken0.py line 2$"),
                ("raise SystemExit(3)", "SystemExit: 3, .*broken1.py line 1$"),
                ("def", "SyntaxError: invalid syntax .*line 1"),
            )
        ):
            (directory / f"broken{number}.py").write_text(source)
            refused = self.assertRaises(ConfigError, _applications.find, f"broken{number}:x")
            self.assertRegex(str(refused), text)
