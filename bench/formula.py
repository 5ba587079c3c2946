"""What `zmqrpc plan` says about the connections that `bench.connections` counts."""

from __future__ import annotations

from bench.work import Order, answer, run
from zmqrpc.core.capacity import Deployment, connections


def call(order: Order) -> None:
    planned = Deployment(hosts=1, services=order.members)
    row = next(each for each in connections(planned) if each.topology == order.topology)
    answer({"host": row.host, "service": row.service, "proxy": row.proxy})


def serve(order: Order) -> None:
    raise SystemExit("nobody is called")


if __name__ == "__main__":
    run(serve, call)
