"""
The tables that docs/spec/vectors is written from: what each vector shows, and what it means by the names of the page.

`write_vectors` makes the files of them.
"""

from typing import Any

from zmqrpc.test.core.witness import array32, lay_out, message, pack, payload

# Who speaks

CLIENT = bytes(range(0x10, 0x20))
SERVER = bytes(range(0x20, 0x30))
PROXY = bytes(range(0x30, 0x40))
PUBLISHER = bytes(range(0x40, 0x50))
TOKEN = bytes(range(0xA0, 0xB0))
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LIMITS = {"message": 67108864, "unsettled": 65536}
CELL = {"x-cell": "cell1"}
INSPECTION = {"format": 1, "member": "machine1", "instance": SERVER.hex(), "uptime": 3.5, "calls": []}
COMPUTE = {"exchange": "openstack", "topic": "compute"}


def batch(*messages, source=CLIENT, destination=SERVER, sent=81234567, settled=(), extensions=None):
    return {
        "version": 1,
        "source": source,
        "destination": destination,
        "sent": sent,
        "settled": list(settled),
        "extensions": extensions,
        "messages": list(messages),
    }


def answer(*messages, **fields):
    """Make a batch from the server to the client."""
    return batch(*messages, **{"source": SERVER, "destination": CLIENT, "sent": 5001234, **fields})


def request(kind, sequence, method="ping", arguments=None, **fields):
    usual = {"attempt": 1, "flags": 1, "remaining": 60000, **COMPUTE, "method": method, "arguments": arguments or {}}
    return message(kind, sequence=sequence, **{**usual, **fields})


def call(sequence, method="ping", arguments=None, **fields):
    return request("CALL", sequence, method, arguments, **fields)


def reply(sequence, result=None, **fields):
    return message("REPLY", sequence=sequence, result=result, **fields)


def failure(code, type_name, text, traceback=""):
    return {"code": code, "type_name": type_name, "text": text, "traceback": traceback}


def ranges(kind, *numbers):
    return message(kind, ranges=list(numbers))


def nack(reason, ranges, text="", **fields):
    return message("NACK", reason=reason, ranges=ranges, text=text, **fields)


def ping(token, **fields):
    return message("PING", token=token, **fields)


def pong(token, **fields):
    return message("PONG", token=token, **fields)


def goaway(text="", **fields):
    return message("GOAWAY", text=text, **fields)


def target(exchange, topic, member=None, pool=None):
    return {"exchange": exchange, "topic": topic, "member": member, "pool": pool}


def hello(lowest=1, highest=1, **fields):
    usual = {"role": "client", "features": [], "limits": LIMITS, "targets": []}
    return message("HELLO", lowest=lowest, highest=highest, **{**usual, **fields})


def welcome(**fields):
    usual = {"version": 1, "echoed": 81234567, "role": "server", "features": [], "limits": LIMITS, "targets": []}
    return message("WELCOME", **{**usual, **fields})


def unreadable(sequence=None):
    return {"kind": "unreadable", "sequence": sequence}


# The tables

FULL_CALL = call(
    7,
    "resize",
    {"name": "vm-1", "flavor": {"vcpus": 4, "disk": 1.5}, "hosts": ["a", "b"], "user_data": b"\x00\xff", "dry": False},
    attempt=2,
    flags=3,
    remaining=29999,
    member="machine1",
    namespace="admin",
    interface="2.1",
    context={"user": "alice", "request_id": "req-1", "roles": ["member"]},
    trace=TRACE,
    extensions=CELL,
)
NOTIFICATION = {
    "publisher_id": "compute.machine1",
    "event_type": "instance.started",
    "payload": {"id": 7},
    "message_id": "01234567-89ab-4def-8123-456789abcdef",
    "timestamp": "2026-03-01T12:00:00.250000+00:00",
}
SERVED = [target("openstack", "compute", "machine1"), target("openstack", "notifications", "machine1", "audit")]
FAILURES = [
    reply(1, failure=failure(0, "ValueError", "no such flavor", "Traceback (most recent call last): ...")),
    reply(2, failure=failure(1, "NoSuchMethod", "resizee")),
    reply(3, failure=failure(2, "InvalidArguments", "flavour")),
    reply(4, failure=failure(3, "UnsupportedVersion", "3.0")),
    reply(5, failure=failure(4, "AccessDenied", "")),
    reply(6, failure=failure(5, "EncodingError", "the result is a builtins.object")),
    reply(7, failure=failure(6, "MessageTooLarge", "the reply of 2000 bytes is over the limit of 1024 of its caller")),
    reply(8, failure=failure(7, "", "the method ran; its reply is not kept any more")),
    reply(9, failure=failure(8, "CancelledError", "")),
]
REFUSALS = [
    nack(1, [1, 3], "another instance"),
    nack(2, [4, 4], "70 ms under way"),
    nack(3, [5, 5, 7, 8], "10000 calls running"),
    nack(4, [9, 9], "stopping"),
    nack(5, [10, 10], "no such instance"),
    nack(6, [11, 11], "67108865 bytes"),
    nack(7, [], "1 to 1"),
    nack(8, [12, 12], "later"),
    nack(9, [13, 13], "Expected `str`, got `int`"),
    nack(10, [14, 14], "openstack/volume is not served here", extensions=CELL),
]
INTEGERS = [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
INTEGERS += [-1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**63)]
LENGTHS = {
    "strings": ["x" * size for size in (0, 1, 31, 32, 255, 256)],
    "bytes": [b"\x01" * size for size in (0, 1, 255, 256)],
    "arrays": [[0] * size for size in (0, 15, 16)],
    "maps": [{str(key): key for key in range(size)} for size in (0, 15, 16)],
}
GAPS = [10, *(number for low in range(12, 12 + 2 * 64, 2) for number in (low, low))]

DIRECT = {
    "hello": ("HELLO to an instance that is not known yet", batch(hello(), destination=None)),
    "hello-inspect": (
        "HELLO that asks for an inspection with the last ten events, and opens nothing",
        batch(hello(limits={"message": 67108864}, extensions={"inspect": 10}), destination=None),
    ),
    "hello-known": (
        "HELLO to an instance that a record named, of a peer that serves and speaks a later version too",
        batch(hello(highest=2, role="server", features=["beat"], targets=SERVED, extensions=CELL)),
    ),
    "welcome": ("WELCOME echoes `sent` of the HELLO and lists what is served", answer(welcome(targets=SERVED))),
    "welcome-full": (
        "WELCOME with every field",
        answer(welcome(features=["beat"], targets=SERVED, extensions=CELL)),
    ),
    "welcome-inspection": (
        "WELCOME with an inspection, of which readers take what they know",
        answer(welcome(targets=SERVED, extensions={"inspection": INSPECTION})),
    ),
    "welcome-inspection-refused": (
        "WELCOME of who does not want to be inspected",
        answer(welcome(targets=SERVED, extensions={"inspection_refused": "switched off here (rpc_inspect)"})),
    ),
    "welcome-bare": ("WELCOME without limits or targets", answer(welcome(limits={}))),
    "call": ("the plainest CALL", batch(call(1), settled=[0])),
    "call-full": ("a CALL with every field but the content type", batch(FULL_CALL, settled=[5])),
    "call-content-type": (
        "a CALL whose arguments are encoded some other way",
        batch(call(2, "put", b'{"a": 1}', content_type="application/json"), settled=[1]),
    ),
    "cast": ("a CAST that wants an ACK", batch(request("CAST", 3, "log", {"line": "up"}), settled=[2])),
    "cast-silent": ("a CAST that wants no ACK", batch(request("CAST", 4, "log", {"line": "up"}, flags=0), settled=[2])),
    "fanout": ("a FANOUT to one member", batch(request("FANOUT", 5, "reload", member="machine1"), settled=[2])),
    "notify": (
        "a NOTIFY: `member` is the pool, `method` the priority, the five arguments what it says",
        batch(request("NOTIFY", 6, "info", NOTIFICATION, topic="notifications", member="audit", flags=3), settled=[5]),
    ),
    "reply": ("a REPLY with a result", answer(reply(1, {"id": 17, "name": "vm-1"}))),
    "reply-nil": ("a REPLY of a method that returned nil", answer(reply(1))),
    "reply-content-type": (
        "a REPLY whose result is encoded some other way",
        answer(reply(1, b"17", content_type="application/json", extensions=CELL)),
    ),
    "reply-failures": ("a failure of every code", answer(*FAILURES)),
    "reply-overdue": (
        "a failure whose code is younger than the others",
        answer(reply(10, failure=failure(9, "DeadlineExceeded", "the time was up in resize: its time was up"))),
    ),
    "reply-not-kept": (
        "a failure whose code is the youngest",
        answer(reply(11, failure=failure(10, "ServerLost", "the method ran; its reply is not kept any more"))),
    ),
    "ack": ("an ACK of ranges", answer(ranges("ACK", 1, 4, 6, 6))),
    "nack": ("a NACK for every reason", answer(*REFUSALS)),
    "nack-wrong-instance": (
        "a server answers what was for its predecessor, in its own name",
        answer(nack(1, [1, 1]), source=PROXY),
    ),
    "nack-bad-version": (
        "no common wire version: no ranges, `text` names the receiver's",
        answer(nack(7, [], "1 to 1")),
    ),
    "nack-requeued": (
        "a NOTIFY given back by its endpoint: the only NACK after which it may have run",
        answer(REFUSALS[7]),
    ),
    "cancel": ("a CANCEL", batch(ranges("CANCEL", 3, 3), settled=[2, 4, 9])),
    "beat": ("a BEAT for calls that are running", answer(ranges("BEAT", 1, 2, 5, 5))),
    "ping": ("the first PING of a link", batch(ping(81234567), settled=[0])),
    "ping-round-trip": (
        "a later PING, telling the round trip before it",
        batch(ping(81235067, last_round_trip=3, extensions=CELL), settled=[0]),
    ),
    "pong": ("a PONG", answer(pong(81234567))),
    "pong-extensions": ("a PONG with an extension", answer(pong(81234567, extensions=CELL))),
    "goaway": ("a server stops", answer(goaway("stopping", extensions=CELL))),
    "goaway-answer": ("a client answers GOAWAY in kind", batch(goaway(), settled=[12])),
    "several-calls": (
        "a batch of several requests",
        batch(*(call(n, "add", {"n": n}) for n in range(20, 24)), settled=[19]),
    ),
    "several-answers": (
        "what a pass of a server answers goes in one batch",
        answer(
            ranges("ACK", 4, 6),
            reply(1, "one"),
            reply(2, failure=failure(0, "ValueError", "no")),
            nack(3, [3, 3], "busy"),
            pong(5),
        ),
    ),
    "settled-ranges": ("settled above the watermark", batch(call(21), settled=[10, 12, 12, 14, 20])),
    "settled-most": ("settled with the most ranges, 64", batch(call(200), settled=GAPS)),
    "unicode": (
        "text in several alphabets, combining and beyond the basic plane; also U+0000, which is allowed in values",
        batch(
            call(
                1,
                "größe",
                {"naïve": "cafe\u0301", "greeting": "こんにちは 🐍", "nul": "a\u0000b", "": "\u2028\ufeff"},
                topic="日程",
                member="сервер",
            ),
            settled=[0],
        ),
    ),
    "integers": (
        "integers on both sides of every change of width, in values and fields",
        batch(
            call(2**64 - 1, "f", {"integers": INTEGERS}, attempt=2**32, flags=2**32 + 3, remaining=2**64 - 1),
            sent=2**64 - 1,
            settled=[2**63, 2**64 - 3, 2**64 - 2],
        ),
    ),
    "lengths": ("lengths on both sides of every change of width", answer(reply(1, LENGTHS))),
    "values": (
        "the values that are easily lost: signed zero, infinities, the smallest and the largest float, true beside 1",
        answer(reply(1, [0.0, -0.0, float("inf"), float("-inf"), 5e-324, 1.7976931348623157e308, 1.0, 1, True, None])),
    ),
    "empty": (
        "empty strings, bytes and maps where nil would also do",
        batch(call(1, "", member="", namespace="", interface="", context={}, trace="", extensions={}), settled=[0]),
    ),
}

CALL_PAYLOAD = payload(batch(call(1), settled=[0]))
FANOUT = batch(request("FANOUT", 9, "reload", {"at": 12}), destination=None, settled=[8])
PROXIED: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "hello-to-proxy": ("HELLO to the proxy itself", "self", batch(hello(), destination=None)),
    "welcome-of-proxy": (
        "WELCOME of the proxy itself",
        "self",
        answer(welcome(role="router", limits={"message": 67108864}), source=PROXY),
    ),
    "ping-to-proxy": ("PING to the proxy itself", "self", batch(ping(1), destination=PROXY)),
    "pong-of-proxy": ("PONG of the proxy itself", "self", answer(pong(1), source=PROXY)),
    "goaway-of-proxy": ("a proxy stops", "self", answer(goaway("stopping"), source=PROXY)),
    "hello": ("HELLO from end to end, opaque to the proxy", {"instance": SERVER}, batch(hello())),
    "welcome": ("WELCOME from end to end", {"instance": CLIENT}, answer(welcome(targets=SERVED))),
    "call": ("a CALL through a proxy, on both sides of it", {"instance": SERVER}, batch(call(1), settled=[0])),
    "reply": ("the way back, on both sides of the proxy", {"instance": CLIENT}, answer(reply(1, "pong"))),
    "returned-unroutable": (
        "a proxy gives back what it cannot deliver; `returned` is the payload it took",
        "self",
        answer(nack(5, [], "no connection of that instance", returned=CALL_PAYLOAD), source=PROXY),
    ),
    "returned-overloaded": (
        "a proxy gives back what a slow instance does not take",
        "self",
        answer(nack(3, [], "its connection is full", returned=CALL_PAYLOAD), source=PROXY),
    ),
    "returned-publish": (
        "a publisher proxy gives back what nobody subscribes to",
        "self",
        answer(nack(5, [], returned=payload(FANOUT)), source=PROXY),
    ),
}

ABROAD = {"exchange": "öffentlich", "topic": "compute.cell1"}
# Name: what it shows, leg, key, batch, count.
PUBLISHED: dict[str, tuple[str, str, Any, dict[str, Any] | None, int | None]] = {
    "publish": ("a FANOUT on its way to a publisher proxy", "publish", COMPUTE, FANOUT, None),
    "publish-names": ("names may hold dots and any alphabet", "publish", ABROAD, FANOUT, None),
    "publish-done": ("the proxy has published it, and this is the counter", "publish-done", COMPUTE, None, 17),
    "published": ("the same on its way to subscribers, with its counter", "published", COMPUTE, FANOUT, 17),
    "published-idle": ("the counter alone", "published-idle", COMPUTE, None, 17),
    "published-token": ("a subscription has arrived", "published-token", {"token": TOKEN}, None, 0),
}


def raw(*messages, version=1, source=CLIENT, settled=0, extensions=None, array=array32, more=b"", count=7):
    """Encode a batch of messages that are bytes already, more freely than a sender may."""
    fields = [version, source, SERVER, 81234567, [settled], extensions]
    return bytes([0x90 | count]) + b"".join(map(pack, fields)) + array(messages) + more


GOOD = call(1)
GOOD_BYTES = pack(lay_out(GOOD))
SHORT_CALL = [1, 1, 1, 1, 60000, "openstack", "compute", None, None, None, "ping", {}]
SHORT = [
    SHORT_CALL,
    [5, 7],
    [7, 3, [1, 1]],
    [10, 5],
    [11, 5],
    [12],
    [13, 1, 1, "client", [], {}, [["openstack", "compute"]]],
    [14, 1, 81234567, "server", [], {}, []],
    [5, 8, None, [0, "ValueError", "no"]],
]
SHORT_MEANT = [
    GOOD,
    reply(7),
    nack(3, [1, 1]),
    ping(5),
    pong(5),
    goaway(),
    hello(limits={}, targets=[target("openstack", "compute")]),
    welcome(limits={}),
    reply(8, failure=failure(0, "ValueError", "no")),
]
LONG = [
    [*lay_out(GOOD), "later", 1],
    [*lay_out(reply(7)), {}],
    [6, [1, 1], "later"],
    [*lay_out(nack(3, [1, 1])), None],
    [*lay_out(hello(limits={})), 5],
    [5, 8, None, [0, "ValueError", "no", "", "later"], None, None],
]
LONG_MEANT = [
    GOOD,
    reply(7),
    ranges("ACK", 1, 1),
    nack(3, [1, 1]),
    hello(limits={}),
    reply(8, failure=failure(0, "ValueError", "no")),
]
TOO_SHORT = [SHORT_CALL[:11], [5], [6], [7, 3], [8], [9], [10], [11], [13, 1, 1, "client"], [14, 1]]
WIDE = b"\x92\xd3" + (10).to_bytes(8, "big") + b"\xcf" + (5).to_bytes(8, "big")  # a PING, every number in 64 bits
BAD_ARGUMENT = pack(SHORT_CALL[:11]).replace(b"\x9b", b"\x9c", 1) + b"\x81\xa1a\xa1\xff"  # text that is no UTF-8
HEAD_2 = {"version": 2, "source": CLIENT, "destination": SERVER, "sent": 81234567}
LATER = {"role": "sage", "features": ["telepathy"], "limits": {"message": 67108864, "pigeons": 12}}

# Name: what it shows, the payload, what it means.
READ = {
    "extra-elements": (
        "elements that a later version added at the end of a batch, a message, a target and a failure are ignored",
        raw(*map(pack, LONG), more=pack("later"), count=8),
        batch(*LONG_MEANT, settled=[0]),
    ),
    "missing-elements": (
        "elements that may be missing have their defaults",
        raw(*map(pack, SHORT)),
        batch(*SHORT_MEANT, settled=[0]),
    ),
    "too-short": (
        "without any other element a message cannot be read",
        raw(*map(pack, TOO_SHORT)),
        batch(unreadable(1), *[unreadable()] * 9, settled=[0]),
    ),
    "unknown-kind": (
        "a message of an unknown kind is refused by itself, under its sequence when it has one",
        raw(GOOD_BYTES, pack([77, 12, "later"]), pack([78, "later"]), pack([79]), pack([80, 0])),
        batch(GOOD, unreadable(12), unreadable(), unreadable(), unreadable(), settled=[0]),
    ),
    "unreadable-neighbour": (
        "a message that cannot be read is refused by itself; only requests have sequences to refuse",
        raw(BAD_ARGUMENT, GOOD_BYTES, pack([10, 5, "soon"]), pack([7, 3, "all"]), pack("CALL"), pack([])),
        batch(unreadable(1), GOOD, *[unreadable()] * 4, settled=[0]),
    ),
    "unknown-flags": (
        "unknown flags are ignored",
        payload(batch(call(1, flags=0xFD), settled=[0])),
        batch(call(1, flags=0xFD), settled=[0]),
    ),
    "unknown-features-limits-roles": (
        "unknown features, limits and roles are ignored",
        payload(batch(hello(1, 9, **LATER), destination=None)),
        batch(hello(1, 9, **LATER), destination=None),
    ),
    "unknown-extensions": (
        "unknown extensions are ignored, those of the batch too",
        raw(pack(lay_out(ping(5, extensions={"y": [1]}))), extensions={"x": {"y": 1}}),
        batch(ping(5, extensions={"y": [1]}), settled=[0], extensions={"x": {"y": 1}}),
    ),
    "unknown-reason-code": (
        "an unknown reason is read as unreadable (9), an unknown code as raised (0), by whoever acts on them",
        payload(answer(nack(99, [1, 1], "moon phase"), reply(2, failure=failure(99, "Later", "")))),
        answer(nack(99, [1, 1], "moon phase"), reply(2, failure=failure(99, "Later", ""))),
    ),
    "unknown-version": (
        "of a batch of an unknown version only the head is read, to answer bad version",
        raw(pack({"messages": "look different"}), version=2, settled="so do these", extensions="and these"),
        HEAD_2,
    ),
    "unknown-version-readable": (
        "the messages of an unknown version mean nothing, even those that look readable",
        raw(GOOD_BYTES, version=2),
        HEAD_2,
    ),
    "longer-forms": (
        "a reader accepts numbers and lengths in longer forms than needed",
        raw(WIDE),
        batch(ping(5), settled=[0]),
    ),
    "short-header": (
        "a reader accepts a short header of the messages",
        raw(GOOD_BYTES, array=lambda messages: b"\x91" + messages[0]),
        batch(GOOD, settled=[0]),
    ),
    "malformed-truncated": ("the last byte is missing", CALL_PAYLOAD[:-1], "malformed"),
    "malformed-trailing": ("a byte too many", CALL_PAYLOAD + b"\xc0", "malformed"),
    "malformed-source": (
        "an instance of 15 bytes",
        raw(GOOD_BYTES, source=CLIENT[1:]),
        "malformed",
    ),
    "malformed-settled": (
        "a negative sequence",
        raw(GOOD_BYTES, settled=-1),
        "malformed",
    ),
    "malformed-no-messages": ("a batch that ends before its messages", raw(array=lambda _: b"", count=6), "malformed"),
    "malformed-claim": (
        "an array that claims 2**32 - 1 elements",
        raw(array=lambda _: b"\xdd\xff\xff\xff\xff"),
        "malformed",
    ),
    "malformed-text": ("not msgpack at all", b"GET / HTTP/1.1\r\n\r\n", "malformed"),
    "malformed-empty": ("nothing at all", b"", "malformed"),
}
