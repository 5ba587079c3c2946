"""The units and the rotation of logs that are shown as examples, judged by systemd and run by logrotate."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from zmqrpc.tap.server import Options
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import CHECKOUT, LIMIT, ProcessTestCase, until

EXAMPLES = CHECKOUT / "examples"
UNITS = (
    *("greeter@.service", "greeter-logged@.service"),
    *("zmq-broker.service", "zmq-local-publisher.service", "zmq-proxy.service"),
)
PATH = f"{os.environ['PATH']}:/usr/sbin"


class ContainerTests(ProcessTestCase):
    """What ``examples/kubernetes/greeter.yaml`` has a container run, and asks it."""

    def test_checks(self):
        shutil.copy(EXAMPLES / "tutorial" / "greeter.py", self.directory)
        text = (EXAMPLES / "kubernetes" / "greeter.yaml").read_text().replace("/tmp/", f"{self.directory}/")
        port = free_port()
        text = text.replace("5001", str(port)).replace("5002", str(port + 1)).replace("$(POD_IP)", "127.0.0.1")
        args, probe = (re.findall(f"{name}: \\[([^]]+)\\]", text)[0].split(",") for name in ("args", "command"))
        words = [word.strip().strip('"') for word in args]
        (query,) = re.findall(r"(?m)value: zmq\+redis://redis:6379\?(.*)$", text)
        self.environment["ZMQRPC_URL"] = f"{self.url}?{query}"
        running = self.start(*words)
        running.says("ready: registered")
        self.assertEqual(subprocess.run([word.strip() for word in probe], check=False).returncode, 0)
        (asked,) = re.findall(r"zmqrpc (ping .*?)\"tcp://\$POD_IP:(\d+)\"", text)
        ping = ("zmqrpc", *asked[0].split(), f"tcp://127.0.0.1:{asked[1]}")
        self.assertEqual(self.run_to_end(*ping).returncode, 0)
        running.signal(signal.SIGSTOP)
        self.assertIn(self.run_to_end(*ping).returncode, (3, 4))
        running.signal(signal.SIGCONT)
        # Its store is away: it is not ready, and lives.
        self.url_file().unlink()
        self.url_file().mkdir()
        until(lambda: subprocess.run([word.strip() for word in probe], check=False).returncode == 1, "not ready")
        self.assertEqual(self.run_to_end(*ping).returncode, 0)

    def url_file(self):
        return self.directory / "matchmaker.db"


class SystemdTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        shutil.copy(EXAMPLES / "tutorial" / "greeter.py", self.directory)

    def tool(self, name, package, *arguments):
        """Run a program of the system, and return what it printed when that was all right."""
        program = shutil.which(name, path=PATH)
        self.assertIsNotNone(program, f"there is no {name}; install it with: sudo apt-get install {package}")
        ended = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=LIMIT, check=False)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended.stdout + ended.stderr

    def unit(self, name):
        """Copy a unit, with a program in it that is here; return where it is, and its settings."""
        text = (EXAMPLES / "systemd" / name).read_text()
        twistd = self.directory / "twistd"
        twistd.write_text("#!/bin/sh\n")
        twistd.chmod(0o755)
        copy = self.directory / name
        copy.write_text(re.sub("/srv/[a-z]+/venv/bin/twistd", str(twistd), text))
        return copy, dict(re.findall(r"(?m)^(\w+)=(.*)$", text.replace("\\\n", " ")))

    def words(self, settings):
        """Read what a unit runs, for a member called node-1 that logs into our directory."""
        line = settings["ExecStart"].replace("%i", "node-1").replace("/var/log/greeter", str(self.directory))
        words = shlex.split(line)
        self.assertEqual(Path(words[0]).name, "twistd")
        name, _, url = settings["Environment"].partition("=")
        self.assertEqual((name, url.partition(":")[0]), ("ZMQRPC_URL", "zmq+sqlite"))
        self.environment[name] = self.url
        return words[1:]

    def test_verified(self):
        for name in UNITS:
            path, _ = self.unit(name)
            self.assertEqual(self.tool("systemd-analyze", "systemd", "verify", str(path)), "")

    def test_hardened(self):
        for name in ("greeter@.service", "zmq-local-publisher.service", "zmq-proxy.service"):
            path, _ = self.unit(name)
            self.tool("systemd-analyze", "systemd", "security", "--offline=true", "--threshold=20", str(path))

    def test_tells_systemd(self):
        """What a unit runs says when it is ready and when it stops, and that it is alive, as the unit needs it."""
        _, settings = self.unit("greeter@.service")
        self.assertEqual((settings["Type"], settings["NotifyAccess"]), ("notify", "main"))
        self.assertGreater(int(settings["WatchdogSec"]), 1)
        path = f"/tmp/zmqrpc-test-{os.getpid()}.notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(path)
            self.addCleanup(os.unlink, path)
            listening.settimeout(LIMIT)
            self.environment.update(NOTIFY_SOCKET=path, WATCHDOG_USEC="200000")
            running = self.start("twistd", *self.words(settings))
            self.assertEqual(listening.recv(1000), b"READY=1")
            self.assertIn("serving topic greeter as member node-1", running.out)
            heard = {listening.recv(1000) for _ in range(6)}
            self.assertIn(b"WATCHDOG=1", heard)
            self.assertIn(b"STATUS=ready: registered with the matchmaker", heard)
            running.signal()
            while (last := listening.recv(1000)) == b"WATCHDOG=1":
                pass
            self.assertEqual(last, b"STOPPING=1\nSTATUS=stopping")
            self.assertEqual(running.ends(), -signal.SIGTERM)

    def test_proxy(self):
        """What the unit of a proxy runs says the same, with the file of the deployment guide."""
        _, settings = self.unit("zmq-proxy.service")
        file = self.directory / "zeromq.conf"
        file.write_text(f"[DEFAULT]\ntransport_url = {self.url}\n[zmq_proxy_opts]\nhost = localhost\n")
        words = shlex.split(settings["ExecStart"].replace("/etc/oslo/zeromq.conf", str(file)))
        ports = {word: str(free_port()) for word in words if word.isdigit()}
        path = f"/tmp/zmqrpc-test-{os.getpid()}.notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(path)
            self.addCleanup(os.unlink, path)
            listening.settimeout(LIMIT)
            self.environment.update(NOTIFY_SOCKET=path)
            running = self.start("twistd", *(ports.get(word, word) for word in words[1:]))
            self.assertEqual(listening.recv(1000), b"READY=1")
            running.signal()
            self.assertEqual(running.ends(), -signal.SIGTERM)

    def test_time_to_stop(self):
        options = Options()
        options.parseOptions(["--app", "os:path", "--url", self.url])
        for name in UNITS:
            _, settings = self.unit(name)
            self.assertGreater(int(settings["TimeoutStopSec"]), options.settings.drain_timeout)

    def test_logrotate(self):
        """The example of logrotate with the example of a unit that it is for: nothing is lost, and all is JSON."""
        _, settings = self.unit("greeter-logged@.service")
        running = self.start("twistd", *self.words(settings))
        log = self.directory / "node-1.log"
        until(lambda: log.exists() and "ready: registered" in log.read_text(), "the log")
        self.assertRegex(settings["ExecReload"], r"^/bin/kill -HUP \$MAINPID$")
        text = (EXAMPLES / "logrotate" / "greeter").read_text()
        reload = re.findall(r"systemctl reload '(.*)@\*\.service'", text)
        self.assertEqual([f"{name}@.service" for name in reload], ["greeter-logged@.service"])
        text = text.replace("/var/log/greeter", str(self.directory)).replace("su greeter greeter", "")
        text = re.sub("systemctl reload .*", f"kill -HUP {running.process.pid}", text)
        (self.directory / "logrotate.conf").write_text(text)
        (self.directory / "logrotate.conf").chmod(0o644)
        state = str(self.directory / "logrotate.state")
        self.directory.chmod(0o755)
        self.tool("logrotate", "logrotate", "--force", "--state", state, str(self.directory / "logrotate.conf"))
        until(lambda: log.exists() and "opened" in log.read_text(), "the log is opened again")
        running.signal()
        running.ends()
        old, new = ((self.directory / name).read_text().splitlines() for name in ("node-1.log.1", "node-1.log"))
        messages = [[json.loads(line)["message"] for line in lines] for lines in (old, new)]
        self.assertTrue([message for message in messages[0] if message.startswith("serving topic greeter")])
        self.assertEqual(messages[1][-1], "stopped")
