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
            )
            self._by_route.setdefault(id(context.original_route), []).append(known)
            self._all.append(known)
        self._other_bodies = [known for known in self._all if known.media_types]

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


def _body_params(dependant: Any) -> Iterator[Any]:  # noqa: ANN401  # FastAPI's own
    yield from dependant.body_params
    for inner in dependant.dependencies:
        yield from _body_params(inner)
