"""`twistd zmq-rpc-server` as users run it: real processes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

from zmqrpc.test.processes import ProcessTestCase, until

CALC = """
    import os
    import time
    from twisted.internet import reactor
    from twisted.internet.task import deferLater
    from zmqrpc import expose

    class Calc:
        @expose
        def add(self, context, a, b):
            return a + b

        @expose
        def pid(self, context):
            return os.getpid()

        @expose
        async def slow(self, context, seconds):
            open("running", "w").close()
            await deferLater(reactor, seconds, lambda: None)
            return "done"

        @expose
        def block(self, context, seconds):
            open("running", "w").close()
            time.sleep(seconds)
            return "done"
"""
RPC_SERVER = ("-n", "--pidfile=", "zmq-rpc-server")


class ServerProcessTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.module("calc", CALC)
        self.calc = ("--app", "calc:Calc", "--topic", "calc")

    def call(self, *arguments):
        return self.run_to_end("zmqrpc", "call", "--url", self.url, "--timeout", "10", *arguments)

    def taken(self):
        port = self.taken_port()
        return f"{self.url}?rpc_zmq_min_port={port}&rpc_zmq_max_port={port + 1}"

    def test_serve(self):
        """It says in one line what it serves and where; the module is found in the current directory."""
        running = self.serve(*self.calc, "--server", "node-1")
        lines = [line for line in running.out.splitlines() if "serving topic" in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(
            lines[0],
            r"topic calc as member node-1 at tcp://127\.0\.0\.1:\d+, exchange openstack, instance [0-9a-f]{32}$",
        )
        self.assertEqual(self.call("calc.node-1", "add", "a=1", "b=2").stdout, "3\n")
        running.signal()
        self.assertEqual(running.ends(), -signal.SIGTERM)
        self.assertIn("stopped", running.out)
        self.assertEqual(self.call("calc", "add", "a=1", "b=2").returncode, 3)

    def test_sigterm_drains(self):
        """A call that runs is finished and answered; a new one finds nobody."""
        running = self.serve(*self.calc)
        caller = self.start("zmqrpc", "call", "--url", self.url, "calc", "slow", "seconds=1.5")
        until((self.directory / "running").exists, "the call has begun")
        running.signal()
        running.says("stopping")
        refused = self.call("calc", "add", "a=1", "b=2")
        self.assertIn(refused.returncode, (3, 7), refused.stderr)
        self.assertEqual(caller.ends(), 0, caller.err)
        self.assertEqual(caller.out, '"done"\n')
        self.assertEqual(running.ends(), -signal.SIGTERM)
        self.assertNotIn("Traceback", running.out)

    def begin(self, method, seconds, *options):
        """Serve, and call a method that takes its time; return both processes when it has begun."""
        running = self.serve(*self.calc, *options)
        caller = self.start("zmqrpc", "call", "--url", self.url, "calc", method, f"seconds={seconds}")
        until((self.directory / "running").exists, "the call has begun")
        return running, caller

    def test_sigterm_again(self):
        """While calls end, a second SIGTERM is answered in the log, a third is not, and the calls end all the same."""
        running, caller = self.begin("slow", 1.5)
        running.signal()
        running.says("stopping: nothing new")
        running.signal()
        running.says("stopping already")
        running.signal()
        self.assertEqual(caller.ends(), 0, caller.err)
        self.assertEqual(running.ends(), -signal.SIGTERM)
        self.assertEqual(running.out.count("stopping already"), 1)
        self.assertNotIn("Traceback", running.out)

    def test_signals_to_one_that_is_blocked(self):
        """Signals that come before a method lets the process stop are one stop."""
        running, caller = self.begin("block", 1)
        for _ in range(3):
            running.signal()
            running.says("Received SIGTERM")
        self.assertEqual(caller.ends(), 0, caller.err)
        self.assertEqual(running.ends(), -signal.SIGTERM)
        self.assertEqual(running.out.count("Received SIGTERM"), 1)
        self.assertNotIn("Traceback", running.out)

    def test_ctrl_c_again_and_again(self):
        """Who does not want to wait presses Ctrl-C until the log says that the next one ends it, and once more."""
        running, caller = self.begin("slow", 60)
        running.signal(signal.SIGINT)
        running.says("stopping: nothing new")
        running.signal(signal.SIGINT)
        running.says("stopping already")
        running.signal(signal.SIGINT)
        self.assertEqual(running.ends(), -signal.SIGINT)
        self.assertEqual(caller.ends(), 8, caller.err)
        self.assertNotIn("Traceback", running.out)

    def test_drain_timeout(self):
        """A call that takes longer than the drain timeout does not keep the process; its outcome is not known."""
        running = self.serve(*self.calc, url=f"{self.url}?drain_timeout=0.5")
        caller = self.start("zmqrpc", "call", "--url", self.url, "calc", "slow", "seconds=60")
        until((self.directory / "running").exists, "the call has begun")
        running.signal()
        self.assertEqual(running.ends(), -signal.SIGTERM)
        self.assertEqual(caller.ends(), 8, caller.err)
        self.assertIn("it may have run", caller.err)

    def test_port_taken(self):
        for name, *options in (("twistd", *RPC_SERVER), ("twist", "zmq-rpc-server")):
            ended = self.run_to_end(name, *options, "--url", self.taken(), *self.calc)
            self.assertEqual(ended.returncode, 2)
            self.assert_one_sentence("cannot bind 127.0.0.1 on port", ended.stderr)
            self.assertNotIn("Traceback", ended.stdout)

    def test_daemon(self):
        """It goes to the background, logs to its file and nowhere else, and leaves no pid file behind."""
        log = self.directory / "server.log"
        # A process that has ended.
        stale = self.python("-c", "import os; print(os.getpid())").stdout
        (self.directory / "twistd.pid").write_text(stale)
        ended = self.run_to_end("twistd", "zmq-rpc-server", "--url", self.url, "-l", "server.log", *self.calc)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        pid_file = self.directory / "twistd.pid"
        pid = int(pid_file.read_text())
        until(lambda: "ready: registered" in log.read_text(), log.read_text)
        self.assertEqual(self.call("calc", "pid").stdout, f"{pid}\n")
        second = self.run_to_end("twistd", "zmq-rpc-server", "--url", self.url, *self.calc)
        self.assertNotEqual(second.returncode, 0)
        subprocess.run(["kill", str(pid)], check=True)
        until(lambda: not pid_file.exists(), "the pid file is removed")
        self.assertIn("stopped", log.read_text())
        self.assertFalse((self.directory / "twistd.log").exists())

    def test_daemon_port_taken(self):
        """What keeps a daemon from starting is said on the terminal and in its log, and its status says it too."""
        ended = self.run_to_end("twistd", "zmq-rpc-server", "--url", self.taken(), "-l", "server.log", *self.calc)
        self.assertEqual(ended.returncode, 2)
        self.assert_one_sentence("cannot bind 127.0.0.1 on port", ended.stderr)
        log = (self.directory / "server.log").read_text()
        self.assertIn("cannot bind 127.0.0.1 on port", log)
        self.assertNotIn("Traceback", log)
        self.assertFalse((self.directory / "twistd.pid").exists())

    def test_refused(self):
        """Whatever is wrong: one sentence on standard error, status 2, no traceback."""
        self.module("broken", "raise ZeroDivisionError('oh\\nno')")
        self.module("plain", "class Plain: pass\nplain = Plain()\n")
        for options, text in (
            (("--bogus",), "option --bogus not recognized"),
            (("--app", "broken:x"), "ZeroDivisionError: oh no"),
            (("--app", "plain:plain", "--topic", "t"), "exposes no method"),
            (("--app", "calc:Calc"), "names no topic"),
        ):
            ended = self.run_to_end("twistd", *RPC_SERVER, "--url", self.url, *options)
            self.assertEqual(ended.returncode, 2, options)
            self.assert_one_sentence(text, ended.stderr)

    def write(self, content):
        (self.directory / "zeromq.conf").write_text(content)
        return "--config-file", "zeromq.conf"

    def test_config_file(self):
        """A file says everything; what is out of date in it is logged once, in the log that --log-file names too."""
        files = self.write(
            f"[DEFAULT]\ntransport_url = {self.url}\nrpc_zmq_bind_address = 127.0.0.1\n"
            "[oslo_messaging_zmq]\nrpc_zmq_host = localhost\nrpc_zmq_contexts = 3\n"
            "[zmq_proxy_opt]\nhost = elsewhere\n[nova]\nanything = %(x)s\n"
        )
        for log in ((), ("--log-file", "server.log")):
            running = self.start("twistd", *RPC_SERVER, *files, *self.calc, *log)
            called = self.run_to_end("zmqrpc", "call", *files, "--wait", "calc", "add", "a=1", "b=2")
            self.assertEqual(called.stdout, "3\n", called.stderr)
            said = (self.directory / "server.log").read_text() if log else running.out
            self.assertIn("as member localhost at tcp://127.0.0.1:", said)
            for text in (
                "rpc_zmq_bind_address in [DEFAULT] (zeromq.conf line 3) is deprecated; write rpc_zmq_bind_address in",
                "host in [zmq_proxy_opt] (zeromq.conf line 8) is deprecated",
                "option rpc_zmq_contexts (zeromq.conf line 6) has no effect",
            ):
                self.assertEqual(said.count(text), 1, text)
            running.signal()
            self.assertEqual(running.ends(), -signal.SIGTERM)

    def test_config_file_refused(self):
        """Also what is found when parts are made names the line, as a daemon too."""
        base = f"[DEFAULT]\ntransport_url = {self.url}\n[oslo_messaging_zmq]\n"
        for foreground, content, text in (
            (True, base + "zmq_topology = star\n", "static-direct+pub-sub (zeromq.conf line 4)"),
            (False, "[DEFAULT]\ntransport_url = zmq+oracle://h:1\n", "(transport_url: zeromq.conf line 2)"),
            (True, base + "max_routes = many\n", "is 'many' (zeromq.conf line 4); it must be a whole number"),
        ):
            options = ("-n", "--pidfile=") if foreground else ()
            ended = self.run_to_end("twistd", *options, "zmq-rpc-server", *self.write(content), *self.calc)
            self.assertNotEqual(ended.returncode, 0)
            self.assert_one_sentence(text, ended.stderr)

    def test_twist(self):
        running = self.start("twist", "zmq-rpc-server", "--url", self.url, *self.calc, "--server", "node-1")
        running.says("ready: registered")
        self.assertEqual(self.call("calc.node-1", "add", "a=1", "b=2").stdout, "3\n")
        running.signal()
        self.assertEqual(running.ends(), -signal.SIGTERM)
        running.says("stopped")

    def test_tac(self):
        """In an application file several services make one process."""
        (self.directory / "both.tac").write_text(
            f"""
from twisted.application.service import Application, MultiService
from zmqrpc.tap.server import Options, makeService

application = Application("both")
both = MultiService()
both.setServiceParent(application)
for member in ("node-1", "node-2"):
    options = Options()
    options.parseOptions(["--url", {self.url!r}, "--app", "calc:Calc", "--topic", "calc", "--server", member])
    makeService(options).setServiceParent(both)
"""
        )
        running = self.start("twistd", "-n", "--pidfile=", "-y", "both.tac")
        running.says("ready: registered", 2)
        pids = {self.call(f"calc.{member}", "pid").stdout for member in ("node-1", "node-2")}
        self.assertEqual(pids, {f"{running.process.pid}\n"})
        running.signal()
        self.assertEqual(running.ends(), -signal.SIGTERM)
        self.assertEqual(running.out.count("] stopped"), 2)

    def test_endpoints_that_fail_later(self):
        """A process whose endpoints cannot be made ends, with a status that its supervisor sees as a failure."""
        self.module(
            "late",
            """
            from twisted.internet import reactor
            from twisted.internet.task import deferLater
            from twisted.plugin import IPlugin
            from zope.interface import implementer
            from zmqrpc.interfaces import IRPCApplication

            @implementer(IPlugin, IRPCApplication)
            class Late:
                name = topic = "late"

                def endpoints(self, reactor, client, settings):
                    return deferLater(reactor, 0.1, lambda: 1 / 0)
            """,
        )
        ended = self.run_to_end("twistd", *RPC_SERVER, "--url", self.url, "--app", "late:Late")
        self.assertEqual(ended.returncode, 2)
        self.assert_one_sentence("the application late:Late raised when it was asked", ended.stderr)
        self.assertRegex(ended.stderr, r"ZeroDivisionError: division by zero, .*/late.py line \d+$")
        self.assertRegex(ended.stdout, r"ZeroDivisionError: division by zero, .* line \d+; stopping\n")
        self.assertIn("Traceback", ended.stdout)

    def test_log_and_debug(self):
        for options, traced in (((), False), (("--debug",), True)):
            name = f"{len(options)}.log"
            running = self.start("twistd", *RPC_SERVER, "-u", self.url, "-l", name, *self.calc, *options)
            log = self.directory / name
            until(lambda log=log: log.exists() and "ready: registered" in log.read_text(), "the log")
            self.assertEqual(self.call("calc", "add", "a=1", "b=2").returncode, 0)
            running.signal()
            running.ends()
            told = [line for line in log.read_text().splitlines() if "[zmqrpc.tap._trace" in line]
            self.assertEqual(len(told), 2 if traced else 0, told)
            for line, pattern in zip(
                told,
                (
                    r"CALL openstack/calc add, message \w{12}/\w{12}/1, from connection \w+$",
                    r"REPLY of message \w{12}/\w{12}/1, to connection \w+: a result after \d+\.\d ms$",
                ),
                strict=False,
            ):
                self.assertRegex(line, pattern)
            self.assertEqual(running.out, "")

    def test_plugin(self):
        """An application that is a plugin is named by its name alone."""
        self.write_plugin(self.directory / "site" / "zmqrpc" / "plugins")
        self.environment["PYTHONPATH"] += f":{self.directory / 'site'}"
        running = self.serve("--app", "clock", *self.calc)
        self.assertIn("serving topic clock", running.out)
        self.assertEqual(self.call("clock", "read").stdout, "12\n")
        self.assertEqual(self.call("calc", "add", "a=1", "b=2").stdout, "3\n")
        unknown = self.run_to_end("twistd", *RPC_SERVER, "--url", self.url, "--app", "watch")
        self.assert_one_sentence("no application plugin 'watch'; valid are clock", unknown.stderr)

    def test_plugin_in_the_current_directory(self):
        """It is found with PYTHONPATH only, whereas a module is found without; so says docs/howto/run-servers."""
        path = self.environment["PYTHONPATH"]
        for package in ("twisted", "zmqrpc"):
            plugins = self.directory / package / "plugins"
            self.write_plugin(plugins)
            self.environment["PYTHONPATH"] = path
            refused = self.run_to_end("twistd", *RPC_SERVER, "--url", self.url, "--app", "clock")
            self.assert_one_sentence("Set PYTHONPATH to . for one in the current directory", refused.stderr)
            self.environment["PYTHONPATH"] += ":."
            self.assertIn("serving topic clock", self.serve("--app", "clock").out)
            shutil.rmtree(plugins)

    def write_plugin(self, plugins):
        plugins.mkdir(parents=True)
        (plugins / "theirs.py").write_text(
            """
from twisted.plugin import IPlugin
from zope.interface import implementer
from zmqrpc import expose
from zmqrpc.interfaces import IRPCApplication

class Clock:
    @expose
    def read(self, context):
        return 12

@implementer(IPlugin, IRPCApplication)
class ClockApplication:
    name = topic = "clock"

    def endpoints(self, reactor, client, settings):
        return [Clock()]

clock = ClockApplication()
"""
        )

    def test_nothing_before_the_fork(self):
        """Between making the service and starting it, twistd forks; neither threads nor descriptors may be held."""
        code = f"""
import os, threading
from twisted.internet import reactor
from zmqrpc.tap.server import Options, makeService
options = Options()
options.parseOptions(["--url", {self.url!r}, "--app", "calc:Calc", "--topic", "calc", "--log-file", "x.log"])
before = os.listdir("/proc/self/fd")
service = makeService(options)
assert os.listdir("/proc/self/fd") == before, (before, os.listdir("/proc/self/fd"))
assert threading.active_count() == 1, threading.enumerate()
assert not reactor.getDelayedCalls()
import time
assert reactor.seconds is time.monotonic
"""
        subprocess.run(
            [sys.executable, "-P", "-c", code], cwd=self.directory, env=self.environment, check=True, timeout=30
        )

    def test_listed(self):
        self.assertIn("zmq-rpc-server", self.run_to_end("twistd", "--help").stdout)
        help = self.run_to_end("twistd", "zmq-rpc-server", "--help").stdout
        for option in ("--app", "--url", "--host", "--server", "--topic", "--exchange", "--log-file", "--debug"):
            self.assertIn(option, help)
