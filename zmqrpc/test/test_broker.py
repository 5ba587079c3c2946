"""Where clients look for the broker of their host, and what they do not take for it."""

from __future__ import annotations

import os
import socket
from itertools import count
from typing import Any, cast
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.broker import HostBroker, find_broker
from zmqrpc.notices import Notices
from zmqrpc.test.logs import LogLines
from zmqrpc.test.paths import short_directory


class BrokerTests(SynchronousTestCase):
    def setUp(self):
        self.directory = short_directory(self)
        os.mkdir(self.directory)
        os.chmod(self.directory, 0o755)
        self.path = os.path.join(self.directory, "zmq-broker")

    def listen(self, path=None):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path or self.path)
        self.addCleanup(listening.close)

    def assert_found(self):
        self.assertEqual(find_broker(self.directory), (f"ipc://{self.path}", ""))

    def assert_none(self):
        """Nobody is there, which is no trouble."""
        self.assertEqual(find_broker(self.directory), (None, ""))

    def assert_passed_over(self, fault):
        self.assertEqual(find_broker(self.directory), (None, fault))

    def test_socket(self):
        self.assert_none()
        self.listen()
        self.assert_found()

    def test_no_directory(self):
        self.assertEqual(find_broker(os.path.join(self.directory, "nowhere")), (None, ""))
        self.assertEqual(find_broker(""), (None, ""))
        with open(self.path, "wb"):
            pass
        self.assertEqual(find_broker(self.path), (None, ""))

    def test_no_socket(self):
        with open(self.path, "wb"):
            pass
        self.assert_passed_over(f"{self.path} is no socket, where the IPC socket should be; remove it")

    def test_link(self):
        self.listen(os.path.join(self.directory, "elsewhere"))
        os.symlink("elsewhere", self.path)
        self.assert_passed_over(f"{self.path} is a link, where the IPC socket should be; remove it")

    def test_directory_that_others_may_write_to(self):
        for mode in (0o777, 0o1777):
            os.chmod(self.directory, mode)
            # There is no broker, and what it would be is for its own start.
            self.assert_none()
        self.listen()
        # The sticky bit keeps others from replacing a socket, and not from being there before it.
        for mode, danger in (
            (0o777, f"replace the socket; run chmod go-w {self.directory}"),
            (0o775, f"replace the socket; run chmod go-w {self.directory}"),
            (0o1777, "put a socket there while no proxy runs; set rpc_zmq_ipc_dir to a directory of its own"),
            (0o1775, "put a socket there while no proxy runs; set rpc_zmq_ipc_dir to a directory of its own"),
        ):
            os.chmod(self.directory, mode)
            self.assert_passed_over(
                f"{self.directory}, for the IPC socket, can be written to by others (mode {mode:o}), who could {danger}"
            )
        os.chmod(self.directory, 0o750)
        self.assert_found()

    def test_directory_that_is_a_link(self):
        self.listen()
        link = f"{self.directory}-link"
        os.symlink(self.directory, link)
        self.addCleanup(os.unlink, link)
        fault = f"{link}, for the IPC socket, is a link; remove it, or set rpc_zmq_ipc_dir to another"
        self.assertEqual(find_broker(link), (None, fault))

    def test_somebody_elses(self):
        self.listen()
        for strange in (self.directory, self.path):
            with belongs_to_another(strange):
                self.assert_passed_over(
                    f"{strange}, for the IPC socket, belongs to user 4711, who is neither root nor the user of this "
                    f"process ({os.geteuid()}); run the broker as root or as its clients, or set rpc_zmq_ipc_dir to a "
                    "directory of its own"
                )

    def test_said_once(self):
        """That one is passed over is said and counted once, and again when the reason has changed."""
        lines = LogLines(self, "zmqrpc.notices")
        times = count(1)
        notices = Notices(lambda: next(times) * 2.0)
        broker = HostBroker(self.directory, notices)

        def look(lines_said, found=False):
            for _ in "123":
                self.assertEqual(broker.address(), f"ipc://{self.path}" if found else None)
            self.assertEqual((len(lines), notices.counts["broker_not_trusted"]), (lines_said, lines_said))

        look(0)
        self.listen()
        look(0, True)
        os.chmod(self.directory, 0o777)
        look(1)
        self.assertEqual(
            lines[0],
            f"broker_not_trusted: the broker of this host is passed over: {self.directory}, for the IPC socket, can be "
            f"written to by others (mode 777), who could replace the socket; run chmod go-w {self.directory}",
        )
        with belongs_to_another(self.directory):
            look(2)
        self.assertIn("belongs to user 4711, who is neither root nor", lines[1])
        look(3)
        os.chmod(self.directory, 0o755)
        look(3, True)
        os.chmod(self.directory, 0o777)
        look(4)


def belongs_to_another(strange: str) -> Any:
    """Have a path belong to another user."""
    found = os.lstat

    def lstat(path: str) -> Any:
        stat = found(path)
        return cast(Any, mock.Mock(st_uid=4711, st_mode=stat.st_mode)) if path == strange else stat

    return mock.patch("zmqrpc.broker.os.lstat", lstat)
