"""Sends requests to the application over ASGI, byte for byte, and keeps what came back.

An HTTP client would mend or refuse what is broken on purpose here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes, urlencode

from starlette.types import ASGIApp, Message

HOST: Final = (b"host", b"testserver")
JSON: Final = "application/json"

_COUNTED: Final = frozenset({b"x-request-id", b"ratelimit", b"ratelimit-policy"})
Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Request:
    """One request, as its bytes. `target` is the path with its query."""

    method: str
    target: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def with_header(self, name: str, value: str) -> "Request":
        """The same request with one more header, or another value of it."""
        return Request(self.method, self.target, {**self.headers, name: value}, self.body)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header; of a repeated one, all of them, as HTTP joins them."""
        values = [value for key, value in self.headers if key == name.lower().encode()]
        return b", ".join(values).decode("latin-1") if values else None

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:  # noqa: ANN401 (JSON)
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The code of the problem that it carries, if it carries one."""
        if self.header("content-type") != "application/problem+json":
            return None
        return str(self.json()["code"])

    @property
    def without_request_id(self) -> tuple[int, frozenset[tuple[bytes, bytes]], bytes]:
        """Everything but what differs in each: the request's id, and how many are left."""
        request_id = (self.header("x-request-id") or "").encode()
        headers = frozenset(pair for pair in self.headers if pair[0] not in _COUNTED)
        return self.status, headers, self.body.replace(request_id, b"") if request_id else self.body


def target(path: str, query: Mapping[str, str] | None = None) -> bytes:
    """A path and a query, percent-encoded."""
    encoded = quote(path, safe="/%-._~")
    return (f"{encoded}?{urlencode(query)}" if query else encoded).encode()


def body_of(value: object, media_type: str) -> bytes:
    """A body in its media type."""
    if media_type.endswith("json"):
        return json.dumps(value).encode()
    assert isinstance(value, Mapping)
    return urlencode({name: str(one) for name, one in value.items() if one is not None}).encode()


async def call(app: ASGIApp, request: Request) -> Answer:
    """One exchange. An exception that leaves the application fails the test."""
    path, _, query = request.target.partition(b"?")
    headers = [HOST] if "Host" not in request.headers else []
    headers += [(k.lower().encode(), v.encode("latin-1")) for k, v in request.headers.items()]
    if request.body:
        headers.append((b"content-length", str(len(request.body)).encode()))
    sent: list[Message] = []
    inbox: list[Message] = [{"type": "http.request", "body": request.body, "more_body": False}]

    async def receive() -> Message:
        return inbox.pop() if inbox else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        # A server decodes what stands for UTF-8, and replaces what does not.
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("testserver", 80),
        "state": {},
    }
    await app(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    body = b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")
    return Answer(start["status"], tuple(start["headers"]), body)
