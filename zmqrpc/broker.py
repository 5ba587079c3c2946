"""The IPC socket of this host, at which clients find its broker, if there is one: where it is, and who may have it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection

from zmqrpc.notices import Notices

BROKER = "zmq-broker"
"""The name of its socket below ``rpc_zmq_ipc_dir``."""


class HostBroker:
    """
    The broker of this host, as its clients see it.

    :param directory: ``rpc_zmq_ipc_dir``.
    :param notices: where it is said that one is not trusted: once, and again when the reason has changed.
    """

    def __init__(self, directory: str, notices: Notices) -> None:
        self._directory = directory
        self._notices = notices
        self._fault = ""

    def address(self) -> str | None:
        """Return its address, None when none is there that can be trusted."""
        address, fault = find_broker(self._directory)
        if fault and fault != self._fault:
            self._notices.count("broker_not_trusted", "the broker of this host is passed over: {fault}", fault=fault)
        self._fault = fault
        return address


def find_broker(directory: str) -> tuple[str | None, str]:
    """
    Look for the broker of this host.

    What clients say to it, it could read and answer: so it has to be a socket, and the socket and its directory have to
    belong to root or to us, and nobody else may put something in their place.

    :param directory: ``rpc_zmq_ipc_dir``.
    :return: its address, None when there is none to use; and why one that is there is not used, and what to do, else
        empty. Whoever may not go through the directory sees none there.
    """
    path = os.path.join(directory, BROKER)
    try:
        os.lstat(path)
        fault = fault_of_place(path, {os.geteuid()})
    except OSError:
        return None, ""
    return (None, fault) if fault else (f"ipc://{path}", "")


def fault_of_place(path: str, users: Collection[int]) -> str:
    """
    Say why an IPC socket cannot be trusted, and what to do; empty when it can, or when nothing is there yet.

    :param path: that of the socket.
    :param users: the ids of those who may have it and its directory, beside root.
    :raises OSError: its directory, or what is in it, cannot be looked at.
    """
    directory = os.path.dirname(path)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no directory"
        return f"{directory}, for the IPC socket, is {kind}; remove it, or set rpc_zmq_ipc_dir to another"
    if fault := _fault_of_owner(directory, found, users):
        return fault
    if _is_open(found):
        # Who has given a directory the sticky bit, as /tmp has it, meant it for others as well.
        danger, advice = (
            ("put a socket there while no proxy runs", "set rpc_zmq_ipc_dir to a directory of its own")
            if found.st_mode & stat.S_ISVTX
            else ("replace the socket", f"run chmod go-w {directory}")
        )
        return (
            f"{directory}, for the IPC socket, can be written to by others (mode {stat.S_IMODE(found.st_mode):o}), "
            f"who could {danger}; {advice}"
        )
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return ""
    if not stat.S_ISSOCK(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no socket"
        return f"{path} is {kind}, where the IPC socket should be; remove it"
    return _fault_of_owner(path, found, users)


def _fault_of_owner(path: str, found: os.stat_result, users: Collection[int]) -> str:
    if found.st_uid in (0, *users):
        return ""
    return (
        f"{path}, for the IPC socket, belongs to user {found.st_uid}, who is neither root nor the user of this process "
        f"({os.geteuid()}); run the broker as root or as its clients, or set rpc_zmq_ipc_dir to a directory of its own"
    )


def _is_open(directory: os.stat_result) -> bool:
    """
    Tell whether others than its owner may put something into a directory.

    The sticky bit changes nothing: it keeps them from replacing a socket, and not from making one while there is none,
    just before a client connects.
    """
    return bool(directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
