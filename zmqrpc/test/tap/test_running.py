"""Servers as operators run them: logs, rights, reactors, and how a start is refused. Real processes."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import stat
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest

from zmqrpc.test.processes import ProcessTestCase, until

CALC = """
    import os
    from zmqrpc import expose

    class Calc:
        @expose
        def add(self, context, a, b):
            return a + b

        @expose
        def who(self, context):
            return [os.getuid(), os.getgid(), os.getpid()]

        @expose
        def fail(self, context):
            raise ZeroDivisionError("oh")
"""


def is_gone(pid):
    """Tell whether a process has ended; where nobody waits for orphans it stays as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class RunningTestCase(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.module("calc", CALC)
        self.calc = ("--app", "calc:Calc", "--topic", "calc")
        self.log = self.directory / "server.log"

    def call(self, *arguments):
        ended = self.run_to_end("zmqrpc", "call", "--url", self.url, "--timeout", "10", *arguments)
        return ended.stdout.strip() or ended.stderr.strip()

    def logged(self, text, path=None):
        path = path or self.log
        until(lambda: path.exists() and text in path.read_text(), lambda: f"{text!r} in {path}")
        return path.read_text()

    def daemon(self, *options, twistd=()):
        """Run a daemon, which is ended with the test; return its pid."""
        ended = self.run_to_end("twistd", *twistd, "zmq-rpc-server", "--url", self.url, *self.calc, *options)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        pid_file = self.directory / "twistd.pid"
        pid = int(pid_file.read_text())

        def end():
            os.kill(pid, signal.SIGTERM)
            until(lambda: is_gone(pid), "the daemon has ended")

        self.addCleanup(end)
        return pid


class LogTests(RunningTestCase):
    def hang_up(self, pid):
        """Move the log, send SIGHUP, and check what is in both files."""
        self.logged("ready: registered")
        moved = self.log.with_suffix(".1")
        self.log.rename(moved)
        os.kill(pid, signal.SIGHUP)
        self.logged("opened")
        self.assertEqual(json.loads(self.call("calc", "who"))[2], pid)
        self.call("calc", "fail")
        self.logged("raised ZeroDivisionError")
        self.assertNotIn("ZeroDivisionError", moved.read_text())

    def test_hang_up_in_the_foreground(self):
        running = self.serve_with_log()
        self.hang_up(running.process.pid)
        running.signal()
        self.assertEqual(running.ends(), -signal.SIGTERM)
        self.assertIn("stopped", self.log.read_text())

    def serve_with_log(self, *options):
        running = self.start(
            *(
                "twistd",
                "-n",
                "--pidfile=",
                "zmq-rpc-server",
                "--url",
                self.url,
                *self.calc,
                "-l",
                "server.log",
                *options,
            )
        )
        self.logged("ready: registered")
        return running

    def test_hang_up_as_a_daemon(self):
        self.hang_up(self.daemon("-l", "server.log"))

    def test_hang_up_of_a_daemon_without_a_log_file(self):
        """It goes on, and says what it would take; by default the signal would end it."""
        pid = self.daemon()
        log = self.directory / "twistd.log"
        self.logged("ready: registered", log)
        os.kill(pid, signal.SIGHUP)
        self.logged("SIGHUP: there is no log to open again; give --log-file", log)
        self.assertEqual(self.call("calc", "add", "a=1", "b=2"), "3")

    def test_json_file(self):
        running = self.serve_with_log("--log-format", "json", "--server", "node-1")
        self.call("calc", "fail")
        self.logged("ZeroDivisionError")
        running.signal()
        running.ends()
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        (serving,) = (line for line in lines if line["message"].startswith("serving topic"))
        self.assertEqual((serving["topic"], serving["member"], serving["level"]), ("calc", "node-1", "info"))
        self.assertRegex(serving["address"], r"^tcp://127\.0\.0\.1:\d+$")
        (raised,) = (line for line in lines if "failure" in line)
        self.assertEqual((raised["method"], raised["failure"]["text"], raised["level"]), ("fail", "oh", "error"))
        for line in lines:
            self.assertLessEqual({"time", "level", "namespace", "message"}, line.keys())

    def test_standard_output(self):
        """As JSON or text, once, with nothing of twistd's own between."""
        for options, read in ((("--log-format", "json"), json.loads), ((), str)):
            running = self.start(
                *("twistd", "-n", "--pidfile=", "zmq-rpc-server", "-u", self.url, *self.calc, "-l", "-", *options)
            )
            running.says("ready: registered")
            running.signal()
            running.ends()
            self.assertEqual(running.out.count("serving topic"), 1)
            for line in running.out.splitlines():
                read(line)

    def test_json_of_twist_and_tac(self):
        """twist has its own; for application files there is an observer that twistd can be told."""
        running = self.start("twist", "--log-format=json", "zmq-rpc-server", "-u", self.url, *self.calc)
        running.says("ready: registered")
        running.signal()
        running.ends()
        lines = [json.loads(line.lstrip("\x1e")) for line in running.out.split("\n")[:-1]]
        # What is logged before twist begins to is written when it does.
        self.assertTrue([line for line in lines if line.get("topic") == "calc"], running.out)
        (self.directory / "one.tac").write_text(
            f"""
from twisted.application.service import Application
from zmqrpc.tap.server import Options, makeService

application = Application("one")
options = Options()
options.parseOptions(["--url", {self.url!r}, "--app", "calc:Calc", "--topic", "calc"])
makeService(options).setServiceParent(application)
"""
        )
        running = self.start("twistd", "-n", "--pidfile=", "--logger", "zmqrpc.tap.log.json_observer", "-y", "one.tac")
        running.says("ready: registered")
        running.signal()
        running.ends()
        messages = [json.loads(line)["message"] for line in running.out.splitlines()]
        self.assertIn("ready: registered with the matchmaker", messages)

    def test_refused(self):
        for options, twistd, text in (
            (("--log-format", "xml", "-l", "x"), ("-n",), "--log-format xml is not known; there are text and json"),
            (("--log-format", "json"), ("-n",), "--log-format is about --log-file; give that too"),
            (("-l", "-"), (), "a daemon has no standard output"),
        ):
            ended = self.run_to_end("twistd", *twistd, "zmq-rpc-server", "-u", self.url, *self.calc, *options)
            self.assertEqual(ended.returncode, 2)
            self.assert_one_sentence(text, ended.stderr)


class RightsTests(RunningTestCase):
    """`twistd --uid`: what is opened before the rights of root are given up, and what afterwards."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            raise SkipTest("only root can give up the rights of root")
        self.nobody = pwd.getpwnam("nobody")
        # Nobody has to get at what the test has written; the directories above it are somebody else's.
        self.directory = Path(self.enterContext(_Directory()))
        self.directory.chmod(0o755)
        self.module("calc", CALC)
        self.log = self.directory / "server.log"
        self.store = self.directory / "store"
        self.store.mkdir()
        os.chown(self.store, self.nobody.pw_uid, self.nobody.pw_gid)
        self.url = f"zmq+sqlite://{self.store}/matchmaker.db"

    def low_port(self):
        for port in range(80, 1024):
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
        raise AssertionError("no low port is free")

    def test_low_port(self):
        """Bound as root, serving as nobody; so is the log, which SIGHUP opens again as nobody."""
        port = self.low_port()
        self.url += f"?rpc_zmq_min_port={port}&rpc_zmq_max_port={port + 1}"
        running = self.start(
            *("twistd", "-n", "--uid", "nobody", "zmq-rpc-server", "-u", self.url, *self.calc, "-l", "server.log")
        )
        self.assertIn(f"tcp://127.0.0.1:{port},", self.logged("ready: registered"))
        pid = running.process.pid
        self.assertEqual(json.loads(self.call("calc", "who")), [self.nobody.pw_uid, self.nobody.pw_gid, pid])
        for path in (self.log, self.store / "matchmaker.db"):
            self.assertEqual(path.stat().st_uid, self.nobody.pw_uid, path)
        self.assertEqual((self.directory / "twistd.pid").read_text(), str(pid))
        # The directory is root's: the file that is there can be opened again, and a new one cannot be made.
        running.signal(signal.SIGHUP)
        self.logged("opened")
        moved = self.log.with_suffix(".1")
        self.log.rename(moved)
        running.signal(signal.SIGHUP)
        self.logged("cannot be written (Permission denied)", moved)
        self.assertEqual(self.call("calc", "add", "a=1", "b=2"), "3")
        running.signal()
        self.assertEqual(running.ends(), -signal.SIGTERM)
        self.assertIn("stopped", moved.read_text())
        # It could not be removed, and does not keep the next one from starting.
        self.assertTrue((self.directory / "twistd.pid").exists())
        self.daemon("-l", "server.log", twistd=("--uid", "nobody"))

    def test_daemon(self):
        """A daemon's files are private, and are nobody's."""
        pid = self.daemon("-l", "server.log", twistd=("--uid", "nobody"))
        self.logged("ready: registered")
        self.assertEqual(json.loads(self.call("calc", "who"))[2], pid)
        status = self.log.stat()
        self.assertEqual((status.st_uid, status.st_gid), (self.nobody.pw_uid, self.nobody.pw_gid))
        self.assertEqual(stat.S_IMODE((self.store / "matchmaker.db").stat().st_mode) & 0o077, 0)

    def test_ready_file(self):
        """It is made and removed by nobody, so where nobody cannot make one is refused while root still could."""
        words = ("twistd", "-n", "--pidfile=", "--uid", "nobody", "zmq-rpc-server", "-u", self.url, *self.calc)
        refused = self.start(*words, "--ready-file", "ready")
        self.assertEqual(refused.ends(), 2)
        self.assertIn(f"the ready file {self.directory}/ready cannot", refused.err)
        self.assertIn("cannot be written as the user nobody: Permission denied; name one in a directory", refused.err)
        ready = self.store / "ready"
        running = self.start(*words, "-l", "server.log", "--ready-file", "store/ready")
        self.logged("ready: registered")
        self.assertEqual(ready.stat().st_uid, self.nobody.pw_uid)
        running.signal()
        running.ends()
        self.assertFalse(ready.exists())

    def test_group(self):
        running = self.start(
            *("twistd", "-n", "--gid", str(self.nobody.pw_gid), "zmq-rpc-server", "-u", self.url, *self.calc),
            *("-l", "server.log"),
        )
        self.logged("ready: registered")
        status = self.log.stat()
        self.assertEqual((status.st_uid, status.st_gid), (0, self.nobody.pw_gid))
        self.assertIsNone(running.process.poll())

    def test_store_that_nobody_may_write(self):
        """The matchmaker's file is opened afterwards: a directory of root's keeps no process from starting."""
        self.url = f"zmq+sqlite://{self.directory}/matchmaker.db"
        self.start("twistd", "-n", "--uid", "nobody", "zmq-rpc-server", "-u", self.url, *self.calc, "-l", "server.log")
        text = self.logged("matchmaker.db")
        self.assertIn("serving topic calc", text)
        self.assertNotIn("Traceback", text)


class _Directory:
    """A directory that others than root may look into."""

    def __enter__(self):
        done = subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True)
        self.path = done.stdout.strip()
        return self.path

    def __exit__(self, *_):
        subprocess.run(["rm", "-r", self.path], check=True)


class ReactorTests(RunningTestCase):
    def test_each(self):
        """`twistd --reactor` with each reactor of this system."""
        for name in ("select", "poll", "epoll", "asyncio"):
            running = self.start(
                *("twistd", "-n", "--pidfile=", "--reactor", name, "zmq-rpc-server", "-u", self.url),
                *(*self.calc, "--server", name),
            )
            said = running.says("ready: registered")
            self.assertRegex(said.lower(), f"reactor class: twisted.internet.{name}")
            self.assertEqual(self.call(f"calc.{name}", "add", "a=1", "b=2"), "3")
            running.signal()
            self.assertEqual(running.ends(), -signal.SIGTERM)
            self.assertNotIn("Traceback", running.out)

    def test_select_with_many_descriptors(self):
        """Above 1023 the select reactor drops descriptors, and a server would be deaf: it is refused."""
        many = """
            import os, resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1000)]
            from calc import Calc
        """
        self.module("many", many)
        for reactor, status in (("select", 2), ("poll", None)):
            running = self.start(
                *("twistd", "-n", "--pidfile=", "--reactor", reactor, "zmq-rpc-server", "-u", self.url),
                *("--app", "many:Calc", "--topic", "calc"),
            )
            if status is not None:
                self.assertEqual(running.ends(), status)
                self.assert_one_sentence("the select reactor takes no descriptor above 1023", running.err)
            else:
                running.says("ready: registered")


class RefusedTests(RunningTestCase):
    """What keeps a server from starting: one sentence, status 2, in the foreground and as a daemon."""

    APPLICATIONS = """
        import sys
        from twisted.internet.defer import fail, succeed
        from twisted.plugin import IPlugin
        from zope.interface import implementer
        from zmqrpc.interfaces import IRPCApplication
        from calc import Calc

        def application(make):
            @implementer(IPlugin, IRPCApplication)
            class Application:
                name, topic = "made", "calc"

                def endpoints(self, reactor, client, settings):
                    return make()

            return Application()

        async def coroutine():
            raise ZeroDivisionError("oh\\nno")

        raises = application(lambda: 1 / 0)
        fails = application(lambda: fail(ZeroDivisionError("oh\\nno")))
        awaits = application(coroutine)
        leaves = application(lambda: sys.exit(3))
        nothing = application(list)
        nonsense = application(lambda: 7)
        exposes_nothing = application(lambda: [object()])
        first = application(lambda: [Calc()])
        second = application(lambda: succeed([Calc()]))
        half = application(list)
        del type(half).topic
        nameless = application(list)
        nameless.topic = ""
    """

    def setUp(self):
        super().setUp()
        self.module("apps", self.APPLICATIONS)
        self.module("broken", "1 / 0")

    def assert_refused(self, text, *options, url=None):
        for twistd in (("-n",), ()):
            started = ("twistd", *twistd, "zmq-rpc-server", "--url", url or self.url, *options, "-l", "server.log")
            ended = self.run_to_end(*started)
            self.assertEqual(ended.returncode, 2, (twistd, options, ended.stderr))
            self.assert_one_sentence(text, ended.stderr)
            self.assertEqual(ended.stdout, "")
            self.assertFalse((self.directory / "twistd.pid").exists())

    def test_no_application(self):
        self.assert_refused("no application plugin 'bogus'; ", "--app", "bogus")
        self.assert_refused("--app broken:x names cannot be imported: ZeroDivisionError", "--app", "broken:x")
        self.assert_refused("there is no 'Nope' in the module 'calc'", "--app", "calc:Nope")
        self.module("zmqrpc/plugins/raising", "1 / 0")
        self.environment["PYTHONPATH"] += f":{self.directory}"
        why = "; the plugin module zmqrpc.plugins.raising cannot be imported, ZeroDivisionError: division by zero, "
        self.assert_refused(why, "--app", "bogus")

    def test_raises(self):
        for name in ("raises", "fails", "awaits"):
            text = f"the application apps:{name} raised when it was asked for endpoints: ZeroDivisionError"
            self.assert_refused(text, "--app", f"apps:{name}")
            # Who has to mend it finds where.
            self.assertIn("Traceback", self.log.read_text())
        self.assert_refused("apps:leaves raised when it was asked for endpoints: SystemExit: 3", "--app", "apps:leaves")
        self.module("leaving", "import sys\nclass Leaving:\n    def __init__(self):\n        sys.exit(3)")
        text = "leaving:Leaving cannot be made without arguments (SystemExit: 3"
        self.assert_refused(text, "--app", "leaving:Leaving", "--topic", "t")
        self.module("asked", "import sys\nclass Asked:\n    target = property(lambda self: sys.exit(3))")
        text = "asked:Asked cannot be served: asked for its topic it raised SystemExit: 3"
        self.assert_refused(text, "--app", "asked:Asked", "--topic", "t")

    def test_offers_nothing(self):
        self.assert_refused("the application apps:nothing cannot be served: it offers nothing", "--app", "apps:nothing")
        self.assert_refused(
            "the application apps:nonsense gave an object of type int as its endpoints", "--app", "apps:nonsense"
        )
        self.assert_refused("the application apps:exposes_nothing cannot be served", "--app", "apps:exposes_nothing")
        self.assert_refused("apps:half does not do what IRPCApplication asks for", "--app", "apps:half")
        self.assert_refused("apps:nameless cannot be served: the topic ''", "--app", "apps:nameless")
        self.assertNotIn("Traceback", self.log.read_text())

    def test_two_that_do_not_go_together(self):
        text = "apps:first and apps:second both serve add in version 1.0 of openstack/calc"
        self.assert_refused(text, "--app", "apps:first", "--app", "apps:second")
        self.assert_refused("--app apps:first is given twice", "--app", "apps:first", "--app", "apps:first")

    def test_where_the_option_stands(self):
        """What shows at the bind only is said with the line of the file as well."""
        (self.directory / "zeromq.conf").write_text("[oslo_messaging_zmq]\nrpc_zmq_bind_address = eth77\n")
        options = ("--config-file", "zeromq.conf", "--app", "calc:Calc", "--topic", "calc")
        self.assert_refused("is 'eth77', no adapter or address here; valid are *, an IP address, and the", *options)
        self.assert_refused("(zeromq.conf line 2)", *options)

    def test_where_nothing_can_be_bound(self):
        port = self.taken_port()
        taken = f"{self.url}?rpc_zmq_min_port={port}&rpc_zmq_max_port={port + 1}"
        self.assert_refused(f"cannot bind 127.0.0.1 on port {port}", *self.calc, url=taken)
        self.assert_refused("eth99", *self.calc, url=f"{self.url}?rpc_zmq_bind_address=eth99")

    def test_one_of_several(self):
        """Nothing is served when one of them cannot be."""
        self.assert_refused("apps:raises raised", *self.calc, "--app", "apps:raises")
        self.assertIn("nobody", self.call("calc", "add", "a=1", "b=2").lower())
