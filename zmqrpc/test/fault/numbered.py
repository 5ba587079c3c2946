"""An application whose log has a line for each call, with its id."""

from __future__ import annotations

import os
from typing import Any

from twisted.logger import Logger

from zmqrpc import expose
from zmqrpc.testing.history import History

HISTORY = "ZMQRPC_FAULT_HISTORY"
"""The variable with the path of its history."""


class Numbered:
    """Says that it is called."""

    _log = Logger()

    def __init__(self) -> None:
        self._history = History(log=open(os.environ[HISTORY], "ab", 0), keep=False)  # noqa: SIM115

    @expose
    def quick(self, context: Any, id: str, body: bytes = b"") -> list[Any]:
        self._log.info("called: {id}", id=id)
        return self._history.ran(id, "one", "numbered")
