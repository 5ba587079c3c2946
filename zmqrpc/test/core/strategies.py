"""What property tests of the core draw from."""

from hypothesis import strategies as st

from zmqrpc.core import envelope

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INT64 = st.one_of(st.integers(-40, 300), st.integers(-(2**63), 2**64 - 1))
SCALARS = st.one_of(st.none(), st.booleans(), INT64, st.floats(allow_nan=False), TEXT, st.binary(max_size=20))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(TEXT, inner, max_size=5)),
    max_leaves=12,
)
"""What crosses the wire unchanged (a tuple arrives as a list)."""

MAPS = st.dictionaries(TEXT, VALUES, max_size=4)
NATURALS = st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1))
POSITIVES = st.one_of(st.integers(1, 300), st.integers(1, 2**64 - 1))
INSTANCES = st.binary(min_size=16, max_size=16)
RANGES = st.lists(NATURALS, max_size=6)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)

_optional_text = st.none() | TEXT
_optional_map = st.none() | MAPS
_request = (
    POSITIVES,
    POSITIVES,
    NATURALS,
    NATURALS,
    TEXT,
    TEXT,
    _optional_text,
    _optional_text,
    _optional_text,
    TEXT,
    MAPS | st.binary(max_size=20),
    _optional_map,
    _optional_text,
    _optional_text,
    _optional_map,
)
_failure = st.builds(envelope.Failure, NATURALS, TEXT, TEXT, TEXT)
_targets = st.lists(st.builds(envelope.Served, TEXT, TEXT, _optional_text, _optional_text), max_size=3)
_self_portrait = (TEXT, st.lists(TEXT, max_size=3), st.dictionaries(TEXT, NATURALS, max_size=3), _targets)

REQUESTS = st.one_of(
    [st.builds(kind, *_request) for kind in (envelope.Call, envelope.Cast, envelope.Fanout, envelope.Notify)]
)
MESSAGES = st.one_of(
    REQUESTS,
    st.builds(envelope.Reply, POSITIVES, VALUES, st.none() | _failure, _optional_text, _optional_map),
    st.builds(envelope.Ack, RANGES),
    st.builds(envelope.Nack, NATURALS, RANGES, TEXT, st.none() | st.binary(max_size=20), _optional_map),
    st.builds(envelope.Cancel, RANGES),
    st.builds(envelope.Beat, RANGES),
    st.builds(envelope.Ping, NATURALS, st.none() | NATURALS, _optional_map),
    st.builds(envelope.Pong, NATURALS, _optional_map),
    st.builds(envelope.Goaway, TEXT, _optional_map),
    st.builds(envelope.Hello, NATURALS, NATURALS, *_self_portrait, _optional_map),
    st.builds(envelope.Welcome, NATURALS, NATURALS, *_self_portrait, _optional_map),
)
"""Any message, its arguments perhaps bytes without a content type: the codec does not care."""
