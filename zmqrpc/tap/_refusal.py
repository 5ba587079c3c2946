"""How a command refuses to start: one sentence on standard error, and an exit status that is not 0."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from zmqrpc.errors import ConfigError
from zmqrpc.settings import masked_url


class StartRefused(ConfigError, SystemExit):
    """
    The process cannot start; the text says why.

    It is a `ConfigError` for whoever composes our services. It is a `SystemExit` too, since Python ends a process with
    that without a traceback. It has to be an ordinary `Exception` as well: `twistd` tells the process that waits for
    its daemon, and removes its pid file, only for those.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.code = 1


class Refusals:
    """
    Where a command says why it does not start.

    :param command: what every sentence begins with.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._kept: int | None = None

    def outlive_fork(self) -> None:
        """Keep standard error over the fork of a daemon, which closes its own, until `started`."""
        self._kept = os.dup(2)

    def started(self) -> None:
        """Give back what `outlive_fork` kept."""
        if self._kept is not None:
            os.close(self._kept)
            self._kept = None

    def refuse(self, sentence: str) -> NoReturn:
        """
        Say why, and raise.

        :raises StartRefused: always.
        """
        # Whatever was typed may be in it, such as a URL where none belongs.
        sentence = " ".join(masked_url(word) for word in sentence.split())
        line = f"{self._command}: {sentence}\n"
        if self._kept is not None:
            os.write(self._kept, line.encode(errors="backslashreplace"))
        elif sys.__stderr__ is not None:
            # Not sys.stderr: twistd has turned that into its log by the time a service starts.
            sys.__stderr__.write(line)
            sys.__stderr__.flush()
        raise StartRefused(sentence)
