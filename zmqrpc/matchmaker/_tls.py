"""TLS to a store, as the options ``matchmaker_tls...`` say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint

from zmqrpc.errors import ConfigError
from zmqrpc.settings import Settings

T = TypeVar("T")

_WANTS_ONE = "wants to see a certificate; set matchmaker_tls_certificate and matchmaker_tls_key to one that it accepts"
_BAD = "bad certificate"
_FAULTS = {
    "certificate verify failed": (
        "has a certificate that is not accepted; check matchmaker_tls_ca, and until when the certificate is valid"
    ),
    "wrong version number": "does not speak TLS; unset matchmaker_tls, or correct the port",
    "packet length too long": "does not speak TLS; unset matchmaker_tls, or correct the port",
    "certificate required": _WANTS_ONE,
    "unknown ca": "does not accept our certificate; see whom it believes, and matchmaker_tls_certificate",
    _BAD: "does not accept our certificate; see whom it believes, and matchmaker_tls_certificate",
    "certificate expired": "does not accept our certificate, which has expired; renew matchmaker_tls_certificate",
}
"""What OpenSSL says, in parts of words that its versions share, and what to do; to stand after the server."""


def tls_fault(error: BaseException, tls: StoreTls | None) -> str | None:
    """
    Write what is wrong with a connection by TLS, to stand after the name of the server.

    :param tls: with what it was to be made; None for without TLS.
    :return: None when the error is not one of TLS.
    """
    # Told by their names, since OpenSSL may not be loaded.
    kind = type(error)
    if kind.__module__.startswith("service_identity"):
        return "has a certificate for another name; connect to it by that name, or set matchmaker_tls_name"
    if not (kind.__module__.startswith("OpenSSL") and kind.__name__ == "Error"):
        return None
    said = "; ".join(str(part[-1]) for part in (error.args[0] if error.args else ()))
    if _BAD in said and tls is not None and tls.certificate is None:  # what Go, and so etcd, says to who shows none
        return f"{_WANTS_ONE} ({said})"
    for words, meaning in _FAULTS.items():
        if words in said:
            return f"{meaning} ({said})"
    return f"cannot be talked to by TLS ({said or kind.__name__}); see its log"


@attrs.frozen
class StoreTls:
    """
    What is needed for connections by TLS: whom to believe, and who we are.

    :ivar authority: the certificates of who may have issued that of a server, as
        `twisted.internet.ssl.trustRootFromCertificates` has them; None for those that the system trusts.
    :ivar certificate: a `twisted.internet.ssl.PrivateCertificate` that is shown to servers; None for none.
    :ivar name: what the certificates of servers are for; None for the host of each.
    """

    authority: Any = None
    certificate: Any = None
    name: str | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """
        Read the files that the options name.

        :return: None when TLS is off.
        :raises ConfigError: a file cannot be read or is not what it should be.
        """
        if not settings.matchmaker_tls:
            return None
        # Only here: OpenSSL takes a while to load, and few need it.
        from twisted.internet import ssl

        authority = _read(settings, "matchmaker_tls_ca", _certificates)
        certificate = _read(
            settings,
            "matchmaker_tls_certificate",
            lambda pem: ssl.PrivateCertificate.loadPEM(
                pem + b"\n" + Path(settings.matchmaker_tls_key or "").read_bytes()
            ),
        )
        return cls(authority, certificate, settings.matchmaker_tls_name)

    def creator(self, host: str) -> IOpenSSLClientConnectionCreator:
        """Make what opens connections to a host that are encrypted, and end unless its certificate is for that name."""
        from twisted.internet import ssl

        return ssl.optionsForClientTLS(self.name or host, self.authority, self.certificate)

    def wrap(self, endpoint: IStreamClientEndpoint, host: str) -> IStreamClientEndpoint:
        """Have an endpoint that connects to a host do so by TLS."""
        from twisted.internet.endpoints import wrapClientTLS

        return wrapClientTLS(self.creator(host), endpoint)


def _certificates(pem: bytes) -> Any:
    from twisted.internet import ssl

    end = b"-----END CERTIFICATE-----"
    parts = [part + end for part in pem.split(end)[:-1]]
    if not parts:
        raise ValueError("it holds no certificate")
    return ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(part) for part in parts])


def _read(settings: Settings, option: str, read: Callable[[bytes], T]) -> T | None:
    path = getattr(settings, option)
    if path is None:
        return None
    try:
        return read(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(
            f"option {option} names {path}, and {error.filename or path} cannot be read: {error.strerror or error}",
            options=(option,),
        ) from None
    except Exception as error:  # OpenSSL's own
        raise ConfigError(
            f"option {option} names {path}, which is not what is needed, in the form PEM ({error})", options=(option,)
        ) from None
