"""The problems of every API; those of one resource stand beside the service that raises them."""

from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from app.core.problems.base import Problem

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


class RequestTimeout(Problem):
    """The request did not arrive whole in the time that one may take."""

    slug, title, status = "request-timeout", "The request was too slow", HTTPStatus.REQUEST_TIMEOUT


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
