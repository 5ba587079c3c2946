"""`zmqrpc plan`: says how many connections each topology needs."""

from __future__ import annotations

from argparse import Namespace

import msgspec

from zmqrpc.cli._exit import Exit
from zmqrpc.cli._report import Report, aligned
from zmqrpc.core.capacity import Connections, Deployment, connections
from zmqrpc.settings import FIELDS

_HEADINGS = ("TOPOLOGY", "SERVICE", "HOST", "PROXY", "DESCRIPTORS", "FORMULA")


def run(command: str, options: Namespace, report: Report) -> int:
    """Print the table, and return the exit status."""
    planned = Deployment(
        options.hosts or 1,
        options.services or 1,
        options.proxies or 3,
        options.calls or 1,
        FIELDS["zmq_failover_connections"].default if options.failover is None else options.failover,
    )
    rows = connections(planned)
    if options.json:
        report.result([msgspec.structs.asdict(row) for row in rows])
        return Exit.DONE
    hosts = "host" if planned.hosts == 1 else "hosts"
    report.lines(
        [
            f"{planned.hosts} {hosts} with K = {planned.services} services each, everybody calls everybody:",
            f"S = {planned.hosts * planned.services} services, P = {planned.proxies} proxies, "
            f"C = {planned.calls} calls in flight at a service, F = {planned.failover} failover connections",
            "",
            *aligned([_HEADINGS, *map(_cells, rows)], right=frozenset({1, 2, 3, 4})),
            "",
            "SERVICE, HOST and PROXY count the ends of connections there; DESCRIPTORS is what LimitNOFILE has to allow",
            "FORMULA is that of SERVICE; a host has as much for each of its services, and P + K for a local publisher",
        ]
    )
    return Exit.DONE


def _cells(row: Connections) -> tuple[str, ...]:
    numbers = (row.service, row.host, row.proxy, row.descriptors)
    return (row.topology, *map(str, numbers), row.formula)
