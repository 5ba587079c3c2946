"""Completions in real shells, and the manual page."""

from __future__ import annotations

import shlex
import subprocess
import sys

from zmqrpc.cli._commands import COMMANDS, SHELLS
from zmqrpc.cli._completion import script
from zmqrpc.cli._manual import manual
from zmqrpc.test.cli.terminal import Terminal
from zmqrpc.test.processes import CHECKOUT, ProcessTestCase, command

GREETER = """
    from zmqrpc import expose

    class Greeter:
        @expose
        def hello(self, context, name):
            return f"Hello, {name}!"
"""


class CompletionTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        program = self.directory / "bin" / "zmqrpc"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command("zmqrpc"))} "$@"\n')
        program.chmod(0o755)
        self.environment["PATH"] = f"{program.parent}:{self.environment['PATH']}"
        self.environment["ZMQRPC_URL"] = self.url

    def shell(self, name):
        path = self.directory / f"completions.{name}"
        printed = self.run_to_end("zmqrpc", "completion", name)
        self.assertEqual((printed.stderr, printed.returncode), ("", 0))
        path.write_text(printed.stdout)
        terminal = Terminal(name, path, self.directory, self.environment)
        self.addCleanup(terminal.close)
        return terminal

    def assert_words(self, shell):
        """Commands, options, shells and files; nobody is asked."""
        (self.directory / "zeromq.conf").touch()
        terminal = self.shell(shell)
        for typed, completed in (
            ("zmqrpc desc", "zmqrpc describe "),
            ("zmqrpc ls --to", "zmqrpc ls --topics "),
            ("zmqrpc call --ti", "zmqrpc call --timeout "),
            ("zmqrpc call calc add --wa", "zmqrpc call calc add --wait "),
            ("zmqrpc ping --interval 2 --cou", "zmqrpc ping --interval 2 --count "),
            ("zmqrpc completion z", "zmqrpc completion zsh "),
            ("zmqrpc ls --config-file zer", "zmqrpc ls --config-file zeromq.conf "),
            ("zmqrpc call calc add a=zer", "zmqrpc call calc add a=zer"),
            ("zmqrpc bogus --ti", "zmqrpc bogus --ti"),
        ):
            self.assertEqual(terminal.completed(typed), completed)

    def assert_names(self, shell):
        """Topics and methods, from those who are there."""
        self.module("greeter", GREETER)
        self.serve("--app", "greeter:Greeter", "--topic", "greeter", "--server", "node-1")
        terminal = self.shell(shell)
        for typed, completed in (
            ("zmqrpc call gre", "zmqrpc call greeter "),
            ("zmqrpc ping --count 3 gre", "zmqrpc ping --count 3 greeter "),
            ("zmqrpc call --context '{\"a\": 1}' gre", "zmqrpc call --context '{\"a\": 1}' greeter "),
            ("zmqrpc call greeter he", "zmqrpc call greeter hello "),
            ("zmqrpc bench --rate 5 greeter --timeout 3 he", "zmqrpc bench --rate 5 greeter --timeout 3 hello "),
            ("zmqrpc call nobody he", "zmqrpc call nobody he"),
        ):
            self.assertEqual(terminal.completed(typed), completed)

    def assert_url(self, shell):
        """The URL that is typed counts."""
        self.module("greeter", GREETER)
        self.serve("--app", "greeter:Greeter", "--topic", "greeter", "--server", "node-1")
        del self.environment["ZMQRPC_URL"]
        terminal = self.shell(shell)
        typed = f"zmqrpc call --url {self.url} gre"
        self.assertEqual(terminal.completed(typed), typed + "eter ")

    def test_bash_words(self):
        self.assert_words("bash")

    def test_bash_names(self):
        self.assert_names("bash")

    def test_bash_url(self):
        self.assert_url("bash")

    def test_zsh_words(self):
        self.assert_words("zsh")

    def test_zsh_names(self):
        self.assert_names("zsh")

    def test_zsh_url(self):
        self.assert_url("zsh")

    def test_every_word(self):
        for shell in SHELLS:
            text = script(shell)
            for row in COMMANDS:
                self.assertIn(f"        {row.name})\n", text)
                for option in row.options:
                    self.assertIn(option.flag, text)


class ManualTests(ProcessTestCase):
    def test_every_word(self):
        page = manual().replace("\\-", "-")
        for row in COMMANDS:
            self.assertIn(f".SS {row.synopsis}\n", page)
            for option in row.options:
                self.assertIn(f"\\fB{option.flag}\\fR", page)

    def test_format(self):
        """The reader of manual pages finds no fault in it."""
        path = self.directory / "zmqrpc.1"
        path.write_text(manual())
        linted = subprocess.run(["mandoc", "-T", "lint", "-W", "error", path], check=False, capture_output=True)
        self.assertEqual((linted.stdout, linted.returncode), (b"", 0))
        shown = subprocess.run(["mandoc", "-T", "utf8", path], check=True, capture_output=True, text=True).stdout
        self.assertIn("zmqrpc ls [OPTION ...] [TOPIC]", shown)

    def test_current(self):
        """The files that the wheel installs are those that the table makes."""
        checked = subprocess.run(
            [sys.executable, CHECKOUT / "tools" / "write-share", "--check"], check=False, capture_output=True, text=True
        )
        self.assertEqual((checked.stderr, checked.returncode), ("", 0))
