"""Everything that can go wrong, said once (RFC 9457).

A problem is raised by the service that meets it and rendered here as `application/problem+json`.
Its `type` resolves to a page of our own documentation, its `code` is stable, and its further
members are ids, states and counts. What a client sent is never sent back or logged: it may be
the most private sentence of somebody's life, and an error is the easiest way to leak it.

Beside the standard problems stand the two translations that keep a 500 a bug: of what the
framework refuses, and of what the database refuses (`from_database_error`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, ClassVar, Final
from uuid import UUID

from starlette.responses import Response

from app.core import clock

ProblemMember = (
    UUID
    | str
    | int
    | bool
    | datetime
    | Sequence[UUID]
    | Sequence[str]
    | Sequence[int]
    | Sequence[datetime]
)

MEDIA_TYPE: Final = "application/problem+json"
_registry: dict[str, "type[Problem]"] = {}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that was refused: where it stands, why, and what would be accepted.

    The pointer is a JSON pointer (RFC 6901) into the body, or `query/<name>`, `path/<name>`,
    `header/<name>`, `cookie/<name>`.
    """

    pointer: str
    code: str
    detail: str | None = None


class Problem(Exception):  # noqa: N818  # the word of RFC 9457, and of every client
    """A request that cannot be answered as asked.

    A subclass names itself with `slug`, `title` and `status`, and stands beside the service that
    raises it. Members are named freely, but hold ids, states and counts only.
    """

    slug: ClassVar[str] = "problem"
    title: ClassVar[str] = "The request cannot be answered as asked"
    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    default_headers: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init_subclass__(cls) -> None:
        """Enter the class in the registry that the documentation lists."""
        super().__init_subclass__()
        if "slug" not in cls.__dict__:
            raise TypeError(f"{cls.__qualname__} has no slug of its own")
        known = _registry.setdefault(cls.slug, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"the slug {cls.slug} belongs to {known.__qualname__}")
        _registry[cls.slug] = cls

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **members: ProblemMember,
    ) -> None:
        # The class's own name is all that str() may reveal.
        super().__init__(self.slug)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = {**self.default_headers, **(headers or {})}
        self.members = members

    @classmethod
    def code(cls) -> str:
        """The slug as clients switch on it: `firing_full`."""
        return cls.slug.replace("-", "_")

    @classmethod
    def type_uri(cls) -> str:
        """A relative reference to the page that explains this problem."""
        return f"/problems/{cls.slug}"

    def body(self, request_id: str | None = None) -> dict[str, Any]:
        """The document that the client reads."""
        document: dict[str, Any] = {
            "type": self.type_uri(),
            "title": self.title,
            "status": int(self.status),
            "code": self.code(),
        }
        if self.detail is not None:
            document["detail"] = self.detail
        if request_id is not None:
            document["request_id"] = request_id
        if self.errors:
            document["errors"] = [_field_error(error) for error in self.errors]
        # A member never replaces what RFC 9457 or this class has said already.
        return {**self.members, **document}


def _field_error(error: FieldError) -> dict[str, str]:
    document = {"pointer": error.pointer, "code": error.code}
    if error.detail is not None:
        document["detail"] = error.detail
    return document


def _plain(value: object) -> str:
    """UUIDs and instants inside members, as JSON text."""
    if isinstance(value, datetime):
        return clock.render(value)
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"a problem's member cannot be a {type(value).__name__}")


def render(problem: Problem, request_id: str | None = None) -> bytes:
    """The problem's JSON, in ASCII, so that no member can break an encoder."""
    return json.dumps(
        problem.body(request_id), default=_plain, allow_nan=False, separators=(",", ":")
    ).encode("ascii")


def problem_response(problem: Problem, request_id: str | None = None) -> Response:
    """The answer that carries a problem."""
    return Response(
        render(problem, request_id),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def registered() -> Sequence[type[Problem]]:
    """Every problem that this process can raise, by slug: the table of contents of `/problems`."""
    return [_registry[slug] for slug in sorted(_registry)]


_RETRY_SOON: Final = MappingProxyType({"Retry-After": "1"})


class BadRequest(Problem):
    """The request is malformed in a way that no field can be blamed for."""

    slug, title, status = "bad-request", "The request is malformed", HTTPStatus.BAD_REQUEST


class InvalidJson(BadRequest):
    """The body is not JSON as this API reads it (strict UTF-8, no duplicate keys, 32 levels)."""

    slug, title = "invalid-json", "The body is not valid JSON"


class InvalidCursor(BadRequest):
    """The cursor was not made by this list with these filters for this organization."""

    slug, title = "invalid-cursor", "The cursor does not belong to this list"


class MisdirectedHost(BadRequest):
    """The `Host` header names a server that this one is not."""

    slug, title = "misdirected-host", "This host is not served here"


class Unauthenticated(Problem):
    """No valid credentials came with the request; every cause gets the same answer."""

    slug, title, status = "unauthenticated", "Sign in first", HTTPStatus.UNAUTHORIZED
    default_headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    """The caller may see this, and may not do this."""

    slug, title, status = "forbidden", "You may not do this", HTTPStatus.FORBIDDEN


class InsufficientScope(Problem):
    """The app that calls was not given this permission, whoever uses it."""

    slug, title, status = "insufficient-scope", "The app lacks a scope", HTTPStatus.FORBIDDEN
    default_headers = MappingProxyType({"WWW-Authenticate": 'Bearer error="insufficient_scope"'})


class NotFound(Problem):
    """Nothing is there that the caller may see."""

    slug, title, status = "not-found", "There is nothing here", HTTPStatus.NOT_FOUND


class MethodNotAllowed(Problem):
    """The resource exists, and does not know this method; `Allow` lists those it knows."""

    slug, title = "method-not-allowed", "The method is not allowed here"
    status = HTTPStatus.METHOD_NOT_ALLOWED


class NotAcceptable(Problem):
    """No representation exists that the client accepts."""

    slug, title = "not-acceptable", "No acceptable representation exists"
    status = HTTPStatus.NOT_ACCEPTABLE


class Conflict(Problem):
    """The present state contradicts the request."""

    slug, title, status = "conflict", "The present state contradicts this", HTTPStatus.CONFLICT


class PreconditionFailed(Problem):
    """Somebody changed the resource after the client read it: read it again, then decide."""

    slug, title = "precondition-failed", "The resource has changed"
    status = HTTPStatus.PRECONDITION_FAILED


class PreconditionRequired(Problem):
    """A change needs `If-Match` with the ETag that was read, so that no edit is lost."""

    slug, title = "precondition-required", "If-Match is required"
    status = HTTPStatus.PRECONDITION_REQUIRED


class ContentTooLarge(Problem):
    """The body is larger than this resource reads."""

    slug, title = "content-too-large", "The body is too large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class UriTooLong(Problem):
    """The URL is longer than this server reads."""

    slug, title, status = "uri-too-long", "The URL is too long", HTTPStatus.REQUEST_URI_TOO_LONG


class UnsupportedMediaType(Problem):
    """The body is not of a type that this resource reads."""

    slug, title = "unsupported-media-type", "The content type is not supported"
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class Invalid(Problem):
    """Fields were refused; `errors` points at each."""

    slug, title, status = "invalid", "Some fields are not valid", HTTPStatus.UNPROCESSABLE_ENTITY


class TooManyRequests(Problem):
    """A limit is used up until `Retry-After` seconds have passed."""

    slug, title, status = "too-many-requests", "Too many requests", HTTPStatus.TOO_MANY_REQUESTS
    default_headers = _RETRY_SOON


class HeadersTooLarge(Problem):
    """The headers are larger than this server reads."""

    slug, title = "headers-too-large", "The headers are too large"
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class Internal(Problem):
    """A bug of ours. The request id finds it in our logs."""

    slug, title = "internal", "Something went wrong on our side"
    status = HTTPStatus.INTERNAL_SERVER_ERROR


class ServiceBusy(Problem):
    """The service cannot answer now; nothing has changed, and the request may be repeated."""

    slug, title, status = "busy", "The service is busy", HTTPStatus.SERVICE_UNAVAILABLE
    default_headers = _RETRY_SOON


class QueryTimeout(ServiceBusy):
    """The question took longer than the database may spend on one: ask for less."""

    slug, title = "query-timeout", "The question took too long"


class OutcomeUnknown(Problem):
    """The connection broke while committing: the change may or may not have happened.

    The same request with the same `Idempotency-Key` finds out (REL-03).
    """

    slug, title = "outcome-unknown", "It is not known whether this happened"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    default_headers = _RETRY_SOON
