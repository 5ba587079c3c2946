"""One member of the topic that is called; ``twistd zmq-rpc-server --app bench.worker:Worker`` serves it."""

from __future__ import annotations

import os
from typing import Any

from zmqrpc import expose


class Worker:
    """
    It says who it is.

    :param name: its name; the id of its process when there is none.
    """

    def __init__(self, name: str = "") -> None:
        self._name = name or str(os.getpid())

    @expose
    def who(self, context: Any) -> str:
        return self._name
