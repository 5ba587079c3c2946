"""`twistd zmq-proxy` as users run it: real processes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import zmq

from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import Call, Goaway, Hello, Ping, Welcome, encode_message
from zmqrpc.test.paths import short_directory
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import ProcessTestCase, Running, command, run_to_end, until
from zmqrpc.test.tap.test_twistd import CALC
from zmqrpc.test.test_examples import DOCS, blocks

PROXY = ("-n", "--pidfile=", "zmq-proxy")


class ProxyProcessTests(ProcessTestCase):
    def run_proxy(self, *options, url=None):
        running = self.start("twistd", *PROXY, "--url", url or self.url, *options)
        running.says("ready: registered")
        return running

    def hello(self, address, role="client"):
        """Say HELLO to a proxy; return the socket when WELCOME has come."""
        context = zmq.Context()
        self.addCleanup(context.term)
        peer = context.socket(zmq.DEALER)
        self.addCleanup(peer.close, 0)
        peer.connect(address)
        peer.send_multipart(
            [b"", encode_batch(b"1" * 16, None, 1, (), [encode_message(Hello(1, 1, role, [], {}, []))])]
        )
        self.assertIsInstance(self.heard(peer), Welcome)
        return peer

    def all_heard(self, peer):
        self.assertTrue(peer.poll(20_000))
        key, payload = peer.recv_multipart()
        self.assertEqual(key, b"")
        return decode_batch(payload).messages

    def heard(self, peer):
        return self.all_heard(peer)[0]

    def test_start_and_stop(self):
        """It says in one line what it is and where, tells clients that it stops, and leaves no record."""
        port = free_port()
        running = self.run_proxy("-f", str(port), "-b", "0", "-H", "localhost")
        (line,) = [line for line in running.out.splitlines() if "is a router at" in line]
        self.assertRegex(
            line,
            rf"router-proxy localhost is a router at tcp://127\.0\.0\.1:{port} \(frontend\), "
            r"tcp://127\.0\.0\.1:\d+ \(backend\), instance ",
        )
        listed = self.run_to_end("zmqrpc", "ls", "--url", self.url)
        self.assertRegex(
            listed.stdout, rf"proxies +localhost +router +\d s +fresh +tcp://127.0.0.1:{port},tcp://127.0.0.1:\d+"
        )
        self.assertEqual(self.run_to_end("zmqrpc", "ls", "--topics", "--url", self.url).stdout, "")
        peer = self.hello(f"tcp://127.0.0.1:{port}")
        running.signal()
        self.assertEqual(self.heard(peer), Goaway("localhost is stopping"))
        peer.send_multipart([b"", encode_batch(b"1" * 16, None, 1, (), [encode_message(Goaway())])])
        self.assertEqual(running.ends(), -signal.SIGTERM)
        self.assertIn("stopped", running.out)
        self.assertNotIn("Traceback", running.out)
        self.assertIn("nobody is registered", self.run_to_end("zmqrpc", "ls", "--url", self.url).stderr)

    def test_a_broker_and_its_record(self):
        """Clients find it twice, by its IPC socket and by its record, and leave one of the two ways."""
        self.module("calc", CALC)
        settings = self.directory / "host.conf"
        settings.write_text(
            f"[DEFAULT]\ntransport_url = {self.url}\n[oslo_messaging_zmq]\nuse_router_proxy = true\n"
            f"rpc_zmq_ipc_dir = {short_directory(self)}\n"
        )
        broker = self.start("twistd", *PROXY, "--ipc", "--config-file", str(settings))
        broker.says("ready: registered")
        where = ("--app", "calc:Calc", "--topic", "calc", "--server", "one", "--config-file", str(settings))
        server = self.start("twistd", "-n", "--pidfile=", "zmq-rpc-server", *where)
        server.says("ready: registered")
        for _ in range(4):
            words = ("call", "calc", "add", "a=2", "b=3", "--config-file", str(settings), "--timeout", "10", "--json")
            called = self.run_to_end("zmqrpc", *words)
            self.assertEqual((called.stdout, called.stderr), ("5\n", ""), broker.out)

    def test_refused(self):
        """A port that is taken, a bad option: one sentence and status 2, also by twist and of a daemon."""
        taken = str(self.taken_port())
        for name, *options in (("twistd", *PROXY), ("twist", "zmq-proxy"), ("twistd", "zmq-proxy")):
            ended = self.run_to_end(name, *options, "--url", self.url, "-H", "localhost", "-f", taken)
            self.assertEqual(ended.returncode, 2)
            said = f"cannot bind 127.0.0.1 on port {taken}: Address already in use; free this port"
            self.assert_one_sentence(f"zmq-proxy: {said}", ended.stderr)
            # It is neither said once more by the log beside it, nor does that tell of what never was.
            for words in (said, "stopping", "stopped"):
                self.assertNotIn(words, ended.stdout)
            ended = self.run_to_end(name, *options, "--url", self.url, "-b", "5001")
            self.assertEqual(ended.returncode, 2)
            self.assert_one_sentence("a backend port is given and no frontend port", ended.stderr)
        self.assertFalse((self.directory / "twistd.pid").exists())
        # A daemon's log is read later, and so is a file.
        self.assertEqual((self.directory / "twistd.log").read_text().count("Address already in use"), 1)
        ended = self.run_to_end("twistd", *PROXY, "-u", self.url, "-H", "localhost", "-f", taken, "-l", "proxy.log")
        log = (self.directory / "proxy.log").read_text()
        self.assertIn(f"cannot bind 127.0.0.1 on port {taken}: Address already in use", log)
        self.assertEqual(len(log.splitlines()), 1)

    def test_debug(self):
        """Each message has a line with it, and none without; what is said to the proxy itself has none."""
        port = free_port()
        for options, lines in (((), 0), (("--debug", "--log-file", "-"), 1)):
            running = self.run_proxy("-f", str(port), *options)
            peer = self.hello(f"tcp://127.0.0.1:{port}")
            call = encode_message(Call(7, 1, 0, 1000, "openstack", "work", None, None, None, "mark", {}))
            said = (
                (b"", [encode_message(Ping(1))]),
                (b"I" + b"2" * 16, [encode_message(Ping(2))]),
                (b"I" + b"2" * 16, [call]),
            )
            for key, messages in said:
                peer.send_multipart([key, encode_batch(b"1" * 16, b"2" * 16, 1, (), messages)])
            answers: list[object] = []
            while len(answers) < len(said):
                answers += self.all_heard(peer)
            running.signal()
            running.ends()
            self.assertEqual(running.out.count("message 313131313131"), lines, running.out)
            self.assertEqual(running.out.count("zmqrpc.tap._trace"), lines, running.out)
            told = "CALL openstack/work mark, message 313131313131/323232323232/7, from connection "
            self.assertEqual(running.out.count(told), lines, running.out)

    def test_several_in_one_process(self):
        """In an application file they are services like any other, as docs/howto/router-proxy.rst has it."""
        source = blocks(DOCS / "howto" / "router-proxy.rst", "python")[-1]
        (self.directory / "proxies.tac").write_text(source.replace("zmq+sqlite:////tmp/matchmaker.db", self.url))
        running = self.start("twistd", "--nodaemon", "--pidfile=", "--python", "proxies.tac")
        running.says("is a router at", 2)
        running.handles()
        running.signal()
        self.assertEqual(running.ends(), -signal.SIGTERM)

    def test_names_of_the_seeds(self):
        """The programs have the flags that the seeds print, and read their file."""
        directory = Path(short_directory(self))
        config = self.directory / "zeromq.conf"
        config.write_text(
            f"[DEFAULT]\ntransport_url = {self.url}\n[oslo_messaging_zmq]\nuse_pub_sub = false\n"
            f"rpc_zmq_ipc_dir = {directory}\n[zmq_proxy_opt]\nhost = host-1\n"
        )
        log = self.directory / "proxy.log"
        ports = [str(free_port()) for _ in range(2)]
        proxy = self.program(
            "main",
            *("--config-file", str(config), "--log-file", str(log), "--host", "node-123"),
            *("--frontend-port", ports[0], "--backend-port", ports[1], "--debug"),
        )
        until(lambda: log.exists() and "ready: registered" in log.read_text(), "the log")
        self.assertIn("router-proxy node-123 is a router at tcp://", log.read_text())
        self.assertIn("host in [zmq_proxy_opt]", log.read_text())
        proxy.signal(signal.SIGINT)
        self.assertEqual(proxy.ends(), -signal.SIGINT)
        log = self.directory / "broker.log"
        broker = self.program("broker", "--config-file", str(config), "--log-file", str(log))
        until(lambda: log.exists() and "ready: registered" in log.read_text(), "the log")
        self.assertTrue(stat.S_ISSOCK((directory / "zmq-broker").stat().st_mode))
        self.hello(f"ipc://{directory}/zmq-broker")
        second = self.program("broker", "--config-file", str(config))
        self.assertEqual(second.ends(), 2)
        self.assert_one_sentence("somebody listens at", second.err)
        broker.kill()
        again = self.program("broker", "--config-file", str(config))
        again.says("ready: registered")
        again.signal()
        self.assertEqual(again.ends(), -signal.SIGTERM)
        self.assertEqual(os.listdir(directory), [])

    def program(self, entry, *options):
        running = Running(self.words(entry, *options), self.directory, self.environment)
        self.addCleanup(running.kill)
        return running

    def words(self, entry, *options):
        code = f"import sys; from zmqrpc.tap.proxy import {entry}; sys.argv[0] = '/bin/oslo-{entry}'; {entry}()"
        return [sys.executable, "-P", "-c", code, *options]

    def test_programs_say_their_names(self):
        """Help and refusals name the program that was called, and not what runs it."""
        for entry in ("main", "broker"):
            help = run_to_end(self.words(entry, "--help"), self.directory, self.environment)
            self.assertEqual((help.returncode, help.stderr), (0, ""))
            self.assertEqual(help.stdout.splitlines()[0], f"Usage: oslo-{entry} [options]")
            self.assertNotIn("twistd", help.stdout)
            refused = run_to_end(self.words(entry, "--bogus"), self.directory, self.environment)
            self.assert_one_sentence(f"oslo-{entry}: option --bogus not recognized; did you mean", refused.stderr)
            refused = run_to_end(self.words(entry, "--zzzzz"), self.directory, self.environment)
            self.assert_one_sentence(f"oslo-{entry} --help lists all", refused.stderr)

    def test_help_into_a_closed_pipe(self):
        """Who reads only the beginning is told of no traceback."""
        for words in (self.words("main", "--help"), [*command("twistd"), "zmq-proxy", "--help"]):
            reads, writes = os.pipe()
            os.close(reads)
            ended = run_to_end(words, self.directory, self.environment, writes)
            os.close(writes)
            self.assertEqual((ended.returncode, ended.stderr), (141, ""))

    def test_local_publisher(self):
        """Its log speaks of subscribers, and neither of the matchmaker nor of clients."""
        running = self.start("twistd", *PROXY, "-u", self.url, "--local-publisher", "-H", "localhost")
        running.says("ready: who is told of it can subscribe")
        running.handles()
        running.signal()
        running.ends()
        self.assertIn("stopping: who subscribes here notices, and connects anew", running.out)
        self.assertIn("stopped", running.out)
        self.assertNotIn("registered", running.out)
        self.assertNotIn("another proxy", running.out)

    def test_listed(self):
        self.assertIn("zmq-proxy", self.run_to_end("twistd", "--help").stdout)
        help = self.run_to_end("twistd", "zmq-proxy", "--help").stdout
        for option in ("config-file", "log-file", "url", "host", "frontend-port", "backend-port", "publisher-port"):
            self.assertIn(f"--{option}=", help)
        for option in ("local-publisher", "ipc", "type", "debug"):
            self.assertIn(f"--{option}", help)

    def test_nothing_before_the_fork(self):
        """Between making the service and starting it, twistd forks; neither threads nor descriptors may be held."""
        code = f"""
import os, threading
from twisted.internet import reactor
from zmqrpc.tap.proxy import Options, makeService
options = Options()
options.parseOptions(["--url", {self.url!r}, "--log-file", "x.log"])
before = os.listdir("/proc/self/fd")
service = makeService(options)
assert os.listdir("/proc/self/fd") == before, (before, os.listdir("/proc/self/fd"))
assert threading.active_count() == 1, threading.enumerate()
assert not reactor.getDelayedCalls()
"""
        subprocess.run(
            [sys.executable, "-P", "-c", code], cwd=self.directory, env=self.environment, check=True, timeout=30
        )
