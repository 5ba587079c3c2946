"""What the pages about oslo.messaging show is typed, and what they say is printed."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import oslo_messaging
from oslo_config import cfg
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.oslo.driver import ZmqDriver
from zmqrpc.oslo.opts import settings_of
from zmqrpc.test.certificates import Authority
from zmqrpc.test.processes import ProcessTestCase, Running, run_to_end, until
from zmqrpc.test.test_examples import DOCS, EXAMPLES, pattern, steps

PAGE = DOCS / "howto" / "oslo-messaging.rst"


def narrow(text: str) -> str:
    """Write a text in one line: where it is broken depends on how long a path is."""
    return " ".join(text.split())


class PageTests(ProcessTestCase):
    """docs/howto/oslo-messaging, with examples/oslo: compute.py, compute.conf, caller.py and test_compute.py."""

    def setUp(self) -> None:
        super().setUp()
        self.environment["PYTHONWARNINGS"] = "ignore"
        for path in (EXAMPLES / "oslo").iterdir():
            if path.is_file():
                (self.directory / path.name).write_text(self.here(path.read_text()))

    def here(self, text: str) -> str:
        return text.replace("/tmp/", f"{self.directory}/")

    def beside(self, words: list[str]) -> Running:
        running = Running(words, self.directory, self.environment)
        self.addCleanup(running.kill)
        return running

    def assert_printed(self, shown: str, said: str) -> None:
        self.assertTrue(pattern(narrow(shown)).fullmatch(narrow(said)), f"{shown}\n{said}")

    def test_steps(self) -> None:
        typed = set()
        for command, printed in steps(PAGE):
            name, *arguments = shlex.split(self.here(command))
            shown = self.here(printed)
            typed.add(name)
            if name == "export":
                variable, _, value = arguments[0].partition("=")
                self.environment[variable] = value
            elif arguments[0] == "compute.py":
                service = self.beside([sys.executable, *arguments])
                wanted = pattern(shown)
                until(lambda p=service, w=wanted: w.search(p.err), lambda p=service: p.err)
            elif arguments[0] == "listen":
                self.listen(arguments, shown)
            elif name == "python":
                ended = self.python(*arguments)
                self.assertEqual(ended.returncode, 0, ended.stderr)
                self.assert_printed(shown, ended.stdout if arguments[0] == "caller.py" else ended.stderr)
            elif name == "oslo-config-generator":
                code = "from oslo_config.generator import main; main()"
                words = [sys.executable, "-c", code, *arguments]
                self.assert_printed(shown, run_to_end(words, self.directory, self.environment).stdout)
            else:
                ended = self.run_to_end(name, *arguments)
                self.assert_printed(shown, ended.stdout + ended.stderr)
        self.assertEqual(typed, {"export", "oslo-config-generator", "python", "zmqrpc"})

    def listen(self, arguments: list[str], shown: str) -> None:
        listening = self.start("zmqrpc", *arguments)
        until(lambda: "listening to" in listening.err, lambda: listening.err)
        self.run_to_end("zmqrpc", "call", "compute.node-1", "boot", "name=web")
        until(lambda: "\n" in listening.out, lambda: listening.err)
        self.assert_printed(shown, listening.out)

    def test_misspelt(self) -> None:
        """What oslo.config does not notice zmqrpc config refuses, as the page says."""
        (self.directory / "compute.conf").write_text("[oslo_messaging_zmq]\ndrain_timeuot = 1\n")
        self.assertEqual(self.run_to_end("zmqrpc", "config", "--config-file", "compute.conf").returncode, 2)
        words = [sys.executable, "-c", "import sys; from oslo_config.validator import main; sys.exit(main())"]
        validated = run_to_end(
            [*words, "--namespace", "zmqrpc", "--input-file", "compute.conf"], self.directory, self.environment
        )
        self.assertEqual(validated.returncode, 1)
        self.assertIn("drain_timeuot is not part", validated.stderr)

    def test_clean(self) -> None:
        """The service stops at SIGTERM, and is found no more."""
        service = self.beside([sys.executable, "compute.py", "node-1", "--config-file", "compute.conf"])
        until(lambda: "serving topic" in service.err, lambda: service.err)
        service.signal()
        self.assertEqual(service.ends(), 0, service.err)
        listed = self.run_to_end("zmqrpc", "ls", "--config-file", "compute.conf")
        self.assertIn("nobody is registered", listed.stdout + listed.stderr)

    def test_without_oslo_messaging(self) -> None:
        """A client that shares no code with us calls the service, as docs/spec/oslo says."""
        service = self.beside([sys.executable, "compute.py", "node-1", "--config-file", "compute.conf"])
        (address,) = until(lambda: re.findall(r"at (tcp://\S+),", service.err), lambda: service.err)
        client = str(EXAMPLES / "interop" / "client.py")
        ended = self.python(client, address, "compute", "boot", 'name="web"')
        self.assertEqual((ended.stdout, ended.stderr), ('"web runs on node-1"\n', ""))
        text = json.dumps([{"method": "boot", "args": {"name": "db"}}, {"user": "ada"}])
        ended = self.python(client, address, "compute", "boot", f"oslo.json={json.dumps(text)}")
        self.assertEqual((ended.stdout, ended.stderr), ('"db runs on node-1"\n', ""))
        ended = self.python(client, address, "compute", "boot", 'oslo.json="none"')
        self.assertIn("InvalidArguments", ended.stdout + ended.stderr)


class FileTests(SynchronousTestCase):
    """The files of oslo-messaging.rst, from-rabbitmq.rst and half-and-half.rst mean what the pages say."""

    def setUp(self) -> None:
        authority = Path(Authority(self).certificate)
        self.etc = authority.parent
        authority.rename(self.etc / "ca.pem")
        (self.etc / "ring.json").write_text('{"compute": {"one": "127.0.0.1:5001"}}')

    def here(self, text: str) -> str:
        """Have a file of the page mean the one that is here."""
        return text.replace("/etc/zmqrpc", str(self.etc))

    def read(self, text: str) -> cfg.ConfigOpts:
        path = Path(self.mktemp())
        path.write_text(self.here(text))
        conf = cfg.ConfigOpts()
        conf(["--config-file", str(path)])
        return conf

    def ini(self, name: str) -> list[str]:
        """Read the files of a page, those in lists and with captions as well."""
        text = (DOCS / "howto" / name).read_text()
        found = re.findall(r"^( *)\.\. code-block:: ini\n(?: +:.*\n)*\n((?:(?:\1   .*)?\n)+)", text, re.MULTILINE)
        return [re.sub(rf"^{indent}   ", "", block, flags=re.MULTILINE) for indent, block in found]

    def drivers(self, conf: cfg.ConfigOpts) -> list[str]:
        """Name the drivers for calls and for notifications; none of them connects when it is made."""
        made = (oslo_messaging.get_rpc_transport(conf), oslo_messaging.get_notification_transport(conf))
        return [type(transport._driver).__name__ for transport in made]

    def test_half_and_half(self) -> None:
        found = [self.drivers(self.read(text)) for text in self.ini("half-and-half.rst")]
        self.assertEqual(found, [["ZmqDriver", "RabbitDriver"], ["RabbitDriver", "ZmqDriver"]])

    def test_from_rabbitmq(self) -> None:
        (text,) = self.ini("from-rabbitmq.rst")
        conf = self.read(text)
        self.assertEqual(self.drivers(conf), ["ZmqDriver", "RabbitDriver"])
        settings = settings_of(conf, oslo_messaging.TransportURL.parse(conf), None)
        self.assertEqual((settings.host, settings.rpc_zmq_bind_address), ("10.0.0.11", "10.0.0.11"))

    def test_oslo_messaging(self) -> None:
        settings = []
        for text in self.ini("oslo-messaging.rst"):
            conf = self.read(text)
            self.assertEqual(self.drivers(conf)[0], ZmqDriver.__name__)
            settings.append(settings_of(conf, oslo_messaging.TransportURL.parse(conf), None))
        store, tls, proxied = settings
        self.assertEqual((store.matchmaker, store.host), ("redis", "10.0.0.11"))
        self.assertEqual((tls.matchmaker, tls.matchmaker_tls), ("etcd", True))
        self.assertEqual((proxied.use_router_proxy, proxied.use_pub_sub), (True, True))

    def test_urls(self) -> None:
        """Each URL of the page is one, as a service reads it, with what is in brackets and without."""
        found = re.findall(r"^   \* - ``(zmq.*)``$", PAGE.read_text(), re.MULTILINE)
        self.assertEqual(len(found), 7)
        for url in found:
            whole = re.sub(r"[][]", "", url).replace("...", "").replace(",host:port", ",other:1").replace("port", "1")
            bare = re.sub(r"\[[^]]*\]", "", url).replace("port", "1")
            for text in (whole.replace("/db", "/1"), bare):
                conf = cfg.ConfigOpts()
                parsed = oslo_messaging.TransportURL.parse(conf, self.here(text))
                name = text.partition("://")[0].partition("+")[2] or "dummy"
                self.assertEqual(settings_of(conf, parsed, None).matchmaker, name, text)
