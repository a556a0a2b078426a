"""What a problem is, how it is rendered, and which ones this process knows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, ClassVar, Final
from uuid import UUID

from starlette.responses import Response
from typing_extensions import override

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
    | Sequence[Mapping[str, object]]
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


class Problem(Exception):  # the word of RFC 9457, and of every client
    """A request that cannot be answered as asked.

    A subclass names itself with `slug`, `title` and `status`, and stands beside the service that
    raises it. Members are named freely, but hold ids, states and counts only, or what we publish
    ourselves: the crisis card is a list of objects.
    """

    slug: ClassVar[str] = "problem"
    title: ClassVar[str] = "The request cannot be answered as asked"
    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    default_headers: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @override
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
