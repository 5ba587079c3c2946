"""Every example, and every command that the documentation shows, is run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

from zmqrpc.cli._commands import COMMANDS
from zmqrpc.tap.server import Options
from zmqrpc.test.processes import CHECKOUT, ProcessTestCase, Running, until
from zmqrpc.test.programs import program
from zmqrpc.test.servers import RedisServer
from zmqrpc.test.test_packaging import INSTALL, copy_checkout, make_environment, run

EXAMPLES = CHECKOUT / "examples"
DOCS = CHECKOUT / "docs"


def blocks(path: Path, language: str) -> list[str]:
    """Read the code blocks of a page, but those that it says are not run."""
    found = re.findall(
        rf"^(\.\. not run: .*\n\n)?\.\. code-block:: {language}\n\n((?:(?:   .*)?\n)+)", path.read_text(), re.MULTILINE
    )
    return [dedent(block).strip("\n") + "\n" for marked, block in found if not marked]


def steps(path: Path) -> Iterator[tuple[str, str]]:
    """Read the commands of a page, and what each prints."""
    for block in blocks(path, "console"):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            typed, _, printed = step.partition("\n")
            yield typed, printed


def pattern(printed: str) -> re.Pattern[str]:
    """Make a pattern of what a page shows as output; three dots are anything."""
    return re.compile(re.escape(printed.strip()).replace(r"\.\.\.", ".*"), re.DOTALL)


class ExampleTests(ProcessTestCase):
    def zmqrpc(self, *arguments):
        return self.run_to_end("zmqrpc", *arguments)

    def test_readme(self):
        (source,) = blocks(CHECKOUT / "README.rst", "python")
        self.assertLessEqual(source.count("\n"), 20)
        (self.directory / "example.py").write_text(source)
        ended = self.python("example.py")
        self.assertEqual((ended.stdout, ended.stderr, ended.returncode), ("1 + 2 = 3\n", "", 0))
        self.assertEqual([typed for typed, _ in steps(CHECKOUT / "README.rst")][:2], ["make demo", "make test"])

    def test_demo(self):
        self.environment["TMPDIR"] = str(self.directory)
        ended = self.python("-m", "examples.demo.run")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), ended.stdout)
        self.assertIn("All answers were right", ended.stdout)
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_demo_interrupted(self):
        """It leaves neither processes nor files."""
        temporary = self.directory / "tmp"
        temporary.mkdir()
        self.environment["TMPDIR"] = str(temporary)
        demo = Running([sys.executable, "-u", "-m", "examples.demo.run"], self.directory, self.environment)
        self.addCleanup(demo.kill)
        printed = demo.says("A server in its own process", 2)
        demo.signal(signal.SIGINT)
        self.assertNotEqual(demo.ends(), 0)
        self.assertEqual(list(temporary.iterdir()), [])
        for pid in re.findall(r"process (\d+), run by twistd", printed):
            self.assertRaises(ProcessLookupError, os.kill, int(pid), 0)

    def test_tutorial(self):
        """
        What the first page of the tutorial says is typed and written, in a clean environment, and is as much as it
        says.

        Only the download is left out: what zmqrpc needs is lent to the environment before ``make`` looks for it.
        """
        page = DOCS / "tutorial" / "index.rst"
        written = list((EXAMPLES / "tutorial" / "first").glob("*.py"))
        lines = sum(bool(line.strip()) for path in written for line in path.read_text().splitlines())
        typed = [command for command, _ in steps(page)]
        self.assertIn(f"{len(typed)} commands and {lines} lines of Python", page.read_text())

        here = copy_checkout(self.directory / "checkout", "Makefile", "examples", "tools")
        python = make_environment(here / ".venv", "twistd")
        run(python, *INSTALL, "--editable", ".", cwd=here)
        (here / ".venv" / ".stamp").touch()
        for path in written:
            shutil.copy(path, here)
        environment = {"PATH": os.environ["PATH"], "HOME": str(here), "TMPDIR": str(self.directory)}
        for command, printed in steps(page):
            words = shlex.split(command.replace("/tmp/", f"{self.directory}/"))
            wanted = pattern(printed)
            step = Running(words, here, environment)
            self.addCleanup(step.kill)
            until(lambda p=step, w=wanted: w.search(p.out), lambda p=step, w=printed: f"{w}\n in {p.out}{p.err}")
            if "--nodaemon" not in words:
                self.assertEqual((step.ends(), step.err), (0, ""), step.out)

    def test_tutorial_with_members(self):
        """What its second page says is typed, and what it says is printed."""
        for path in (EXAMPLES / "tutorial").glob("*.py"):
            shutil.copy(path, self.directory)
        servers: list[Running] = []
        for typed, printed in steps(DOCS / "tutorial" / "members.rst"):
            words = shlex.split(typed.replace("/tmp/", f"{self.directory}/"))
            if words[0] == "source":
                self.assertEqual(words[1:], [".venv/bin/activate"])
            elif words[0] == "export":
                name, _, value = words[1].partition("=")
                self.environment[name] = value
            elif words[0] == "twistd":
                servers.append(self.start("twistd", *words[1:]))
                self.assert_prints(servers[-1], printed)
            elif words == ["kill", "%1"]:
                servers[0].signal()
                self.assert_prints(servers[0], printed)
                servers[0].ends()
            else:
                ended = self.run_words(words)
                self.assertTrue(pattern(printed).fullmatch(ended.strip()), f"{typed}\n{printed}\n{ended}")
        self.assertEqual(len(servers), 2)

    def assert_prints(self, running, printed):
        wanted = pattern(printed)
        until(lambda: wanted.search(running.out), lambda: f"{printed!r} in {running.out}{running.err}")

    def run_words(self, words):
        name, *arguments = words
        if name in ("zmqrpc", "twist"):
            ended = self.run_to_end(name, *arguments)
        else:
            ended = self.python(*{"python": [], "python3": []}[name], *arguments)
        return ended.stdout + ended.stderr

    def test_configure(self):
        """What docs/howto/configure shows is typed, with the file that it shows."""
        page = DOCS / "howto" / "configure.rst"
        shutil.copy(EXAMPLES / "tutorial" / "greeter.py", self.directory)
        (self.directory / "examples").mkdir()
        file = (EXAMPLES / "zeromq.conf").read_text().replace("/tmp/", f"{self.directory}/")
        (self.directory / "examples" / "zeromq.conf").write_text(file)
        commands = [(shlex.split(typed), printed) for typed, printed in steps(page)]
        for words, _ in commands:
            if words[0] == "twistd":
                self.start(words[0], "-n", "--pidfile=", *words[1:]).says("ready: registered")
        for words, printed in commands:
            if words[0] != "zmqrpc":
                continue
            typed = [word.replace("/tmp/", f"{self.directory}/") for word in words[1:] if word != ">"]
            ended = self.zmqrpc(*(typed[:1] if ">" in words else typed))
            shown = pattern(printed.replace("/tmp/", f"{self.directory}/"))
            self.assertTrue(not printed.strip() or shown.search(ended.stdout + ended.stderr), (words, ended))
            self.assertEqual(ended.returncode, 2 if "drain_timeuot" in typed[-1] else 0, ended)
        for number, source in enumerate(blocks(page, "python")):
            path = self.directory / f"block{number}.py"
            path.write_text(f"from twisted.internet import reactor\nfrom zmqrpc import Node\n{source}")
            ended = self.python(path.name)
            self.assertEqual((ended.stderr, ended.returncode), ("", 0), source)

    def test_zmqrpc(self):
        """What docs/commands/zmqrpc shows is typed, and prints what it shows; columns may be wider there."""
        shutil.copy(EXAMPLES / "tutorial" / "greeter.py", self.directory)
        self.environment["ZMQRPC_URL"] = self.url
        for member in ("node-1", "node-2"):
            self.serve("--app", "greeter:Greeter", "--topic", "greeter", "--server", member)
        typed = [(shlex.split(line), printed) for line, printed in steps(DOCS / "commands" / "zmqrpc.rst")]
        for words, printed in typed:
            listening = self.start("zmqrpc", "listen", "events") if words[1] == "notify" else None
            if listening is not None:
                until(lambda listening=listening: "listening to" in listening.err, lambda: "somebody listens")
            ended = self.zmqrpc(*words[1:])
            if listening is not None:
                listening.signal()
                self.assertEqual((listening.ends(), listening.out.count("instance.started")), (0, 1))
            self.assertEqual((ended.stderr, ended.returncode), ("", 0), words)
            # Where a line is broken depends on how long a path is.
            narrow = " ".join(ended.stdout.split())
            self.assertTrue(pattern(" ".join(printed.split())).fullmatch(narrow), f"{words}\n{printed}\n{narrow}")
        commands = {words[1] for words, _ in typed}
        self.assertEqual(
            commands, {"call", "cast", "fanout", "notify", "ls", "describe", "ping", "inspect", "bench", "plan"}
        )

    def test_tac(self):
        """It needs nothing but an installed zmqrpc; others reach its members when it is told where they look."""
        self.environment.pop("PYTHONPATH")
        running = self.start("twistd", "-n", "--pidfile=", "-y", str(EXAMPLES / "two_members.tac"))
        running.says("node-1 says 3")
        running.says("node-2 says 3")
        running.signal()
        self.assertEqual(running.ends(), -signal.SIGTERM)
        self.assertNotIn("Traceback", running.out)
        self.environment["ZMQRPC_URL"] = self.url
        self.start("twistd", "-n", "--pidfile=", "-y", str(EXAMPLES / "two_members.tac")).says("node-1 says 3")
        asked = self.zmqrpc("call", "calc.node-2", "add", "a=2", "b=3", "--wait", "--timeout", "10")
        self.assertEqual(asked.stdout, '"node-2 says 5"\n', asked.stderr)

    def test_tac_of_the_command(self):
        """The application file that docs/howto/run-servers shows runs two members of the tutorial's topic."""
        (source,) = blocks(DOCS / "howto" / "run-servers.rst", "python")
        (self.directory / "greeters.tac").write_text(source)
        shutil.copy(EXAMPLES / "tutorial" / "greeter.py", self.directory)
        self.environment["ZMQRPC_URL"] = self.url
        running = self.start("twistd", "-n", "--pidfile=", "-y", "greeters.tac")
        running.says("ready: registered", 2)
        for member in ("node-1", "node-2"):
            self.assertIn(f"serving topic greeter as member {member}", running.out)

    def test_json_log(self):
        """docs/howto/logs shows the command, and what its log has of a server."""
        page = DOCS / "howto" / "logs.rst"
        (shown,) = (json.loads(block) for block in blocks(page, "json"))
        (typed,) = (typed for typed, _ in steps(page) if "json" in typed)
        shutil.copy(EXAMPLES / "tutorial" / "greeter.py", self.directory)
        self.environment["ZMQRPC_URL"] = self.url
        running = self.start("twistd", *shlex.split(typed)[1:])
        running.says("ready: registered")
        lines = [json.loads(line) for line in running.out.splitlines()]
        (serving,) = (line for line in lines if line["message"].startswith("serving topic"))
        self.assertEqual(list(serving), list(shown))
        self.assertEqual((serving["topic"], serving["namespace"]), (shown["topic"], shown["namespace"]))

    def test_plugin(self):
        self.environment["PYTHONPATH"] += f":{EXAMPLES / 'application-plugin'}"
        self.environment["ZMQRPC_URL"] = self.url
        running = self.serve("--app", "wordcount")
        running.says("serving topic words")
        counted = self.zmqrpc("call", "words", "count", "text=one two three", "--wait", "--timeout", "10")
        self.assertEqual((counted.stdout, counted.stderr), ("3\n", ""))

    def test_redis(self):
        """What docs/howto/redis shows is typed, with the configuration that it shows, and prints what it says."""
        server = RedisServer(self, configuration=EXAMPLES / "redis" / "redis.conf")
        shutil.copy(EXAMPLES / "tutorial" / "greeter.py", self.directory)
        for typed, printed in steps(DOCS / "howto" / "redis.rst"):
            words = shlex.split(typed.replace("127.0.0.1:6379", f"127.0.0.1:{server.port}"))
            name, *arguments = words
            if name == "export":
                variable, _, value = arguments[0].partition("=")
                # The name of the machine that runs the tests need not lead to it.
                extra = "?rpc_zmq_bind_address=127.0.0.1" if variable == "ZMQRPC_URL" else ""
                self.environment[variable] = value + extra
            elif name == "twistd":
                self.assert_prints(self.start(name, *arguments), printed)
            elif name == "redis-cli":
                command = [program(name, "redis-tools"), "-p", str(server.port), *arguments]
                ended = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
                # A hash has no order: what stands between dots may come first or last.
                wanted = pattern(printed.strip().removeprefix("...\n").removesuffix("\n..."))
                self.assertTrue(wanted.search(ended.stdout), (typed, ended))
            else:
                ended = self.run_to_end(name, *arguments)
                self.assertEqual((ended.stdout.strip(), ended.stderr), (printed.strip(), ""), typed)

    def test_rolling_restart(self):
        """What docs/howto/rolling-restart promises: with two members, no call fails while each is restarted."""
        self.module(
            "caller",
            """
            import os, sys
            from twisted.internet import reactor
            from twisted.internet.task import deferLater, react
            from zmqrpc import Target, connect, use_monotonic_clock

            async def main(reactor):
                client = await connect(reactor, sys.argv[1])
                calls = 0
                while not os.path.exists("enough"):
                    answer = await client.call(Target("calc"), "add", {"a": calls, "b": 1}, timeout=10)
                    calls += 1
                    assert answer["sum"] == calls
                    if calls == 1:
                        print("begun", flush=True)
                    await deferLater(reactor, 0.001, lambda: None)
                print(calls, "answered")
                await client.close()

            use_monotonic_clock(reactor)
            react(main)
            """,
        )
        options = ("--app", "examples.demo.calc:Calc", "--topic", "calc", "--server")
        servers = {member: self.serve(*options, member) for member in ("node-1", "node-2")}
        caller = Running([sys.executable, "caller.py", self.url], self.directory, self.environment)
        self.addCleanup(caller.kill)
        caller.says("begun")
        for member, server in servers.items():
            server.signal()
            self.assertEqual(server.ends(), -signal.SIGTERM)
            self.serve(*options, member)
        (self.directory / "enough").touch()
        self.assertEqual(caller.ends(), 0, caller.out + caller.err)
        self.assertIn("answered", caller.out)

    def test_reference(self):
        """The pages of the two commands name every option and every command."""
        page = (DOCS / "commands" / "zmq-rpc-server.rst").read_text()
        for option in Options().longOpt:
            if option not in ("help", "version"):
                self.assertIn(f"``--{option.rstrip('=')}", page)
        # The tables of options of the other are made from its parser; that there is one for each command is not.
        page = (DOCS / "commands" / "zmqrpc.rst").read_text()
        named = " ".join(re.findall(r"^\.\. command-options:: (.*)$", page, re.MULTILINE)).split()
        self.assertEqual(sorted(named), sorted(command.name for command in COMMANDS))
        for command in COMMANDS:
            self.assertRegex(page, rf"(?m)^   zmqrpc {command.name} ")
