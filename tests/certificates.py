"""Certificates for tests: self-signed, for 127.0.0.1, one for each name."""

import datetime as dt
import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files."""

    cert: Path
    key: Path

    def trusting(self) -> ssl.SSLContext:
        """A client that accepts this certificate and no other."""
        return ssl.create_default_context(cafile=str(self.cert))

    def replace_with(self, other: "Pair") -> None:
        """As certbot does it: the files of another pair take the names of these."""
        for new, old in ((other.cert, self.cert), (other.key, self.key)):
            temporary = old.with_suffix(".new")
            temporary.write_bytes(new.read_bytes())
            os.replace(temporary, old)


def make_pair(folder: Path, name: str, password: bytes | None = None, *, hosts: tuple[str, ...] = ()) -> Pair:
    """A new key and a certificate for 127.0.0.1, and for `hosts`, with this common name."""
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *(x509.DNSName(host) for host in hosts)]
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    pair.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return pair
