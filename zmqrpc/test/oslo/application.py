"""An application of Twisted that speaks oslo.messaging in threads: ``python -m zmqrpc.test.oslo.application URL``."""

import json
import os
import sys
import threading
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from zmqrpc import use_monotonic_clock
from zmqrpc.test.oslo.acts import Acts

reactor: Any = _reactor


async def scenario(acts: Acts) -> dict[str, Any]:
    await deferToThread(acts.serve, "application", "application")
    calls = [deferToThread(acts.call, "other", "name", timeout=10) for _ in range(20)]
    told: dict[str, Any] = {
        "answers": await gatherResults(calls),
        "own": await deferToThread(acts.call, "application", "name", timeout=10),
        "threads": [thread.name for thread in threading.enumerate()],
    }
    try:
        acts.call("other", "name", timeout=10)
    except RuntimeError as error:
        told["refused"] = f"RuntimeError: {error}"
    # Its main thread is the parent's thread of the reactor.
    (told["fork"],) = acts.in_forks(1, lambda: acts.call("other", "name", timeout=10))
    return told


def main() -> None:
    use_monotonic_clock(reactor)
    acts = Acts(sys.argv[1])

    def end(told: Any) -> None:
        if isinstance(told, dict):
            print(json.dumps(told))  # noqa: T201
        else:
            told.printTraceback(sys.stderr)
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(scenario(acts)).addBoth(end))
    reactor.run()
    os.close(0)


if __name__ == "__main__":
    main()
