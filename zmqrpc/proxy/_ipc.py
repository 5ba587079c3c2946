"""The IPC socket of a proxy on each host, and the directory that it is in."""

from __future__ import annotations

import os
from contextlib import suppress

from zmqrpc.broker import fault_of_place
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
            users = {os.geteuid()} if owner is None else {os.geteuid(), owner[0]}
            fault = fault_of_place(self._path, users)
        except OSError as error:
            raise _refusal(
                f"the IPC socket {self._path} cannot be made ({error.strerror}: {error.filename}); create the "
                "directory, or set rpc_zmq_ipc_dir to one that the user of this process may write to"
            ) from error
        if fault:
            raise _refusal(fault)
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


def _refusal(text: str) -> ConfigError:
    return ConfigError(text, options=_OPTIONS)
