"""Where clients look for the broker of their host, and what they do not take for it."""

from __future__ import annotations

import os
import socket
from typing import Any, cast
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.broker import broker_address
from zmqrpc.test.paths import short_directory


class BrokerAddressTests(SynchronousTestCase):
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
        self.assertEqual(broker_address(self.directory), f"ipc://{self.path}")

    def assert_none(self):
        self.assertIsNone(broker_address(self.directory))

    def test_socket(self):
        self.assert_none()
        self.listen()
        self.assert_found()

    def test_no_directory(self):
        self.assertIsNone(broker_address(os.path.join(self.directory, "nowhere")))
        self.assertIsNone(broker_address(""))

    def test_no_socket(self):
        with open(self.path, "wb"):
            pass
        self.assert_none()

    def test_link(self):
        self.listen(os.path.join(self.directory, "elsewhere"))
        os.symlink("elsewhere", self.path)
        self.assert_none()

    def test_directory_that_others_may_write_to(self):
        self.listen()
        # The sticky bit keeps others from replacing a socket, and not from being there before it.
        for mode in (0o777, 0o775, 0o1777, 0o1775):
            os.chmod(self.directory, mode)
            self.assert_none()
        os.chmod(self.directory, 0o750)
        self.assert_found()

    def test_directory_that_is_a_link(self):
        self.listen()
        link = f"{self.directory}-link"
        os.symlink(self.directory, link)
        self.addCleanup(os.unlink, link)
        self.assertIsNone(broker_address(link))

    def test_somebody_elses(self):
        self.listen()
        found = os.lstat
        for strange in (self.directory, self.path):

            def lstat(path: str, strange: str = strange) -> Any:
                stat = found(path)
                return cast(Any, mock.Mock(st_uid=4711, st_mode=stat.st_mode)) if path == strange else stat

            with mock.patch("zmqrpc.broker.os.lstat", lstat):
                self.assert_none()
