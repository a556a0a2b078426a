"""Makes what a first deployment lacks, and leaves alone what it has.

    python deploy/prepare.py keys /keys
    python deploy/prepare.py tls /tls postgres

`keys` makes the root key and the ring that signs access tokens. **Whoever loses the root key
loses every sealed field**: back it up, apart from the database. `tls` makes a certificate for a
PostgreSQL of that host name and the authority that the service verifies it by (PHI-08).
"""

import ipaddress
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by its path, from anywhere

from app.security.keyring import KeyRing
from app.security.sealing import LocalRootKey

LIFETIME = timedelta(days=825)


def make_keys(directory: Path) -> None:
    """Make `root.key` and `tokens/` where they are missing."""
    LocalRootKey.load_or_create(directory / "root.key")
    KeyRing.load_or_create(directory / "tokens")


def make_certificate(directory: Path, host: str) -> None:
    """Make `ca.crt`, `server.crt` and `server.key`, the certificate last of the three.

    The authority's own key is never written: it signs once, and is forgotten.
    """
    if (directory / "server.crt").exists():
        return
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name, server_name = _name("Stepwell database authority"), _name(host)
    authority = (
        _certificate(authority_name, authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    server = (
        _certificate(server_name, authority_name, server_key.public_key())
        .add_extension(x509.SubjectAlternativeName([_host(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    private = server_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(directory / "ca.crt", authority.public_bytes(serialization.Encoding.PEM), 0o644)
    _write(directory / "server.key", private, 0o600)
    _write(directory / "server.crt", server.public_bytes(serialization.Encoding.PEM), 0o644)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)  # half of an attempt that was cut short
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def main(arguments: list[str]) -> None:
    """Do one of the two."""
    match arguments:
        case ["keys", directory]:
            make_keys(Path(directory))
        case ["tls", directory, host]:
            make_certificate(Path(directory), host)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
