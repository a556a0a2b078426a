"""Finds the route of a request by its first words, instead of trying every one.

The framework tries route after route, which costs as much as a query once there are a hundred.
The table stands before all of them; what it does not know (a wrong method, a foreign path) goes
the framework's way and gets the framework's answer.
"""

from collections.abc import Iterable
from typing import Final

from fastapi.routing import APIRoute
from opentelemetry import trace
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send
from typing_extensions import override

_FOUND: Final = "stepwell.route"
_TRACED: Final = "fastapi.telemetry"
_WORDS: Final = 2


class RouteTable(BaseRoute):
    """A route of routes, by method, length and the first two words of the path."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes: dict[tuple[str, int, str], list[APIRoute]] = {}
        for route in routes:
            # A parameter among the first words is another word in each request.
            if isinstance(route, APIRoute) and "{" not in _key("", route.path)[2]:
                for method in route.methods or ():
                    self._routes.setdefault(_key(method, route.path), []).append(route)

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http":
            for route in self._routes.get(_key(scope["method"], scope["path"]), ()):
                match, found = route.matches(scope)
                if match is Match.FULL:
                    found[_FOUND] = route
                    return match, found
        return Match.NONE, {}

    @override
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        route: APIRoute = scope[_FOUND]
        if _TRACED in scope:
            # The framework names the span of a route that it has found itself.
            span = trace.get_current_span()
            span.update_name(f"{scope['method']} {route.path}")
            span.set_attribute("http.route", route.path)
        await route.handle(scope, receive, send)


def _key(method: str, path: str) -> tuple[str, int, str]:
    """A method, how many words the path has, and its first two: `/v1/plans/...`."""
    words = path.split("/", _WORDS + 1)
    return method, path.count("/"), "/".join(words[: _WORDS + 1])
