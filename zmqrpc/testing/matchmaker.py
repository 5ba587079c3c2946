"""The contracts of `IMatchmaker` as test suites, which every matchmaker runs, ours or a third party's."""

from zmqrpc.testing.fault_contract import FaultContract
from zmqrpc.testing.faulty_store import FAULTS, IFaultyStore
from zmqrpc.testing.heard import PATIENCE, Heard, by_key, make_record
from zmqrpc.testing.lookup_contract import LookupContract
from zmqrpc.testing.registration_contract import MatchmakerContract

__all__ = [
    "FAULTS",
    "PATIENCE",
    "FaultContract",
    "Heard",
    "IFaultyStore",
    "LookupContract",
    "MatchmakerContract",
    "by_key",
    "make_record",
]
