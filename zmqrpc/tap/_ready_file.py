"""The file that ``--ready-file`` names: it is there exactly while the service is ready."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from twisted.logger import Logger

from zmqrpc.errors import ConfigError

_OURS = re.compile(rb"\d{1,10}\nready: [^\n]{0,300}\n")
_MOST = 400


class ReadyFile:
    """
    A file that tells health checks on this machine, without a store or a connection, that a service is ready.

    Its first line is the process id, its second what is ready. What a process has left that was killed is removed at
    the next start; until then the process id in it is that of no process, or of another.

    :param path: the absolute path.
    """

    log = Logger()

    def __init__(self, path: str) -> None:
        self.path = path
        self._is_there = False
        self._failed = False

    def begin(self) -> None:
        """
        Remove what another process has left there, and see whether the file can be written.

        :raises ConfigError: it cannot, or what is there was not written by us.
        """
        try:
            with suppress(FileNotFoundError):
                self._check_ours()
                os.unlink(self.path)
            with open(self._beside, "wb"):
                pass
            os.unlink(self._beside)
        except OSError as error:
            raise ConfigError(
                f"the ready file {self.path} cannot be written: {error.strerror}; name one in a directory where this "
                "process may make files (--ready-file)"
            ) from error

    def says(self, ready: str) -> None:
        """
        Tell that it is ready, or not.

        :param ready: one line that begins with ``ready: ``; empty when it is not.
        """
        try:
            if ready:
                with open(self._beside, "w") as file:
                    file.write(f"{os.getpid()}\n{ready}\n")
                # Whoever reads it finds all of it.
                os.replace(self._beside, self.path)
                self._is_there = True
            elif self._is_there:
                self._is_there = False
                os.unlink(self.path)
        except OSError as error:
            if not self._failed:
                self.log.warn("the ready file {path} cannot be changed: {error}", path=self.path, error=error)
            self._failed = True
        else:
            self._failed = False

    @property
    def _beside(self) -> str:
        return f"{self.path}.{os.getpid()}"

    def _check_ours(self) -> None:
        # A pipe would be waited for, and what a link leads to is not ours.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            content = os.read(descriptor, _MOST)
        finally:
            os.close(descriptor)
        if content and not _OURS.fullmatch(content):
            raise ConfigError(
                f"the ready file {self.path} is there and was not written by us; remove it, or name another "
                "(--ready-file)"
            )
