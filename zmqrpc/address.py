"""Addresses as people write them, ``host:port``, and as they are in records, ``tcp://host:port``."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

LOOPBACK = "127.0.0.1"
"""Where only processes of the same machine connect."""

LONGEST_ADDRESS = 300
"""How many bytes an address in a record has at most; a host name has 253, the path of a socket 107."""

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
_DIGITS = re.compile(r"[0-9]{1,5}\Z")


def numeric(host: str) -> IPv4Address | IPv6Address | None:
    """Read a numeric address, IPv6 with brackets or without; None for anything else."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        read = ip_address(bare)
    except ValueError:
        return None
    return read if bare is host or read.version == 6 else None


def check_host(host: str) -> str:
    """
    Return a host as it stands in an address: IPv6 shortened and without brackets, names in lower case.

    :raises ValueError: it is neither a host name nor an IP address that one can connect to; the text goes on after the
        name of what was given.
    """
    if (address := numeric(host)) is not None:
        if address.is_unspecified:
            raise ValueError("is every address of a machine, and none that one can connect to")
        return str(address)
    name = host.removesuffix(".")
    labels = name.split(".")
    if not name.isascii() or len(name) > 253 or not all(map(_LABEL.match, labels)) or labels[-1].isdigit():
        raise ValueError("is neither a host name nor an IP address")
    return host.lower()


def split_address(text: str) -> tuple[str, int]:
    """
    Read ``host:port``, where the host of IPv6 is in brackets.

    :return: the host as `check_host` has it, and the port.
    :raises ValueError: it is not that; the text goes on after the name of what was given.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("has no port; write host:port, for example 10.0.0.1:5001")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError("is not host:port; write an IPv6 address in [], for example [2001:db8::1]:5001")
    if not _DIGITS.match(port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"has the port {port!r}; it must be a number from 1 to 65535")
    try:
        return check_host(host), int(port)
    except ValueError as error:
        raise ValueError(f"has the host {host!r}, which {error}; write for example 10.0.0.1:5001") from None


def split_host(text: str) -> tuple[str, int | None]:
    """
    Read ``host`` or ``host:port``, where the host of IPv6 needs brackets only beside a port.

    :return: the host as `check_host` has it, and the port, None without one.
    :raises ValueError: it is neither; the text goes on after the name of what was given.
    """
    return split_address(text) if ":" in text and not numeric(text) else (check_host(text), None)


def tcp_address(host: str, port: int | str) -> str:
    """Write the address that is bound, or that others are told."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def is_wildcard(host: str) -> bool:
    """Tell whether binding this host means every adapter."""
    address = numeric(host)
    return host == "*" or (address is not None and address.is_unspecified)


def fault_of_address(address: str) -> str:
    """Tell what is wrong with an address in a record, a clause that goes on after it; empty when nothing is."""
    if not address.isprintable() or len(address.encode(errors="replace")) > LONGEST_ADDRESS:
        return f"is not printable, or longer than {LONGEST_ADDRESS} bytes"
    if address.startswith("tcp://"):
        try:
            split_address(address.removeprefix("tcp://"))
        except ValueError as error:
            return str(error).partition(";")[0]
        return ""
    return "" if address.startswith("ipc:///") else "is neither tcp://host:port nor ipc:///path"
