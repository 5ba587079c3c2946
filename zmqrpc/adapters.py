"""The Ethernet adapters of this machine, and the addresses that others may reach them by."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from ipaddress import IPv6Address

_TABLE = "/proc/net/if_inet6"
_GET_ADDRESS = 0x8915  # SIOCGIFADDR, netdevice(7)
_TENTATIVE_OR_FAILED = 0x48  # flags in /proc/net/if_inet6: nobody may use such an address yet, or ever
_LINK_LOCAL = 0x20


def names() -> list[str]:
    """List the adapters."""
    return sorted(name for _, name in socket.if_nameindex())


def address_of(name: str) -> str | None:
    """
    Return the first IPv4 address of an adapter, or, where it has none, the first of IPv6 that is not link-local.

    :return: None when it has neither, or does not exist.
    """
    return _ipv4(name) or _ipv6(name)


def describe() -> str:
    """List the adapters with their addresses, for an error text."""
    return ", ".join(f"{name} ({address_of(name) or lack(name)})" for name in names()) or "none"


def lack(name: str) -> str:
    """Say of an adapter without an address that `address_of` returns what it has: one of its own network, or none."""
    link_local = any(scope == _LINK_LOCAL for _, scope in _usable(name))
    return "only a link-local address" if link_local else "no address"


def _ipv4(name: str) -> str | None:
    encoded = name.encode(errors="surrogateescape")
    if not 0 < len(encoded) < 16 or b"\0" in encoded:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, _GET_ADDRESS, encoded.ljust(40, b"\0"))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])


def _ipv6(name: str) -> str | None:
    return next((address for address, scope in _usable(name) if scope != _LINK_LOCAL), None)


def _usable(name: str) -> Iterator[tuple[str, int]]:
    """List the IPv6 addresses of an adapter that can be used, with their scopes."""
    try:
        with open(_TABLE, encoding="ascii", errors="surrogateescape") as table:
            rows = [line.split() for line in table]
    except OSError:  # a kernel without IPv6
        return
    for address, _, _, scope, flags, adapter in rows:
        if adapter == name and not int(flags, 16) & _TENTATIVE_OR_FAILED:
            yield str(IPv6Address(bytes.fromhex(address))), int(scope, 16)
