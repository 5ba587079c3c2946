"""Paths for what tests bind."""

from __future__ import annotations

import itertools
import os
import shutil

from twisted.trial.unittest import SynchronousTestCase

_numbers = itertools.count()


def short_directory(case: SynchronousTestCase) -> str:
    """Return where a directory for IPC sockets can be made: the kernel takes 107 bytes, and `mktemp` may give more."""
    directory = f"/tmp/zmqrpc-test-{os.getpid()}-{next(_numbers)}"
    case.addCleanup(shutil.rmtree, directory, True)
    return directory
