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
    if trusted and not is_open(around) and stat.S_ISDIR(around.st_mode) and stat.S_ISSOCK(socket.st_mode):
        return f"ipc://{path}"
    return None


def is_open(directory: os.stat_result) -> bool:
    """
    Tell whether others than its owner may put something into a directory.

    The sticky bit changes nothing: it keeps them from replacing a socket, and not from making one while there is none,
    just before a client connects.
    """
    return bool(directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
