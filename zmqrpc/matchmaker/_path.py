"""The file that a transport URL names."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from zmqrpc.errors import ConfigError
from zmqrpc.settings import masked_url


def path_of(url: str, example: str) -> str:
    """
    Return the absolute path of the file that a URL names.

    :param example: such a URL, for the error text.
    :raises ConfigError: the URL names no file, or a host.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc or not path.startswith("/") or path.endswith("/") or parts.fragment or "\0" in path:
        scheme = example.partition(":")[0]
        raise ConfigError(
            f"the transport URL {masked_url(url)!r} does not name a file; write {scheme}:// and an absolute path, for "
            f"example {example} (# as %23, ? as %3F)"
        )
    # Four slashes are what others write for an absolute path; SQLite would take the second part for a host.
    return "/" + path.lstrip("/")
