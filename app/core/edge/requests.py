"""The rules for what comes in: each either passes or raises the problem that it means."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final
from urllib.parse import unquote_plus, unquote_to_bytes

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from app.core import strict_json
from app.core.edge.config import EdgeConfig
from app.core.edge.routes import FORM, RouteIndex
from app.core.ids import new_id
from app.core.problems import (
    BadRequest,
    ContentTooLarge,
    FieldError,
    HeadersTooLarge,
    Invalid,
    MisdirectedHost,
    UnsupportedMediaType,
    UriTooLong,
)
from app.core.problems.validation import sentence

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
_JSON: Final = re.compile(rb"application/(?:[a-z0-9.-]+\+)?json")
_UTF_8: Final = frozenset({b"utf-8", b'"utf-8"', b"utf8"})
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
_HEADER_OVERHEAD: Final = 4  # a colon, a space, a line end
_SEEN_AT_MOST: Final = 256


@dataclass(frozen=True, slots=True)
class Head:
    """What the edge reads from a request's headers; of a repeated one, the last."""

    size: int
    request_id: str
    host: bytes | None
    hosts: int
    origin: bytes | None
    is_preflight: bool
    has_body: bool
    content_type: bytes
    content_length: bytes
    content_encoding: bytes


def read_head(scope: Scope) -> Head:
    """Pick the edge's headers. A request id that is no plain word is replaced by one of ours."""
    headers = scope["headers"]
    found = dict(headers)
    get = found.get
    length = get(b"content-length", b"")
    request_id = get(b"x-request-id")
    host = get(b"host")
    return Head(
        # Joining is the cheapest way to add up the lengths.
        size=len(b"".join(chain.from_iterable(headers))) + _HEADER_OVERHEAD * len(headers),
        request_id=(
            request_id.decode("ascii")
            if request_id is not None and _REQUEST_ID.fullmatch(request_id)
            else new_id().hex
        ),
        host=host,
        hosts=int(host is not None)
        if len(found) == len(headers)
        else sum(name == b"host" for name, _ in headers),
        origin=get(b"origin"),
        is_preflight=b"access-control-request-method" in found,
        has_body=length not in {b"", b"0"} or b"transfer-encoding" in found,
        content_type=get(b"content-type", b""),
        content_length=length,
        content_encoding=get(b"content-encoding", b""),
    )


class HeadRules:
    """Sizes, host, path and query: what can be judged before the body is read."""

    def __init__(self, config: EdgeConfig) -> None:
        self._config = config
        self._any_host = "*" in config.hosts
        self._hosts = frozenset(host.lower().encode("ascii") for host in config.hosts)
        self._seen: set[bytes] = set()

    def check(self, scope: Scope, head: Head) -> None:
        """Raise the first problem of a request's head."""
        if head.size > self._config.max_headers:
            raise HeadersTooLarge
        path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
        query: bytes = scope["query_string"]
        if len(path) + len(query) + (1 if query else 0) > self._config.max_url:
            raise UriTooLong
        self._check_host(head)
        _check_text(path)
        if query:
            _check_text(query)

    def _check_host(self, head: Head) -> None:
        host = head.host
        if host in self._seen and head.hosts == 1:
            return
        if host is None or head.hosts != 1:
            raise MisdirectedHost
        if not self._any_host and _without_port(host.lower()) not in self._hosts:
            raise MisdirectedHost
        if len(self._seen) < _SEEN_AT_MOST:
            self._seen.add(host)

    def check_query(self, scope: Scope, method: str, routes: RouteIndex) -> None:
        """Refuse parameters that the operation does not know, and those given twice (FUZZ-04).

        What is ignored silently is what a client will swear it has asked for.
        """
        names = [unquote_plus(part.partition(b"=")[0].decode()) for part in _parts(scope)]
        known = routes.query_names(scope["path"], method)
        unknown = set[str]() if known is None else set(names) - known
        repeated = {name for name in names if names.count(name) > 1} - self._config.repeatable
        if unknown or repeated:
            errors = [("unknown_parameter", name) for name in sorted(unknown)]
            errors += [("repeated", name) for name in sorted(repeated - unknown)]
            raise Invalid(
                errors=[FieldError(_pointer(name), code, sentence(code)) for code, name in errors]
            )


def _parts(scope: Scope) -> list[bytes]:
    return [part for part in scope["query_string"].split(b"&") if part]


def _pointer(name: str) -> str:
    # A made-up name is as much a client's input as a value is.
    return f"query/{name}" if _NAME.fullmatch(name) else "query"


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host


def _check_text(encoded: bytes) -> None:
    """What percent signs stand for is UTF-8 without U+0000."""
    decoded = unquote_to_bytes(encoded) if b"%" in encoded else encoded
    if decoded.isascii():
        if b"\x00" not in decoded:
            return
        raise BadRequest("The URL holds U+0000.")
    try:
        text = decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("The URL is not UTF-8.") from None
    if "\x00" in text:
        raise BadRequest("The URL holds U+0000.")


class BodyRules:
    """Type, size and grammar of a body."""

    def __init__(self, config: EdgeConfig) -> None:
        self._config = config
        self._json_types: set[bytes] = set()

    def expects(self, scope: Scope, head: Head) -> bool:
        """Whether there may be a body to read.

        A method that carries one is read even when no header announces it, as HTTP/2 permits.
        """
        return head.has_body or scope["method"] not in _BODILESS

    async def read(self, scope: Scope, head: Head, receive: Receive, routes: RouteIndex) -> Receive:
        """Read and judge the body, and return where the application reads it from."""
        is_json = self._is_json(scope, head, routes) if head.has_body else True
        limit = self._config.max_body
        if not is_json and not head.content_type.lower().startswith(FORM.encode()):
            limit = self._config.max_upload
        if head.content_length and _announced(head.content_length) > limit:
            raise _too_large(limit)
        body = await _read(receive, limit)
        if body and not head.has_body:
            is_json = self._is_json(scope, head, routes)
        if body and is_json:
            strict_json.loads(body, max_bytes=limit, max_depth=self._config.max_json_depth)
        return _replay(body, receive)

    def _is_json(self, scope: Scope, head: Head, routes: RouteIndex) -> bool:
        """Tell JSON from what the route reads instead; raise UnsupportedMediaType for the rest."""
        if head.content_encoding not in {b"", b"identity"}:
            raise UnsupportedMediaType("A body is read as it is, without a Content-Encoding.")
        others = routes.media_types(scope["path"], scope["method"])
        if not others and head.content_type in self._json_types:
            return True
        essence, parameters = _parse(head.content_type)
        if parameters.get(b"charset", b"utf-8") not in _UTF_8:
            raise UnsupportedMediaType("Text is read as UTF-8.")
        if others:
            if essence.decode("latin-1") not in others:
                raise UnsupportedMediaType(f"This resource reads {', '.join(sorted(others))}.")
            return False
        if not _JSON.fullmatch(essence):
            # What is not there is 404 or 405, whatever was sent to it.
            if routes.exists(scope["path"]):
                raise UnsupportedMediaType("This resource reads application/json.")
            return False
        if len(self._json_types) < _SEEN_AT_MOST:
            self._json_types.add(head.content_type)
        return True


def _parse(content_type: bytes) -> tuple[bytes, Mapping[bytes, bytes]]:
    essence, *rest = content_type.lower().split(b";")
    pairs = (part.strip().partition(b"=") for part in rest)
    return essence.strip(), {name: value for name, _, value in pairs}


def _announced(content_length: bytes) -> int:
    if not content_length.isdigit() or len(content_length) > 18:
        raise BadRequest("The content length is no number.")
    return int(content_length)


async def _read(receive: Receive, limit: int) -> bytes:
    """Collect the body, counting while reading: a chunked one announces nothing."""
    message = await receive()
    body = _chunk(message)
    if not message.get("more_body", False) and len(body) <= limit:
        return body
    chunks, size = [body], len(body)
    while size <= limit and message.get("more_body", False):
        message = await receive()
        chunk = _chunk(message)
        chunks.append(chunk)
        size += len(chunk)
    if size > limit:
        raise _too_large(limit)
    return b"".join(chunks)


def _too_large(limit: int) -> ContentTooLarge:
    return ContentTooLarge(f"This resource reads {limit:,} bytes at most.")


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then whatever the server still has to say."""
    is_read = False

    async def replay() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
