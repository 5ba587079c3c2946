"""The hosts of a store in a transport URL, and who we are there."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from zmqrpc.address import numeric, split_address


def read_hosts(netloc: str, port: int) -> list[tuple[str, int]]:
    """
    Read ``host[:port],host[:port]...`` behind user and password of a transport URL.

    :param port: what counts where none is written.
    :return: hosts as `split_address` has them, and ports.
    :raises ValueError: it is not that; the text goes on after the URL.
    """
    found: list[tuple[str, int]] = []
    for written in netloc.rpartition("@")[2].split(","):
        if not written.partition(":")[0] and written.count(":") < 2:
            raise ValueError("names no host, or has a comma too many")
        try:
            place = split_address(written if ":" in written.rpartition("]")[2] else f"{written}:{port}")
        except ValueError:
            # Its text repeats what may be a piece of a password.
            raise ValueError(
                "has no valid host or no valid port; write HOST, HOST:PORT or [IPv6]:PORT, PORT from 1 to 65535"
            ) from None
        if place in found:
            raise ValueError(f"names {located(*place)} twice; name each server once")
        found.append(place)
    return found


def read_user(netloc: str) -> tuple[bytes, bytes | None]:
    """
    Read ``[user]:password@``, each of which may be written with ``%``, from the host part of a transport URL.

    :return: the user, empty for none, and the password, None for none.
    :raises ValueError: there is a user without a password; the text goes on after the URL.
    """
    userinfo, at, _ = netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    if at and not password:
        raise ValueError("names a user without a password; write user:password@, or :password@ without a user")
    return unquote_to_bytes(user), unquote_to_bytes(password) if colon else None


def located(host: str, port: int) -> str:
    """Write host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Tell whether it can only be this machine."""
    address = numeric(host)
    return host == "localhost" or (address is not None and address.is_loopback)
