"""Why a store could not be reached, for who runs it."""

from __future__ import annotations

from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TimeoutError


def unreached(name: str, error: BaseException) -> str | None:
    """
    Write a sentence about a connection that could not be made, or was not answered in time.

    :param name: the store, for people.
    :return: None where there was one, and it has ended.
    """
    if isinstance(error, DNSLookupError):
        return f"{name} is not known by that name; correct the transport URL or the name service"
    if isinstance(error, ConnectionRefusedError):
        return f"{name} refuses the connection; start it, or correct the transport URL"
    if isinstance(error, TimeoutError):
        return f"{name} cannot be reached in time; check the network and the firewall"
    if isinstance(error, (ConnectError, OSError)):
        return f"{name} cannot be reached ({error}); check the network and the transport URL"
    return None
