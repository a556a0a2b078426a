"""What the edge knows about the routes: their templates, their methods, their kinds of body.

FastAPI keeps included routers as a tree, and the route that a request has met lacks the tree's
prefix; so the index is built once, from the public iterator over the whole tree.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import params
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic import BaseModel
from starlette.routing import BaseRoute
from starlette.types import Scope

FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
UNMATCHED: Final = "unmatched"


@dataclass(frozen=True, slots=True)
class Known:
    """One route, as the edge sees it."""

    template: str
    pattern: re.Pattern[str]
    methods: frozenset[str]
    media_types: frozenset[str]
    query_names: frozenset[str] | None
    """Every query parameter it reads; None when that cannot be known."""


class RouteIndex:
    """Every HTTP route of an application."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._by_route: dict[int, list[Known]] = {}
        self._all: list[Known] = []
        for context in iter_route_contexts(routes):
            if context.path_format is None or context.methods is None:
                continue
            known = Known(
                context.path_format,
                context.path_regex,
                frozenset(context.methods),
                frozenset(_media_types(context)),
                _query_names(context),
            )
            self._by_route.setdefault(id(context.original_route), []).append(known)
            self._all.append(known)
        self._other_bodies = [known for known in self._all if known.media_types]
        # A parameter never holds a slash, so only routes with as many slashes can match.
        self._of_any_length = any(":path}" in known.template for known in self._all)
        self._by_length: dict[int, list[Known]] = {}
        for known in self._all:
            self._by_length.setdefault(known.template.count("/"), []).append(known)

    def template(self, scope: Scope) -> str:
        """The template of the route that a request has met, or `unmatched`."""
        candidates = self._by_route.get(id(scope.get("route")), ())
        if len(candidates) == 1:
            return candidates[0].template
        # The same router, included twice.
        return next((known.template for known in _on(candidates, scope["path"])), UNMATCHED)

    def allowed(self, path: str) -> frozenset[str]:
        """Every method that this path answers; empty when nothing is there."""
        methods = frozenset[str]().union(*(known.methods for known in _on(self._all, path)))
        if not methods:
            return methods
        return methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())

    def query_names(self, path: str, method: str) -> frozenset[str] | None:
        """The query parameters of an operation; None when any may be meant, or nothing is there."""
        candidates = self._all if self._of_any_length else self._by_length.get(path.count("/"), ())
        found = (known.query_names for known in _on(candidates, path) if method in known.methods)
        return next(found, None)

    def exists(self, path: str) -> bool:
        """Whether any route answers this path."""
        return any(True for _ in _on(self._all, path))

    def media_types(self, path: str, method: str) -> frozenset[str]:
        """The types other than JSON that this path reads; empty when it reads JSON."""
        found = (known for known in _on(self._other_bodies, path) if method in known.methods)
        return next((known.media_types for known in found), frozenset())


def _on(candidates: Iterable[Known], path: str) -> Iterator[Known]:
    return (known for known in candidates if known.pattern.match(path))


def _media_types(context: RouteContext) -> Iterator[str]:
    """What a route reads, when it is not JSON: by its form parameters, or as it documents."""
    dependant: Any = getattr(context, "dependant", None)
    fields = [field.field_info for field in _body_params(dependant)] if dependant else []
    if any(isinstance(field, params.File) for field in fields):
        yield MULTIPART
    elif any(isinstance(field, params.Form) for field in fields):
        yield FORM
    documented: Any = getattr(context, "openapi_extra", None) or {}
    content = documented.get("requestBody", {}).get("content", {})
    yield from (media_type for media_type in content if "json" not in media_type)


def _query_names(context: RouteContext) -> frozenset[str] | None:
    """What a route declares in its signature, or documents because it reads it itself."""
    dependant: Any = getattr(context, "dependant", None)
    if dependant is None:
        return None
    documented: Any = getattr(context, "openapi_extra", None) or {}
    names = {one["name"] for one in documented.get("parameters", ()) if one.get("in") == "query"}
    return frozenset(names.union(_declared_names(dependant)))


def _declared_names(dependant: Any) -> Iterator[str]:  # noqa: ANN401  # FastAPI's own
    for field in dependant.query_params:
        declared = field.field_info.annotation
        # A schema declares each of its fields, when it is the only parameter beside it.
        if len(dependant.query_params) == 1 and _is_schema(declared):
            yield from (one.alias or name for name, one in declared.model_fields.items())
        else:
            yield field.alias
    for inner in dependant.dependencies:
        yield from _declared_names(inner)


def _is_schema(declared: object) -> bool:
    return isinstance(declared, type) and issubclass(declared, BaseModel)


def _body_params(dependant: Any) -> Iterator[Any]:  # noqa: ANN401  # FastAPI's own
    yield from dependant.body_params
    for inner in dependant.dependencies:
        yield from _body_params(inner)
