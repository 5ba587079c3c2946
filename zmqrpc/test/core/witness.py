"""
An encoder of the wire that was written from docs/spec/wire.rst and shares nothing with zmqrpc: a second witness.

Where it and the codec differ, one of them reads the page wrongly.
"""

import struct


def head(count, fix, fix_bits, codes):
    """Write the length of a str, bin, array or map: in the first byte, or after one of the codes for 8, 16, 32 bits."""
    if fix is not None and count < 1 << fix_bits:
        return bytes([fix | count])
    for bits, code in codes.items():
        if count < 1 << bits:
            return bytes([code]) + count.to_bytes(bits // 8, "big")
    raise ValueError(count)


def pack_int(value):
    if -32 <= value < 128:
        return struct.pack("b", value)
    for bits, unsigned, signed in ((8, 0xCC, 0xD0), (16, 0xCD, 0xD1), (32, 0xCE, 0xD2), (64, 0xCF, 0xD3)):
        if 0 <= value < 1 << bits:
            return bytes([unsigned]) + value.to_bytes(bits // 8, "big")
        if -(1 << bits - 1) <= value < 0:
            return bytes([signed]) + value.to_bytes(bits // 8, "big", signed=True)
    raise ValueError(value)


def pack(value):
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return pack_int(value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode()
        return head(len(text), 0xA0, 5, {8: 0xD9, 16: 0xDA, 32: 0xDB}) + text
    if isinstance(value, bytes):
        return head(len(value), None, 0, {8: 0xC4, 16: 0xC5, 32: 0xC6}) + value
    if isinstance(value, dict):
        items = b"".join(pack(key) + pack(item) for key, item in value.items())
        return head(len(value), 0x80, 4, {16: 0xDE, 32: 0xDF}) + items
    return head(len(value), 0x90, 4, {16: 0xDC, 32: 0xDD}) + b"".join(map(pack, value))


REQUEST = """
sequence attempt flags remaining exchange topic member namespace interface method arguments context content_type trace
extensions
"""
BATCH = "version source destination sent settled extensions"
MESSAGES = {
    "CALL": (1, REQUEST),
    "CAST": (2, REQUEST),
    "FANOUT": (3, REQUEST),
    "NOTIFY": (4, REQUEST),
    "REPLY": (5, "sequence result failure content_type extensions"),
    "ACK": (6, "ranges"),
    "NACK": (7, "reason ranges text returned extensions"),
    "CANCEL": (8, "ranges"),
    "BEAT": (9, "ranges"),
    "PING": (10, "token last_round_trip extensions"),
    "PONG": (11, "token extensions"),
    "GOAWAY": (12, "text extensions"),
    "HELLO": (13, "lowest highest role features limits targets extensions"),
    "WELCOME": (14, "version echoed role features limits targets extensions"),
}


def message(kind, **fields):
    """Describe a message; what is not given is nil."""
    described = {"kind": kind, **dict.fromkeys(MESSAGES[kind][1].split()), **fields}
    if len(described) != 1 + len(MESSAGES[kind][1].split()):
        raise ValueError(described)
    return described


def lay_out(described):
    """Make the array of a message."""
    number, names = MESSAGES[described["kind"]]
    return [
        number,
        *(flat(described[name]) if name in ("failure", "targets") else described[name] for name in names.split()),
    ]


def flat(described):
    """Make arrays of failures and targets, whose fields are described in their order."""
    if isinstance(described, list):
        return [flat(item) for item in described]
    return list(described.values()) if isinstance(described, dict) else described


def payload(batch):
    """Encode a batch; the array of messages always as array 32."""
    messages = [pack(lay_out(described)) for described in batch["messages"]]
    return b"\x97" + b"".join(pack(batch[name]) for name in BATCH.split()) + array32(messages)


def array32(elements):
    return b"\xdd" + len(elements).to_bytes(4, "big") + b"".join(elements)
