"""The contract of `IMatchmaker` as a test suite, which every matchmaker runs, ours or a third party's."""

from zmqrpc.testing.heard import PATIENCE, Heard, by_key, make_record
from zmqrpc.testing.lookup_contract import LookupContract
from zmqrpc.testing.registration_contract import MatchmakerContract

__all__ = ["PATIENCE", "Heard", "LookupContract", "MatchmakerContract", "by_key", "make_record"]
