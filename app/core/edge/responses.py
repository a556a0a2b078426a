"""What every answer carries, errors included (API-11, API-12, PHI-08, PHI-13)."""

from typing import Final, TypeAlias

from app.core.edge.config import EdgeConfig
from app.core.problems import Problem
from app.core.problems.base import MEDIA_TYPE

Headers: TypeAlias = list[tuple[bytes, bytes]]

_SECURITY: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_NOT_STORED: Final = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
_HSTS: Final = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
_EXPOSED: Final = (
    b"ETag, Location, Link, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, "
    b"Idempotency-Replayed, Deprecation, Sunset, WWW-Authenticate"
)
_ACCEPTED: Final = (
    b"Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Prefer, "
    b"Last-Event-ID, X-Request-Id"
)
_PREFLIGHT_SECONDS: Final = b"600"


def headers_of(problem: Problem, body: bytes) -> Headers:
    """The headers of a problem, as the server takes them."""
    return [
        (b"content-type", MEDIA_TYPE.encode("ascii")),
        (b"content-length", str(len(body)).encode("ascii")),
        *((n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in problem.headers.items()),
    ]


class Decoration:
    """Adds the edge's headers to an answer, and decides which origins may read it."""

    def __init__(self, config: EdgeConfig) -> None:
        self._origins = frozenset(origin.encode("ascii") for origin in config.origins)
        always = (*_SECURITY, *((_HSTS,) if config.is_production else ()))
        # What an answer says itself stays: a documentation page has its own policy.
        self._defaults = always
        self._default_names = frozenset(name for name, _ in (*always, *_NOT_STORED))
        self._all = (*always, *_NOT_STORED, (b"vary", b"Origin"))

    def apply(self, headers: Headers, request_id: str, origin: bytes | None) -> None:
        """Add, in place, what the answer lacks."""
        present = {name for name, _ in headers}
        if present.isdisjoint(self._default_names) and b"vary" not in present:
            headers.extend(self._all)
        else:
            self._complete(headers, present)
        headers.append((b"x-request-id", request_id.encode("ascii")))
        if origin is not None and origin in self._origins:
            headers.append((b"access-control-allow-origin", origin))
            headers.append((b"access-control-expose-headers", _EXPOSED))

    def _complete(self, headers: Headers, present: set[bytes]) -> None:
        headers.extend(pair for pair in self._defaults if pair[0] not in present)
        if b"cache-control" not in present:
            headers.extend(_NOT_STORED)
        # Whether an origin may read it depends on the origin, for caches too.
        headers.append((b"vary", b"Origin"))

    def preflight(self, origin: bytes | None, methods: str) -> Headers:
        """The headers of a preflight's answer; without an allowed origin, it permits nothing."""
        if origin is None or origin not in self._origins:
            return []
        return [
            (b"access-control-allow-methods", methods.encode("ascii")),
            (b"access-control-allow-headers", _ACCEPTED),
            (b"access-control-max-age", _PREFLIGHT_SECONDS),
        ]
