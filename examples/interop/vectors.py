"""Read a file of docs/spec/vectors, and write it again."""

import json

import msgpack
from wire import decode, encode


def plain(value):
    if "hex" in value or "float" in value:
        return bytes.fromhex(value["hex"]) if "hex" in value else float(value["float"])
    return list(value.values()) if {"kind", "type_name", "pool", "destination"} & set(value) else value


def key(names):
    mark = {"instance": b"I", "token": b"K", "exchange": b"T"}[next(iter(names))]
    return mark + b"".join(name if type(name) is bytes else name.encode() + b"\0" for name in names.values())


def check(path):
    vector = json.loads(path.read_text(), object_hook=plain)
    frames = [bytes.fromhex(line) for line in path.with_suffix(".hex").read_text().splitlines()]
    wanted = [b"" if vector["key"] == "self" else key(vector["key"])] if "key" in vector else []
    wanted += [msgpack.packb(list(vector["counter"].values()))] if "counter" in vector else []
    if "batch" in vector:
        batch = decode(frames[-1]) or "malformed"
        assert repr(batch) == repr(vector["batch"]), f"{path.stem} was read as {batch}"  # repr tells 1, True and 1.0
        wanted.append(encode(*batch[:-1], messages=batch[-1]) if vector["direction"] == "both" else frames[-1])
    assert wanted == frames, f"{path.stem} was written as {[frame.hex() for frame in wanted]}"
