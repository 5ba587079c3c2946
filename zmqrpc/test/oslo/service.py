"""
A service with four workers, as those of OpenStack are made: ``python -m zmqrpc.test.oslo.service HOW URL LOG``.

HOW is ``eventlet`` or ``threading`` for these backends of oslo.service, or ``cotyledon``. The parent has called before
it forks, with the transport with which its workers serve.
"""

import os
import sys
import threading
from typing import Any

WORKERS = 4
TOPIC = "workers"
OTHER = "other"
"""A topic that somebody else serves."""


class Serving:
    """What a worker serves; made in the parent."""

    def __init__(self, acts: Any) -> None:
        self._acts = acts
        self._serves = False
        self._ended = threading.Event()

    def start(self) -> None:
        self._acts.call(OTHER, "name", timeout=10)
        self._acts.serve(TOPIC, "node", says=str(os.getpid()))
        self._serves = True

    def stop(self) -> None:
        # It is stopped in the parent as well, which does not serve.
        if self._serves:
            self._acts.end("node")
        self._ended.set()

    def wait(self) -> None:
        self._ended.wait()


def run_oslo_service(serving: Serving, conf: Any) -> None:
    """Run it as most services of OpenStack do."""
    from oslo_service import service

    class Service(service.ServiceBase):  # type: ignore[misc]
        def start(self) -> None:
            serving.start()

        def stop(self) -> None:
            serving.stop()

        def wait(self) -> None:
            serving.wait()

        def reset(self) -> None:
            pass

    service.launch(conf, Service(), workers=WORKERS).wait()


def run_cotyledon(serving: Serving) -> None:
    """Run it as those of telemetry do."""
    import cotyledon

    class Service(cotyledon.Service):
        def run(self) -> None:
            serving.start()

        def terminate(self) -> None:
            serving.stop()

    manager = cotyledon.ServiceManager()
    manager.add(Service, WORKERS)
    manager.run()


def main(how: str, url: str, log: str) -> None:
    """Be the service."""
    if how == "eventlet":
        import eventlet

        eventlet.monkey_patch()
    if how != "cotyledon":
        from oslo_service import backend

        # It can be chosen until oslo.messaging is imported, which takes the one that is.
        backend.init_backend(backend.BackendType(how))
    from zmqrpc.test.oslo.acts import Acts

    acts = Acts(url, how == "eventlet", log=log)
    acts.call(OTHER, "name", timeout=10)
    if how == "cotyledon":
        run_cotyledon(Serving(acts))
    else:
        run_oslo_service(Serving(acts), acts.conf)


if __name__ == "__main__":
    main(*sys.argv[1:])
