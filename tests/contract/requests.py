"""Valid requests of an operation, to be sent as they are or broken in one place."""

from collections.abc import Mapping
from typing import Any, Final

from tests.contract.caller import Request, body_of, target
from tests.contract.operations import Operation
from tests.contract.people import Actor, Circle, slots_of
from tests.contract.things import body_for

NOBODY: Final = "01a20c9d-0000-7000-8000-000000000000"
"""The id of nothing."""


def path_of(operation: Operation, words: Mapping[str, str]) -> str:
    """The path with its parameters filled in."""
    path = operation.path
    for name, word in words.items():
        path = path.replace(f"{{{name}}}", word)
    return path


def path_words(operation: Operation, circle: Circle) -> dict[str, str]:
    """The circle's objects for the path's parameters."""
    return {s.name: circle.thing(s) for s in slots_of(operation) if s.place == "path"}


def query_words(operation: Operation, circle: Circle) -> dict[str, str]:
    """The circle's objects for the query's parameters; the others have defaults."""
    return {s.name: circle.thing(s) for s in slots_of(operation) if s.place == "query"}


def request_for(  # noqa: PLR0913 (each may be put in the place of the valid one)
    operation: Operation,
    circle: Circle,
    actor: Actor | None,
    *,
    words: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    body: Any = None,  # noqa: ANN401 (JSON)
) -> Request:
    """A request about a circle's objects, as somebody would send it, or as nobody would."""
    words = path_words(operation, circle) if words is None else words
    query = query_words(operation, circle) if query is None else query
    body = body_for(operation, circle) if body is None else body
    headers: dict[str, str] = {}
    content = b""
    if actor is not None:
        headers["Authorization"] = f"Bearer {actor.token()}"
    if operation.media_type is not None:
        headers["Content-Type"] = operation.media_type
        content = body_of(body, operation.media_type)
    if operation.needs_version:
        headers["If-Match"] = version_tag(actor, words)
    return Request(operation.method, target(path_of(operation, words), query), headers, content)


def version_tag(actor: Actor | None, words: Mapping[str, str]) -> str:
    """The ETag of the innermost object of a path that has a version."""
    versions = {} if actor is None else actor.clinic.versions
    found = [versions[word] for word in words.values() if word in versions]
    return f'"{found[-1] if found else 1}"'
