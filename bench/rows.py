"""The rows of the table: what is promised, who measures it, and beside what."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.work import Order


@dataclass(frozen=True)
class Contender:
    """Somebody who does the work: the modules that are its servers and its client, and what stands between them."""

    server: str
    client: str
    broker: str = ""
    """What is started before the servers, by its name in `bench.brokers`; empty for nothing."""
    topology: str = ""
    """zmqrpc's ``zmq_topology``; empty is what it has by default."""
    proxies: int = 0
    """How many proxies of zmqrpc's are started."""
    locals: int = 0
    """How many local publishers are started."""
    store: str = ""
    """What the matchmaker is made of, by its name in `bench.stores`, where the row itself starts it."""


def _proxied(server: str, client: str, topology: str, proxies: int = 1, locals_: int = 0) -> Contender:
    """Make a contender with zmqrpc's own proxies."""
    return Contender(server, client, "zmq-proxy", topology, proxies, locals_)


DIRECT = ("static-direct", "dynamic-direct")
TOPOLOGIES = (*DIRECT, "router-proxy", *(f"{name}+pub-sub" for name in (*DIRECT, "router-proxy")))
LOCAL = "router-proxy+pub-sub with local publishers"
"""What `zmqrpc.core.capacity` calls it; the other topologies are called as ``zmq_topology`` names them."""


STORES = ("redis", "redises", "sentinel", "etcd", "sqlite")
"""What discovery is measured with; the second is several Redis servers."""
SHARED_STORES = ("redis", "sentinel", "etcd")
"""Those that hundreds of servers may lose."""


def _connections() -> dict[str, Contender]:
    """Make the contenders whose connections are counted, one for each topology."""
    module = "bench.connections"
    direct = {f"zmqrpc {name}": Contender("", module, topology=name) for name in DIRECT}
    proxied = {f"zmqrpc {name}": _proxied("", module, name, 3) for name in TOPOLOGIES if name not in DIRECT}
    return {**direct, **proxied, f"zmqrpc {LOCAL}": _proxied("", module, "router-proxy+pub-sub", 3, 1)}


CONTENDERS = {
    "zmqrpc": Contender("bench.zmqrpc_server", "bench.zmqrpc_client"),
    "zmqrpc-deployed": Contender("bench.deployed", "bench.deployed"),
    "zmqrpc-command": Contender("bench.zmqrpc_server", "bench.command"),
    "zmqrpc-crowd": Contender("bench.crowd", "bench.crowd"),
    "zmqrpc-proxied": _proxied("bench.zmqrpc_server", "bench.zmqrpc_client", "router-proxy"),
    "zmqrpc-flooded": _proxied("bench.zmqrpc_server", "bench.flood", "router-proxy"),
    "zmqrpc-published": _proxied("bench.published", "bench.published", "static-direct+pub-sub"),
    "zmqrpc-mesh": Contender("bench.mesh", "bench.meeting"),
    "raw-subscribers": _proxied("bench.subscribers", "bench.subscribers", "static-direct+pub-sub"),
    "raw-subscribers-local": _proxied("bench.subscribers", "bench.subscribers", "static-direct+pub-sub", 1, 4),
    "zmqrpc-faults": Contender("", "bench.faults"),
    **{f"zmqrpc {store}": Contender("", "bench.discovery", store=store) for store in STORES},
    **{f"zmqrpc-returning {store}": Contender("", "bench.returning", store=store) for store in SHARED_STORES},
    **{f"zmqrpc-size {store}": Contender("", "bench.size", store=store) for store in ("redis", "etcd")},
    **_connections(),
    **{f"formula {name}": Contender("", "bench.formula", topology=name) for name in (*TOPOLOGIES, LOCAL)},
    "pyzmq-bound": Contender("bench.yardsticks.pyzmq_bound", "bench.yardsticks.pyzmq_bound"),
    "pyzmq-blocking": Contender("bench.yardsticks.pyzmq_blocking", "bench.yardsticks.pyzmq_blocking"),
    "txzmq": Contender("bench.yardsticks.txzmq_echo", "bench.yardsticks.txzmq_echo"),
    "nats": Contender("bench.yardsticks.nats_json", "bench.yardsticks.nats_json", "nats"),
    "oslo-rabbit": Contender("bench.yardsticks.oslo_rabbit", "bench.meeting", "rabbit"),
    "oslo-eventlet": Contender("bench.yardsticks.oslo_eventlet", "bench.meeting", "rabbit"),
}

MODES: dict[str, Callable[[bool], Order]] = {
    "window-1000": lambda quick: Order("window", window=1000, seconds=0.5 if quick else 2.0),
    "window-100": lambda quick: Order("window", window=100, seconds=0.5 if quick else 2.0),
    "casts": lambda quick: Order("casts", window=1000, count=10_000 if quick else 50_000),
    "one": lambda quick: Order("one", count=1000 if quick else 10_000),
    "silent": lambda quick: Order("silent", count=10 if quick else 50),
    "stopped": lambda quick: Order("stopped", count=10 if quick else 50),
    "open": lambda quick: Order("open", window=1000, count=1000 if quick else 10_000, seconds=0.5 if quick else 3.0),
    "command": lambda quick: Order("command", count=2 if quick else 10),
    "crowd": lambda quick: Order("crowd", window=64, count=20 if quick else 500, seconds=0.5 if quick else 2.0),
    "fanout": lambda quick: Order("fanout", window=1000, count=500 if quick else 5000, servers=2, members=100),
    "mesh": lambda quick: Order("mesh", window=4, seconds=1.0 if quick else 4.0, servers=4 if quick else 20),
    "flood": lambda quick: Order("flood", window=1000, seconds=0.5 if quick else 3.0),
    "connections": lambda quick: Order("connections", servers=0, members=5 if quick else 50),
    "subscribers": lambda quick: Order(
        "subscribers", window=10, count=100, servers=2, members=100 if quick else 10_000, seconds=20.0
    ),
    "kill": lambda quick: Order("kill", servers=0, seconds=2.0 if quick else 4.0),
    "stop": lambda quick: Order("stop", servers=0, seconds=1.0 if quick else 4.0),
    "publish": lambda quick: Order("publish", servers=0),
    "churn": lambda quick: Order("churn", servers=0, seconds=5.0 if quick else 60.0),
    "new-server": lambda quick: Order("new-server", servers=0, count=3 if quick else 20),
    "killed": lambda quick: Order("killed", servers=0, count=1 if quick else 10),
    "down": lambda quick: Order("down", servers=0, members=3, seconds=2.0 if quick else 60.0),
    "failover": lambda quick: Order("failover", servers=0, members=1 if quick else 3, seconds=60.0),
    "hung": lambda quick: Order("hung", servers=0, count=400),
    "stale": lambda quick: Order("stale", servers=0, count=20 if quick else 500, members=5 if quick else 50),
    "unknown": lambda quick: Order("unknown", servers=0, count=50 if quick else 500),
    "size": lambda quick: Order(
        "size", servers=0, members=25 if quick else 500, count=8 if quick else 200, seconds=2.0 if quick else 60.0
    ),
    "return": lambda quick: Order("return", servers=0, members=20 if quick else 500, seconds=1.0 if quick else 180.0),
    "return-200": lambda quick: Order(
        "return", servers=0, members=20 if quick else 200, seconds=1.0 if quick else 180.0
    ),
}
"""Each way of measuring, as the order that its processes get; quick is for seeing that it runs."""

ONCE = {"connections", "subscribers", "churn"}
"""The modes that count: more rounds would count the same."""


@dataclass(frozen=True)
class Row:
    """
    One promise: a figure of zmqrpc's, divided by the yardstick's unless it has none.

    `figure` names it in what the client answers; `must` and `aim` bound the ratio (or the figure itself) from below, or
    from above when `at_most`.
    """

    title: str
    mode: str
    figure: str
    unit: str
    yardstick: str | None
    must: float
    aim: float
    at_most: bool = False
    also: Mapping[str, str] = field(default_factory=dict)
    """Other figures of zmqrpc's to print beside it, by what they are called there."""
    worst: bool = False
    """Whether the worst round counts, and not the median one."""
    ours: str = "zmqrpc"
    """Which of the contenders is zmqrpc here."""


def _lateness(mode: str, why: str) -> Row:
    """Make a row for how late a call with a deadline of 50 ms ends; judged by the latest call of a round."""
    also = {"p50": "late_p50_ms", "bare timer": "timer_max_ms"}
    return Row(f"latest end, {why}", mode, "late_max_ms", "ms", None, 20, 5, at_most=True, also=also)


def _crowd(title: str, figure: str, unit: str, must: float, aim: float) -> Row:
    """Make a row for what one client pays for each of its servers."""
    return Row(title, "crowd", figure, unit, None, must, aim, at_most=True, ours="zmqrpc-crowd")


def _counted(topology: str) -> Row:
    """Make a row for the connections of one host with 50 services."""
    also = {"at one proxy": "proxy"} if topology not in DIRECT else {}
    title = f"connections of 50 services, {topology}"
    formula, ours = f"formula {topology}", f"zmqrpc {topology}"
    return Row(title, "connections", "host", "ends", formula, 1, 1, at_most=True, also=also, ours=ours)


def _subscribers(title: str, ours: str) -> Row:
    """Make a row for what 10,000 subscribers receive."""
    also = {"connections at the publisher": "connections", "fewest at one": "fewest"}
    return Row(
        f"subscribers with all 100 messages, {title}",
        "subscribers",
        "complete",
        "%",
        None,
        100,
        100,
        also=also,
        ours=ours,
    )


def _fault(mode: str, title: str, figure: str, unit: str, must: float, aim: float, also: Mapping[str, str]) -> Row:
    """Make a row for what becomes of messages when something fails; a count must be right in each round."""
    worst = unit != "s"
    return Row(title, mode, figure, unit, None, must, aim, at_most=True, also=also, worst=worst, ours="zmqrpc-faults")


def _command(title: str, figure: str, must: float, aim: float, also: Mapping[str, str]) -> Row:
    """Make a row for what a command takes, median of ten."""
    return Row(title, "command", figure, "s", None, must, aim, at_most=True, also=also, ours="zmqrpc-command")


def _discovery(
    store: str,
    mode: str,
    title: str,
    figure: tuple[str, str],
    bounds: tuple[float, float],
    also: Mapping[str, str] | None = None,
    ours: str = "",
) -> Row:
    """Make a row for what becomes of discovery when something fails; the worst round counts."""
    ours = ours or f"zmqrpc {store}"
    return Row(f"{title}, {store}", mode, *figure, None, *bounds, at_most=True, also=also or {}, worst=True, ours=ours)


def _of(figure: str) -> dict[str, str]:
    """Name the figures of each kind of connection, of which the row has the worse one."""
    return {kind: figure.replace("_", f"_{kind}_") for kind in ("static", "dynamic")}


def _new(store: str) -> dict[str, Row]:
    """Make the row of servers that are new."""
    title, also = "until a new server is called", {"p50": "p50_ms"}
    row = _discovery(store, "new-server", title, ("max_ms", "ms"), (500, 50), also)
    return {f"discovery-new-server-{store}": row}


def _gone(store: str) -> dict[str, Row]:
    """Make the rows of servers that are killed."""
    title = "until a killed server has no turn any more"
    lost = {"calls lost": "failed", "slowest call ms": "max_ms", "late %": "late_percent"}
    return {
        f"discovery-killed-talking-{store}": _discovery(
            *(store, "killed", f"{title}, at who calls", ("talking_s", "s"), (0.5, 0.05)), {**_of("talking_s"), **lost}
        ),
        f"discovery-killed-others-{store}": _discovery(
            *(store, "killed", f"{title}, at who is idle", ("others_s", "s"), (2, 0.5)), _of("others_s")
        ),
    }


def _unknown(store: str) -> dict[str, Row]:
    """Make the row of topics that nobody serves."""
    also = {"over a lookup": "ratio", "NoRoute ms": "noroute_ms", "lookup ms": "lookup_ms"}
    title = "NoRoute for an unknown topic, in round trips of 50 ms"
    row = _discovery(store, "unknown", title, ("trips", "trips"), (1.5, 1.5), also)
    return {f"discovery-unknown-{store}": row}


def _down(store: str) -> dict[str, Row]:
    """Make the rows of a store that is gone for a while."""
    also = {"of": "calls", "late %": "late_percent"}
    title = "calls that fail, 60 s without the store"
    slow = {"slowest call ms": "max_ms"}
    return {
        f"discovery-{store}-down": _discovery(store, "down", title, ("failed", "calls"), (0, 0), also),
        f"discovery-{store}-down-back": _discovery(
            store, "down", "until all records are back", ("back_s", "s"), (5, 1), slow
        ),
    }


def _failover() -> dict[str, Row]:
    """Make the rows of Sentinels that make another server the master."""
    each = {"killed": "killed_registered_s", "stopped": "stopped_registered_s"}
    calls = {"of": "calls", "late %": "late_percent", "slowest ms": "max_ms"}
    switch = {"killed, s": "killed_switch_s", "stopped, s": "stopped_switch_s"}
    held = {"killed": "killed_complete_s", "stopped": "stopped_complete_s"}
    return {
        "discovery-failover": _discovery(
            "sentinel", "failover", "calls that fail, master killed, stopped", ("failed", "calls"), (0, 0), calls
        ),
        "discovery-failover-registered": _discovery(
            *("sentinel", "failover", "from the switch until something is registered", ("registered_s", "s"), (2, 0.3)),
            {**each, **{f"switch after, {name}": figure for name, figure in switch.items()}},
        ),
        "discovery-failover-resumed": _discovery(
            *("sentinel", "failover", "until what an old master took is at the new", ("resumed_s", "s"), (150, 2)),
            {f"all there after the switch, {name}": figure for name, figure in held.items()},
        ),
    }


def _hung(store: str) -> dict[str, Row]:
    """Make the rows of a store that hangs."""
    refused = {"refused at once": "refused"}
    return {
        f"discovery-hung-{store}": _discovery(
            store, "hung", "until an operation ends, store hung", ("longest_s", "s"), (2, 1)
        ),
        f"discovery-hung-waiting-{store}": _discovery(
            store, "hung", "operations that wait, store hung", ("waiting", "operations"), (100, 100), refused
        ),
    }


def _stale() -> dict[str, Row]:
    """Make the rows of records that lead nowhere."""
    slow = {"slowest ms": "max_ms"}
    medians = {"static p50": "first_static_p50_s", "dynamic p50": "first_dynamic_p50_s"}
    return {
        "discovery-stale": _discovery(
            *("redis", "stale", "first call, 100 dead records and one live", ("first_s", "s"), (1, 0.1)),
            {**_of("first_s"), **medians},
        ),
        "discovery-stale-p99": _discovery(
            *("redis", "stale", "p99 of later calls, the same", ("p99_ms", "ms"), (50, 5)), {**_of("p99_ms"), **slow}
        ),
    }


def _size(store: str) -> dict[str, Row]:
    """Make the rows of what 20,000 records cost."""
    ours = f"zmqrpc-size {store}"
    return {
        f"discovery-size-trips-{store}": _discovery(
            store, "size", "round trips for a lookup", ("trips", "trips"), (1, 1), ours=ours
        ),
        f"discovery-size-cpu-{store}": _discovery(
            *(store, "size", "CPU of an idle client, 20,000 records, 200 clients", ("cpu_percent", "%"), (1, 0.2)),
            {"CPU of the store, %": "store_percent"},
            ours=ours,
        ),
        f"discovery-size-bytes-{store}": _discovery(
            *(store, "size", "memory of the store for each of 20,000 records", ("bytes", "B"), (400, 250)),
            ours=ours,
        ),
    }


def _lost_and_back(store: str, what: str, fault: str) -> dict[str, Row]:
    """
    Make the rows of hundreds of servers that a store loses.

    With etcd they are two hundred: it shares the cores of this machine with them, and each hears of all others.
    """
    ours = f"zmqrpc-returning {store}"
    mode, count = ("return-200", 200) if store == "etcd" else ("return", 500)
    also = {
        "operations": f"{fault}_operations",
        "CPU ms of each": f"{fault}_cpu_ms",
        "% of all cores": f"{fault}_busy_percent",
    }
    peaks = {"busiest tenth": f"{fault}_peak_tenth", "a second": f"{fault}_peak_rate", "blind s": f"{fault}_blind_s"}
    back, peak = f"until {count} servers are registered again, {what}", f"busiest second over an even spread, {what}"
    return {
        f"discovery-return-{fault}-{store}": _discovery(
            store, mode, back, (f"{fault}_back_s", "s"), (10, 5), also, ours
        ),
        f"discovery-return-{fault}-peak-{store}": _discovery(
            store, mode, peak, (f"{fault}_peak", "x"), (3, 1.5), peaks, ours
        ),
    }


ROWS = {
    "calls-pyzmq": Row("calls/s, 1000 outstanding", "window-1000", "rate", "/s", "pyzmq-bound", 0.45, 0.7),
    "calls-txzmq": Row("calls/s, 1000 outstanding", "window-1000", "rate", "/s", "txzmq", 7, 11),
    "calls-nats": Row("calls/s, 100 outstanding", "window-100", "rate", "/s", "nats", 3, 6),
    "casts-nats": Row("casts/s, acknowledged", "casts", "rate", "/s", "nats", 2, 3),
    "one-p50": Row("one call at a time, p50", "one", "p50_us", "us", "pyzmq-blocking", 1.4, 1.15, at_most=True),
    "cpu-nats": Row("CPU per call, 100 outstanding", "window-100", "cpu_us", "us", "nats", 0.5, 0.2, at_most=True),
    "deadline-silent": _lateness("silent", "method never answers"),
    "deadline-stopped": _lateness("stopped", "server stopped"),
    "open-loop": Row(
        "p99 at half the peak rate, over p50 when idle",
        "open",
        "p99_over_idle",
        "x",
        None,
        8,
        4,
        at_most=True,
        also={"p99 us": "p99_us", "idle p50 us": "idle_p50_us", "calls/s": "rate", "late %": "late_percent"},
    ),
    "command-call": _command("zmqrpc call, whole process, on SQLite", "wall_s", 0.6, 0.35, {"CPU": "cpu_s"}),
    "command-start": _command("CPU of the start of zmqrpc", "start_cpu_s", 0.3, 0.3, {}),
    "crowd-memory": _crowd("memory for each of 500 servers", "kib_per_peer", "KiB", 64, 44),
    "crowd-descriptors": _crowd("descriptors for each of 500 servers", "fds_per_peer", "fds", 2, 1),
    "crowd-rate": Row(
        "calls/s to 500 servers over calls/s to one, 64 outstanding",
        "crowd",
        "share",
        "x",
        None,
        0.2,
        0.35,
        also={"to all": "rate_all", "to one": "rate_one"},
        ours="zmqrpc-crowd",
    ),
    "fanout-nats": Row(
        "deliveries/s, fan-out to 100 in 2 processes",
        "fanout",
        "rate",
        "/s",
        "nats",
        1.5,
        3,
        also={"CPU us": "cpu_us"},
        ours="zmqrpc-published",
    ),
    "mesh-rabbit": Row(
        "calls/s, 20 nodes calling one another, 4 outstanding each",
        "mesh",
        "rate",
        "/s",
        "oslo-rabbit",
        3,
        10,
        also={"CPU us": "cpu_us", "nodes": "nodes"},
        ours="zmqrpc-mesh",
    ),
    "proxied-calls": Row(
        "calls/s, 1000 outstanding, through a proxy",
        "window-1000",
        "rate",
        "/s",
        "zmqrpc",
        0.6,
        0.8,
        ours="zmqrpc-proxied",
    ),
    "proxied-one": Row(
        "one call at a time, through a proxy, p50",
        "one",
        "p50_us",
        "us",
        "zmqrpc",
        2,
        1.6,
        at_most=True,
        ours="zmqrpc-proxied",
    ),
    "proxied-cpu": Row(
        "CPU of the proxy over the server's, 1000 outstanding",
        "window-1000",
        "broker_share",
        "x",
        None,
        0.6,
        0.4,
        at_most=True,
        ours="zmqrpc-proxied",
    ),
    "proxied-flood": Row(
        "p99 of replies while the proxy is flooded, over p99 before",
        "flood",
        "flooded_over_before",
        "x",
        None,
        5,
        2,
        at_most=True,
        also={
            "before us": "before_p99_us",
            "junk us": "junk_p99_us",
            "calls us": "calls_p99_us",
            "junk/s": "junk_rate",
            "calls/s": "calls_rate",
        },
        ours="zmqrpc-flooded",
    ),
    "subscribers-10000": _subscribers("10,000 at one publisher", "raw-subscribers"),
    "subscribers-10000-local": _subscribers("10,000 through 4 local publishers", "raw-subscribers-local"),
    "fault-kill": _fault(
        "kill",
        "calls that fail or run twice, one of three proxies killed",
        *("broken", "calls", 0, 0),
        {"of": "calls"},
    ),
    "fault-kill-back": _fault(
        "kill",
        "until the rate is back, one of three proxies killed",
        *("back_s", "s", 1, 0.3),
        {"calls/s before": "rate", "longest silence s": "silence_s"},
    ),
    "fault-stop": _fault(
        "stop",
        "calls that fail or run twice, a proxy stopped for 3 s, then started anew",
        *("broken", "calls", 0, 0),
        {"of": "calls", "rate back after s": "back_s"},
    ),
    "fault-publish": _fault(
        "publish",
        "fan-outs neither had nor counted, or twice, one of three publishers killed",
        *("uncounted", "fan-outs", 0, 0),
        {"of": "fanouts"},
    ),
    "fault-publish-missed": _fault(
        "publish",
        "fan-outs missed by any of 20, one of three publishers killed",
        *("missed", "fan-outs", math.inf, 0),
        {"rest took s": "second_half_s"},
    ),
    "fault-churn": _fault(
        "churn",
        "lost or twice in 60 s of coming and going",
        *("broken", "messages", 0, 0),
        {
            **{name: name for name in ("calls", "casts", "fanouts", "missed", "uncounted")},
            "proxies killed": "killed",
            "proxies told to stop": "stopped",
            "servers told to stop": "servers",
        },
    ),
    **{name: row for store in STORES for name, row in _new(store).items()},
    **{name: row for store in ("redis", "etcd", "sqlite") for name, row in _gone(store).items()},
    **_down("redis"),
    "discovery-sqlite-down": _down("sqlite")["discovery-sqlite-down"],
    **_failover(),
    **{name: row for store in ("redis", "etcd") for name, row in _hung(store).items()},
    **_stale(),
    **{name: row for store in ("redis", "redises", "etcd", "sqlite") for name, row in _unknown(store).items()},
    **{name: row for store in ("redis", "etcd") for name, row in _size(store).items()},
    **{
        name: row
        for store in SHARED_STORES
        for what, fault in (("the store killed", "killed"), ("the store emptied", "emptied"))
        for name, row in _lost_and_back(store, what, fault).items()
    },
    **{f"connections-{name}": _counted(name) for name in TOPOLOGIES},
    "connections-local": _counted(LOCAL),
}
