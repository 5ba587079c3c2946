"""The IPC socket of a proxy on each host, and the directory that it is in."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from zmqrpc.broker import is_open
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IBoundRouter

_LONGEST = 107
"""Bytes of a path that the kernel takes: ``sun_path`` of unix(7), without the NUL at its end."""

_MODE = 0o666
"""Whoever may go through the directory may connect, which takes the right to write: whatever the umask is."""

_OPTIONS = ("rpc_zmq_ipc_dir",)


class IpcSocket:
    """
    A socket in a directory that nobody else may write to: who could, might put another one in its place.

    :param path: where it will be.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._inode: tuple[int, int] | None = None

    def bind(self, router: IBoundRouter, owner: tuple[int, int] | None) -> None:
        """
        Make the directory where there is none, and bind; who may go through the directory may connect.

        :param owner: user and group id that both are given to, where this process gives up its rights later; None for
            those of the process.
        :raises ConfigError: the path is too long, the directory or the socket is not safe, or somebody listens there.
        """
        size = len(os.fsencode(self._path))
        if size > _LONGEST:
            raise _refusal(
                f"the path of the IPC socket, {self._path}, has {size} bytes, and the kernel takes {_LONGEST}; set "
                "rpc_zmq_ipc_dir to a shorter one"
            )
        try:
            self._make_directory(owner)
            self._check_place(owner)
        except OSError as error:
            raise _refusal(
                f"the IPC socket {self._path} cannot be made ({error.strerror}: {error.filename}); create the "
                "directory, or set rpc_zmq_ipc_dir to one that the user of this process may write to"
            ) from error
        router.bind_path(self._path)
        with suppress(OSError):
            # Without a file there is a network in memory.
            found = os.lstat(self._path)
            self._inode = (found.st_dev, found.st_ino)
            os.chmod(self._path, _MODE)
            if owner is not None and os.geteuid() == 0:
                os.lchown(self._path, *owner)

    def remove(self) -> None:
        """Remove the socket, unless another process has put its own there."""
        with suppress(OSError):
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == self._inode:
                os.unlink(self._path)

    def _make_directory(self, owner: tuple[int, int] | None) -> None:
        directory = os.path.dirname(self._path)
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            return
        except (FileNotFoundError, NotADirectoryError) as error:
            # Not made as well: who may go through it, and whose it is, is for who has chosen it.
            above = os.path.dirname(directory)
            why, advice = f"there is no directory {above}", f"run mkdir -p {above}"
            if isinstance(error, NotADirectoryError):
                why, advice = f"{above} is no directory", "remove it"
            raise _refusal(
                f"{directory}, for the IPC socket, cannot be made, since {why}; {advice}, or set rpc_zmq_ipc_dir to "
                "another"
            ) from error
        # Whatever the umask is: others may go through it, and only its owner may write.
        os.chmod(directory, 0o755)
        if owner is not None and os.geteuid() == 0:
            os.chown(directory, *owner)

    def _check_place(self, owner: tuple[int, int] | None) -> None:
        directory = os.path.dirname(self._path)
        ours = {0, os.geteuid(), owner[0] if owner is not None else 0}
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode):
            kind = "a link" if stat.S_ISLNK(found.st_mode) else "no directory"
            raise _refusal(f"{directory}, for the IPC socket, is {kind}; remove it, or set rpc_zmq_ipc_dir to another")
        self._check_owner(directory, found, ours)
        if is_open(found):
            # Who has given a directory the sticky bit, as /tmp has it, meant it for others as well.
            danger, advice = (
                ("put a socket there while no proxy runs", "set rpc_zmq_ipc_dir to a directory of its own")
                if found.st_mode & stat.S_ISVTX
                else ("replace the socket", f"run chmod go-w {directory}")
            )
            raise _refusal(
                f"{directory}, for the IPC socket, can be written to by others (mode {stat.S_IMODE(found.st_mode):o}), "
                f"who could {danger}; {advice}"
            )
        try:
            found = os.lstat(self._path)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            kind = "a link" if stat.S_ISLNK(found.st_mode) else "no socket"
            raise _refusal(f"{self._path} is {kind}, where the IPC socket should be; remove it")
        self._check_owner(self._path, found, ours)

    def _check_owner(self, path: str, found: os.stat_result, ours: set[int]) -> None:
        if found.st_uid not in ours:
            raise _refusal(
                f"{path}, for the IPC socket, belongs to user {found.st_uid}, who is neither root nor the user of this "
                f"process ({os.geteuid()}); set rpc_zmq_ipc_dir to a directory of its own"
            )


def _refusal(text: str) -> ConfigError:
    return ConfigError(text, options=_OPTIONS)
