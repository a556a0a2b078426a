"""Which URLs an endpoint may have (WH-13). Checked when it is saved and at each attempt."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from app.webhooks.addresses import parse_address

MAX_URL: Final = 2_048
MAX_HOST: Final = 253
PORTS: Final = frozenset({443, 8443})

# What RFC 3986 lets stand in a URL. Everything else is percent-encoded by an honest writer, and
# read differently by different readers: spaces, backslashes, controls, letters beyond ASCII.
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# `0x7f` and digits are how `inet_aton` writes a number; no name ends so (RFC 3696, section 2).
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")
_LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class BadUrl(ValueError):
    """Not a URL that webhooks are sent to. `code` says which rule; the URL is not repeated."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class ReceiverUrl:
    """An accepted URL, in the parts that a request is made of."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query, as they stand in the request line."""

    @property
    def is_secure(self) -> bool:
        """Whether the connection is made with TLS."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.is_secure else 80
        return host if self.port == default else f"{host}:{self.port}"


def parse_url(text: str, *, development: bool = False) -> ReceiverUrl:
    """Read the URL of an endpoint. Raises BadUrl.

    With `development` plain http, this machine and any port are accepted as well, so that a
    receiver can be written on one's own desk.
    """
    if len(text) > MAX_URL:
        raise BadUrl("too_long")
    if "#" in text:
        raise BadUrl("fragment")
    if not text.isascii():
        # A name beyond ASCII is given as its `xn--` form, whose one reading everybody shares.
        raise BadUrl("not_ascii")
    if not _CHARACTERS.fullmatch(text) or _BROKEN_ESCAPE.search(text):
        raise BadUrl("character")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadUrl("malformed") from None
    return _checked(parts, port, development=development)


def _checked(parts: SplitResult, port: int | None, *, development: bool) -> ReceiverUrl:
    if parts.scheme != "https" and not (development and parts.scheme == "http"):
        raise BadUrl("scheme")
    if "@" in parts.netloc:
        raise BadUrl("userinfo")
    if parts.netloc.endswith(":"):
        raise BadUrl("port")
    port = (443 if parts.scheme == "https" else 80) if port is None else port
    if port not in PORTS and not (development and port != 0):
        raise BadUrl("port")
    host = _host(parts, development=development)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return ReceiverUrl(parts.scheme, host, port, target)


def _host(parts: SplitResult, *, development: bool) -> str:
    host = parts.hostname or ""
    if development and host in _LOCAL_HOSTS:
        return host
    if "[" in parts.netloc or parse_address(host) is not None:
        raise BadUrl("ip_literal")
    labels = host.removesuffix(".").split(".")
    if len(host) > MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
        raise BadUrl("host")
    if len(labels) < 2:
        raise BadUrl("host_without_dot")
    if _NUMBER.fullmatch(labels[-1]):
        raise BadUrl("ip_literal")
    return ".".join(labels)
