"""Everything that can go wrong, said once (RFC 9457).

A problem is raised by the service that meets it and rendered here as `application/problem+json`.
Its `type` resolves to a page of our own documentation, its `code` is stable, and its further
members are ids, states and counts. What a client sent is never sent back or logged: it may be
the most private sentence of somebody's life, and an error is the easiest way to leak it.

Beside the standard problems stand the translations that keep a 500 a bug: of what the framework
refuses (`validation`, `handlers`), and of what the database refuses (`database`).
"""

from app.core.problems.base import (
    MEDIA_TYPE,
    FieldError,
    Problem,
    ProblemMember,
    problem_response,
    registered,
    render,
)
from app.core.problems.database import constraint_problem, from_database_error
from app.core.problems.documentation import describe, problems
from app.core.problems.handlers import install, internal
from app.core.problems.standard import (
    BadRequest,
    Conflict,
    ContentTooLarge,
    Forbidden,
    HeadersTooLarge,
    InsufficientScope,
    Internal,
    Invalid,
    InvalidCursor,
    InvalidJson,
    MethodNotAllowed,
    MisdirectedHost,
    NotAcceptable,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    PreconditionRequired,
    QueryTimeout,
    RequestTimeout,
    ServiceBusy,
    TooManyRequests,
    Unauthenticated,
    UnsupportedMediaType,
    UriTooLong,
)
from app.core.problems.validation import invalid

__all__ = [
    "MEDIA_TYPE",
    "BadRequest",
    "Conflict",
    "ContentTooLarge",
    "FieldError",
    "Forbidden",
    "HeadersTooLarge",
    "InsufficientScope",
    "Internal",
    "Invalid",
    "InvalidCursor",
    "InvalidJson",
    "MethodNotAllowed",
    "MisdirectedHost",
    "NotAcceptable",
    "NotFound",
    "OutcomeUnknown",
    "PreconditionFailed",
    "PreconditionRequired",
    "Problem",
    "ProblemMember",
    "QueryTimeout",
    "RequestTimeout",
    "ServiceBusy",
    "TooManyRequests",
    "Unauthenticated",
    "UnsupportedMediaType",
    "UriTooLong",
    "constraint_problem",
    "describe",
    "from_database_error",
    "install",
    "internal",
    "invalid",
    "problem_response",
    "problems",
    "registered",
    "render",
]
