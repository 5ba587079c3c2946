"""
A process that does with oslo.messaging what a test tells it, as lines of JSON over the socket that is standard input.

Each act runs in a thread of its own, or green thread, but those that fork: they run in the thread that `main` runs in.
"""

import json
import os
import socket
import sys
import threading
import traceback
from typing import Any


def main() -> None:
    # Not before: who patches the standard library does so before anything of oslo.messaging is imported.
    from zmqrpc.test.oslo.acts import Acts

    told = json.loads(sys.argv[1])
    control = socket.socket(fileno=os.dup(0))
    lock = threading.Lock()
    acts = Acts(**told)

    def act(number: int, name: str, arguments: dict[str, Any]) -> None:
        try:
            answer = {"result": getattr(acts, name)(**arguments)}
        except BaseException as error:
            answer = {"error": about(error)}
        line = json.dumps({"number": number, **answer}, default=repr).encode() + b"\n"
        with lock:
            control.sendall(line)

    # A file of the standard library would not let green threads run.
    unread = b""
    while more := control.recv(1 << 16):
        *lines, unread = (unread + more).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if order[1] == "leave":
                return
            if hasattr(getattr(Acts, order[1]), "in_main"):
                act(*order)
            else:
                threading.Thread(target=act, args=order, daemon=True).start()
    # The test has ended, and does not wait for what a process does at its end.
    os._exit(0)


def about(error: BaseException) -> dict[str, Any]:
    """Tell of an error what a test looks at."""
    return {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "kinds": [kind.__name__ for kind in type(error).__mro__],
        "text": str(error),
        "facts": {name: value for name, value in vars(error).items() if not name.startswith("_")},
        "args": list(error.args),
        "traceback": "".join(traceback.format_exception(error)),
    }
