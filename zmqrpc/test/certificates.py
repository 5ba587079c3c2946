"""Certificates that tests make for themselves."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """
    Who issues certificates.

    :ivar certificate: the path of its own.
    """

    def __init__(self, case, name: str = "tests") -> None:
        self._directory = Path(case.mktemp()).absolute()
        self._directory.mkdir(parents=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._begin(self._name, self._key).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        self.certificate = self._write("authority.pem", self._sign(made))

    def issue(self, *hosts: str, days: int = 1) -> tuple[str, str]:
        """
        Issue a certificate for names or numeric addresses.

        :param days: for how long it is valid; negative for one that has expired.
        :return: the paths of the certificate and its key.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = []
        for host in hosts:
            numeric = host.replace(".", "").isdigit()
            names.append(x509.IPAddress(ipaddress.ip_address(host)) if numeric else x509.DNSName(host))
        made = self._begin(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])]), key, days)
        made = made.add_extension(x509.SubjectAlternativeName(names), False)
        stem = f"{len(list(self._directory.iterdir()))}"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._write(f"{stem}.pem", self._sign(made)), self._write(f"{stem}.key", private)

    def _begin(self, name, key, days: int = 1) -> x509.CertificateBuilder:
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        return (
            made.serial_number(x509.random_serial_number())
            .not_valid_before(end - datetime.timedelta(days=10))
            .not_valid_after(end)
        )

    def _sign(self, made: x509.CertificateBuilder) -> bytes:
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, content: bytes) -> str:
        path = self._directory / name
        path.write_bytes(content)
        path.chmod(0o600)
        return str(path)
