"""One attempt to deliver a webhook: bounded in time and size, and only to the public internet.

A receiver is written by a stranger and may be hostile: slow, endless, redirecting, or a name that
leads into our own network (WH-08, WH-14). So the name is resolved once, every address that it has
must be allowed, and the connection goes to one of exactly these, while TLS still checks the name.
There are no redirects, proxies, cookies or kept connections.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum, unique
from typing import Final, TypeAlias

import httpcore
from typing_extensions import override

from app.core import clock
from app.webhooks.addresses import Address, is_allowed, is_loopback, parse_address
from app.webhooks.urls import BadUrl, ReceiverUrl, parse_url

USER_AGENT: Final = "Stepwell-Webhooks/1"
READ_BYTES: Final = 4_096
MAX_RETRY_AFTER: Final = timedelta(hours=24)

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[Address]]]
"""All addresses of a host, in the order in which they are to be tried; none if it has none."""


@unique
class FailureCode(StrEnum):
    """Why an attempt failed without, or in spite of, a status."""

    URL_REFUSED = "url_refused"
    NAME_NOT_FOUND = "name_not_found"
    ADDRESS_REFUSED = "address_refused"
    NOT_CONNECTED = "not_connected"
    NOT_TRUSTED = "not_trusted"
    TIMED_OUT = "timed_out"
    CUT_OFF = "cut_off"
    BAD_RESPONSE = "bad_response"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt.

    `body_head` is the beginning of the answer, for the nonce of an endpoint's verification; it
    is not stored. `retry_after` is what a 429 or 503 asked for, at most a day (WH-07).
    """

    status: int | None
    failure_code: FailureCode | None
    duration: timedelta
    body_head: bytes = b""
    retry_after: timedelta | None = None

    @property
    def is_success(self) -> bool:
        """Whether the receiver took it: a 2xx that arrived as it was announced."""
        return self.failure_code is None and self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Limits:
    """What a receiver may cost, in seconds and octets (WH-08)."""

    connect_seconds: float = 5.0
    attempt_seconds: float = 15.0
    body_bytes: int = READ_BYTES


class Transport:
    """Sends webhooks. One serves a whole process, any number of attempts at a time.

    With `development` receivers on this machine and plain http are allowed.
    """

    def __init__(
        self,
        *,
        development: bool = False,
        resolve: Resolve | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._development = development
        self._limits = limits or Limits()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_keepalive_connections=0,
            http1=True,
            http2=False,
            retries=0,
            network_backend=_GuardedBackend(resolve or resolve_by_system, development=development),
        )

    async def aclose(self) -> None:
        """Drop what is still connected."""
        await self._pool.aclose()

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """Post `body`, exactly, to a receiver, and say what came of it.

        A failure is an answer here, not an exception. Whatever the receiver does, the attempt
        ends within its limits.
        """
        began = clock.monotonic()
        answer = _Answer()
        failure: FailureCode | None = None
        try:
            async with asyncio.timeout(self._limits.attempt_seconds):
                await self._post(
                    parse_url(url, development=self._development), headers, body, answer
                )
        except _EXPECTED as error:
            failure = _failure_code(error)
        return Attempt(
            answer.status,
            failure,
            timedelta(seconds=clock.monotonic() - began),
            bytes(answer.body_head),
            answer.retry_after,
        )

    async def _post(
        self, url: ReceiverUrl, headers: Mapping[str, str], body: bytes, answer: "_Answer"
    ) -> None:
        target = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        sent = {
            "host": url.authority,
            "user-agent": USER_AGENT,
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **headers,
        }
        connect = self._limits.connect_seconds
        async with self._pool.stream(
            "POST",
            target,
            headers=list(sent.items()),
            content=body,
            extensions={"timeout": {"connect": connect}},
        ) as response:
            answer.status = response.status
            answer.retry_after = _retry_after(response)
            await answer.read_head(response.aiter_stream(), self._limits.body_bytes)


class _Answer:
    """What has arrived of an answer so far, kept whatever happens to the rest."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after: timedelta | None = None
        self.body_head = bytearray()

    async def read_head(self, chunks: AsyncIterator[bytes], most: int) -> None:
        async for chunk in chunks:
            self.body_head += chunk[: most - len(self.body_head)]
            if len(self.body_head) >= most:
                return  # the rest is not read: leaving the stream closes the connection


class _NameNotFound(Exception):
    """The host has no address."""


class _AddressRefused(Exception):
    """The host has an address that webhooks are not sent to."""


_FAILURES: Final[tuple[tuple[type[Exception], FailureCode], ...]] = (
    (BadUrl, FailureCode.URL_REFUSED),
    (_NameNotFound, FailureCode.NAME_NOT_FOUND),
    (_AddressRefused, FailureCode.ADDRESS_REFUSED),
    (httpcore.ConnectError, FailureCode.NOT_CONNECTED),
    (httpcore.NetworkError, FailureCode.CUT_OFF),
    (httpcore.RemoteProtocolError, FailureCode.BAD_RESPONSE),
    (httpcore.TimeoutException, FailureCode.TIMED_OUT),
    (TimeoutError, FailureCode.TIMED_OUT),
)
"""What a receiver can do to us; the first that fits counts. Anything else is a bug of ours."""

_EXPECTED: Final = tuple(kind for kind, _ in _FAILURES)


def _failure_code(error: Exception) -> FailureCode:
    if isinstance(error, httpcore.ConnectError) and _began_with_tls(error):
        return FailureCode.NOT_TRUSTED
    return next(code for kind, code in _FAILURES if isinstance(error, kind))


def _began_with_tls(error: BaseException | None) -> bool:
    """Whether a failure to connect was one of TLS, which the layers between have wrapped."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _retry_after(response: httpcore.Response) -> timedelta | None:
    if response.status not in {429, 503}:
        return None
    for name, value in response.headers:
        if name.lower() == b"retry-after":
            return parse_retry_after(value.decode("latin-1"), now=clock.wall())
    return None


def parse_retry_after(value: str, *, now: datetime) -> timedelta | None:
    """Read a Retry-After header (RFC 9110, 10.2.3): seconds or a date; at most a day from now."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        # More digits than a day has seconds are all the same to us, and to timedelta they are not.
        seconds = int(value[:9])
        return min(timedelta(seconds=seconds), MAX_RETRY_AFTER)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        return None
    return min(max(until - now, timedelta()), MAX_RETRY_AFTER)


async def resolve_by_system(host: str, port: int) -> Sequence[Address]:
    """Ask the resolver of the operating system, once."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except (socket.gaierror, UnicodeError):
        return ()
    addresses = (parse_address(str(sockaddr[0])) for *_, sockaddr in found)
    return tuple(address for address in addresses if address is not None)


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to a host's addresses if all of them are allowed, and to nothing else."""

    def __init__(self, resolve: Resolve, *, development: bool) -> None:
        self._resolve = resolve
        self._development = development
        self._inner = httpcore.AnyIOBackend()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._allowed_addresses(host, port)
                return await self._connect_to_one_of(addresses, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error

    async def _allowed_addresses(self, host: str, port: int) -> Sequence[Address]:
        addresses = await self._resolve(host, port)
        if not addresses:
            raise _NameNotFound
        # One private address among public ones is how a name gets behind a check of the first.
        if not all(map(self._is_allowed, addresses)):
            raise _AddressRefused
        return addresses

    def _is_allowed(self, address: Address) -> bool:
        return is_allowed(address) or (self._development and is_loopback(address))

    async def _connect_to_one_of(
        self, addresses: Sequence[Address], port: int
    ) -> httpcore.AsyncNetworkStream:
        """Try the addresses in turn: a host may publish IPv6 that does not reach us."""
        *others, last = addresses
        for address in others:
            try:
                return _Stream(await self._inner.connect_tcp(str(address), port))
            except httpcore.ConnectError:
                continue
        return _Stream(await self._inner.connect_tcp(str(last), port))


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that takes no more at once than is kept, and is closed if TLS is given up."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    @override
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(min(max_bytes, READ_BYTES), timeout)

    @override
    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()

    @override
    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            # httpcore forgets a connection whose handshake is cancelled, as our own limit does.
            await self._inner.aclose()
            raise

    @override
    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)
