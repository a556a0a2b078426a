"""Receivers on loopback, each as hostile as a test needs it, and a certificate authority."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = Callable[["Receiver", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Receiver:
    """A server that takes requests and answers as its test says."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    sent: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first sender has hung up, or been answered."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?a=1"


@asynccontextmanager
async def receiver(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Listen on loopback until the test is done."""
    built = Receiver()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_content_length(head))
            built.requests.append(head + body)
            await answer(built, reader, writer)
        built.gone.set()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    built.port = server.sockets[0].getsockname()[1]
    try:
        yield built
    finally:
        server.close()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def says(response: bytes) -> Answer:
    """Answer with these octets and hang up."""

    async def answer(
        _receiver: Receiver, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(response)
        await writer.drain()

    return answer


def reply(status: int, *headers: str, body: bytes = b"") -> bytes:
    """A whole and honest answer."""
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def hangs(
    _receiver: Receiver, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter
) -> None:
    """Never answer; wait until the sender hangs up."""
    await reader.read()


def drips(start: bytes) -> Answer:
    """Answer an octet at a time for as long as somebody listens."""

    async def answer(
        receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(start)
        hung_up = asyncio.create_task(reader.read())
        while not hung_up.done():
            writer.write(b"a")
            receiver.sent += 1
            await asyncio.wait([hung_up], timeout=0.01)

    return answer


async def pours(
    receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer with a gigabyte, as fast as it is taken."""
    size = 1 << 30
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
    hung_up = asyncio.create_task(reader.read())
    while receiver.sent < size and not hung_up.done():
        writer.write(b"a" * 65_536)
        receiver.sent += 65_536
        await writer.drain()


async def resets(
    _receiver: Receiver, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Drop the connection without a word."""
    writer.transport.abort()


class Authority:
    """A certificate authority that nobody trusts, unless a test does."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self._certificate = self._sign(self._name, self._key, host=None)

    def client_context(self) -> ssl.SSLContext:
        """What somebody uses who trusts this authority."""
        text = self._certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
        return ssl.create_default_context(cadata=text)

    def server_context(self, host: str, *, expired: bool = False) -> ssl.SSLContext:
        """What a receiver uses whose certificate is for this host."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._sign(name, key, host=host, expired=expired)
        path = self._directory / f"{host}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        host: str | None,
        expired: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(tz=UTC)
        until = now - timedelta(days=1) if expired else now + timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if host is None:
            usage = x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            )
            builder = builder.add_extension(usage, critical=True)
        else:
            names = x509.SubjectAlternativeName([x509.DNSName(host)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())
