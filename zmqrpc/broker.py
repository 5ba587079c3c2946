"""Where the broker of this host listens, if there is one."""

from __future__ import annotations

import os
import stat

BROKER = "zmq-broker"
"""The name of its socket below ``rpc_zmq_ipc_dir``."""


def broker_address(directory: str) -> str | None:
    """
    Return the address of the broker of this host, None when none listens where it can be trusted.

    What clients say to it, it could read and answer: so it has to be a socket, and the socket and its directory have to
    belong to root or to us, and nobody else may put something in their place.

    :param directory: ``rpc_zmq_ipc_dir``.
    """
    path = os.path.join(directory, BROKER)
    try:
        around, socket = os.lstat(directory), os.lstat(path)
    except OSError:
        return None
    trusted = all(each.st_uid in (0, os.geteuid()) for each in (around, socket))
    # Where the sticky bit is set, others may write and yet replace nothing.
    closed = not around.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or bool(around.st_mode & stat.S_ISVTX)
    if trusted and closed and stat.S_ISDIR(around.st_mode) and stat.S_ISSOCK(socket.st_mode):
        return f"ipc://{path}"
    return None
