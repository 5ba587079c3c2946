"""`bench.yardsticks.oslo_rabbit` on eventlet, as many OpenStack services run it: green threads and executor."""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

from bench.work import run  # noqa: E402
from bench.yardsticks import oslo_rabbit  # noqa: E402

if __name__ == "__main__":
    oslo_rabbit.EXECUTOR = "eventlet"
    run(oslo_rabbit.serve, oslo_rabbit.call)
