"""The file that is there exactly while a service is ready."""

from __future__ import annotations

import os
from pathlib import Path
from pwd import getpwnam
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import ConfigError
from zmqrpc.tap._ready_file import ReadyFile
from zmqrpc.test.logs import LogLines

READY = "ready: registered with the matchmaker"


class ReadyFileTests(SynchronousTestCase):
    def setUp(self):
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "ready"
        self.file = ReadyFile(str(self.path))

    def test_life(self):
        self.file.begin()
        self.assertEqual(list(self.directory.iterdir()), [])
        self.file.says("")
        self.file.says(READY)
        self.assertEqual(self.path.read_text(), f"{os.getpid()}\n{READY}\n")
        self.assertEqual(list(self.directory.iterdir()), [self.path])
        self.file.says("")
        self.file.says("")
        self.assertEqual(list(self.directory.iterdir()), [])
        self.file.says(READY)
        self.assertTrue(self.path.exists())

    def test_what_was_left(self):
        """What a killed process has left is removed at the start; so is an empty file that was made for us."""
        for left in (f"12345\n{READY}\n", "1\nready: who is told of it can subscribe\n", ""):
            self.path.write_text(left)
            self.file.begin()
            self.assertFalse(self.path.exists())

    def test_what_is_of_others(self):
        for content in ("[DEFAULT]\n", f"{READY}\n", f"1\n{READY}\nmore\n", "12\n", "1\n" + "ready: " + "x" * 1000):
            self.path.write_text(content)
            with self.assertRaises(ConfigError) as caught:
                self.file.begin()
            self.assertIn(f"the ready file {self.path} is there and was not written by us", str(caught.exception))
            self.assertEqual(self.path.read_text(), content)

    def test_what_is_no_file(self):
        target = self.directory / "target"
        target.write_text(f"1\n{READY}\n")
        for make in (self.path.mkdir, lambda: self.path.symlink_to(target)):
            make()
            with self.assertRaises(ConfigError) as caught:
                self.file.begin()
            self.assertIn("cannot be written", str(caught.exception))
            self.path.rmdir() if self.path.is_dir() else self.path.unlink()
        self.assertTrue(target.exists())

    def test_beside(self):
        """What is made beside it follows no link, and takes nothing of others; what we have left is removed."""
        beside = self.directory / f"ready.{os.getpid()}"
        target = self.directory / "target"
        target.write_text("precious")
        beside.symlink_to(target)
        lines = LogLines(self, "zmqrpc.tap._ready_file")
        with self.assertRaises(ConfigError) as caught:
            self.file.begin()
        self.assertIn(f"the ready file {beside} cannot be written", str(caught.exception))
        self.file.says(READY)
        self.assertIn("cannot be changed", lines[0])
        self.assertEqual((target.read_text(), self.path.exists()), ("precious", False))
        beside.unlink()
        beside.write_text("of others")
        with self.assertRaises(ConfigError) as caught:
            self.file.begin()
        self.assertIn(f"the ready file {beside} is there and was not written by us", str(caught.exception))
        self.assertEqual(beside.read_text(), "of others")
        for left in ("", f"{os.getpid()}\n{READY}\n"):
            beside.write_text(left)
            self.file.begin()
            self.assertFalse(beside.exists())

    def test_later_owner(self):
        """It is tried as the user that the process goes on as, and with the groups of that user."""
        if os.geteuid() != 0:
            raise SkipTest("only root can give up the rights of root")
        self.directory.chmod(0o755)
        here = Path.cwd()
        self.addCleanup(os.chdir, here)
        # Whether nobody may pass the directories above does not matter.
        os.chdir(self.directory)
        nobody = getpwnam("nobody")
        groups = os.getgroups()
        for owner, mode, works in (((0, 0), 0o755, False), ((nobody.pw_uid, 0), 0o700, True), ((0, 0), 0o777, True)):
            os.chown(".", *owner)
            os.chmod(".", mode)
            file = ReadyFile("ready", (nobody.pw_uid, nobody.pw_gid))
            if works:
                file.begin()
            else:
                with self.assertRaises(ConfigError) as caught:
                    file.begin()
                self.assertIn("cannot be written as the user nobody: Permission denied", str(caught.exception))
            self.assertEqual((os.geteuid(), os.getegid(), os.getgroups()), (0, 0, groups))
            self.assertEqual(list(self.directory.iterdir()), [])

    def test_a_pipe(self):
        """Nobody waits for what may never come."""
        os.mkfifo(self.path)
        self.file.begin()
        self.assertFalse(self.path.exists())

    def test_no_directory(self):
        with self.assertRaises(ConfigError) as caught:
            ReadyFile(str(self.directory / "none" / "ready")).begin()
        self.assertIn("No such file or directory; name one in a directory", str(caught.exception))

    def test_cannot_be_changed_later(self):
        """A directory that vanishes is logged once, and once again after it has worked."""
        lines = LogLines(self, "zmqrpc.tap._ready_file")
        file = ReadyFile(str(self.directory / "sub" / "ready"))
        for _ in range(2):
            file.says(READY)
            file.says(READY)
            (self.directory / "sub").mkdir()
            file.says(READY)
            file.says("")
            (self.directory / "sub").rmdir()
        self.assertEqual(len(lines), 2)
        self.assertIn("cannot be changed", lines[0])
