"""
Write docs/spec/vectors from the tables: ``python -m zmqrpc.test.core.write_vectors``, in a checkout.

Third parties may use the files alone.
"""

import json
from pathlib import Path

from zmqrpc.test.core.vectors import DIRECT, PROXIED, PUBLISHED, PUBLISHER, READ
from zmqrpc.test.core.witness import pack, payload

VECTORS = Path(__file__).resolve().parents[3] / "docs" / "spec" / "vectors"


def key_frame(key):
    if key == "self":
        return b""
    if "instance" in key:
        return b"I" + key["instance"]
    if "token" in key:
        return b"K" + key["token"]
    return b"T%s\0%s\0" % (key["exchange"].encode(), key["topic"].encode())


def vectors():
    """Yield name, frames and meaning of every vector."""
    both = {"direction": "both"}
    for name, (about, meant) in DIRECT.items():
        yield f"direct-{name}", [payload(meant)], {"about": about, **both, "leg": "direct", "batch": meant}
    for name, (about, key, meant) in PROXIED.items():
        meaning = {"about": about, **both, "leg": "proxied", "key": key, "batch": meant}
        yield f"proxied-{name}", [key_frame(key), payload(meant)], meaning
    for name, (about, leg, key, meant, count) in PUBLISHED.items():
        frames = [key_frame(key)]
        parts: dict[str, object] = {}
        if count is not None:
            frames.append(pack([PUBLISHER, count]))
            parts["counter"] = {"publisher": PUBLISHER, "count": count}
        if meant is not None:
            frames.append(payload(meant))
            parts["batch"] = meant
        yield name, frames, {"about": about, **both, "leg": leg, "key": key, **parts}
    for name, (about, frame, meant) in READ.items():
        yield f"read-{name}", [frame], {"about": about, "direction": "read", "leg": "direct", "batch": meant}


def plain(value):
    """Write what JSON lacks: bytes, and floats without end."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return {"float": str(value)}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def render(meaning):
    """Write JSON with a line for each member, each field of the batch and each message."""

    def dump(value):
        return json.dumps(plain(value), ensure_ascii=False)

    def members(fields, indent):
        lines = [f"{indent}{dump(name)}: {item}" for name, item in fields.items()]
        return "{\n" + ",\n".join(lines) + "\n" + indent[2:] + "}"

    fields = {name: dump(item) for name, item in meaning.items()}
    if isinstance(meaning.get("batch"), dict):
        inner = {name: dump(item) for name, item in meaning["batch"].items()}
        if "messages" in inner:
            messages = [f"      {dump(message)}" for message in meaning["batch"]["messages"]]
            inner["messages"] = "[\n" + ",\n".join(messages) + "\n    ]"
        fields["batch"] = members(inner, "    ")
    return members(fields, "  ") + "\n"


def files():
    """Yield name and text of every file."""
    for name, frames, meaning in vectors():
        yield f"{name}.hex", "".join(f"{frame.hex()}\n" for frame in frames)
        yield f"{name}.json", render(meaning)


def main():
    VECTORS.mkdir(exist_ok=True)
    for old in VECTORS.iterdir():
        old.unlink()
    for name, text in files():
        (VECTORS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
