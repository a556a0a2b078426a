"""One request: what was asked, and what has been answered so far."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from starlette.types import Message, Scope, Send

from app.core import logging, metrics
from app.core.edge.requests import Head
from app.core.edge.responses import Decoration, Headers, headers_of
from app.core.edge.routes import RouteIndex
from app.core.problems import ContentTooLarge, MethodNotAllowed, NotFound, Problem, render

_log = logging.get_logger("edge")
_PLAIN_REFUSALS: Final[dict[int, type[Problem]]] = {
    int(problem.status): problem for problem in (NotFound, MethodNotAllowed, ContentTooLarge)
}
# After these, what is left of the request is of no use: it would be read as the next one.
_CLOSING: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    }
)


class Exchange:
    """One request and what has been answered to it so far."""

    __slots__ = (
        "_decoration",
        "_replaced",
        "_routes",
        "_send",
        "head",
        "inner",
        "is_read",
        "scope",
        "status",
    )

    def __init__(
        self,
        scope: Scope,
        head: Head,
        send: Send,
        decoration: Decoration,
        routes: Callable[[], RouteIndex],
    ) -> None:
        self.scope = scope
        # The server looks at its own scope to see that an answer to HEAD has no body.
        self.inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        self.head = head
        self.status = 0
        self.is_read = False
        self._routes = routes
        self._decoration = decoration
        self._send = send
        self._replaced: Problem | None = None

    async def send(self, message: Message) -> None:
        """Pass a message of the application on, with the edge's headers."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif self._replaced is None:
            if self.inner is not self.scope:
                message = {**message, "body": b""}
            await self._send(message)

    async def _start(self, message: Message) -> None:
        status = message["status"]
        headers: Headers = list(message.get("headers", ()))
        if status >= HTTPStatus.BAD_REQUEST:
            if status in _PLAIN_REFUSALS and _is_plain(headers):
                # Starlette says it in plain text; its body is dropped, and `finish` answers.
                self._replaced = _PLAIN_REFUSALS[status]()
                return
            if status == HTTPStatus.METHOD_NOT_ALLOWED:
                headers = self._with_allow(headers)
        self.status = status
        self._decoration.apply(headers, self.head.request_id, self.head.origin)
        await self._send({**message, "headers": headers})

    async def finish(self) -> None:
        """Send the problem that takes the place of an answer in plain text."""
        if self._replaced is not None:
            problem, self._replaced = self._replaced, None
            await self.refuse(problem)

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless an answer has begun: then only a cut is true."""
        metrics.REFUSED.labels(problem.code()).inc()
        if self.status:
            _log.error("response_cut", status=self.status, problem=problem.code())
            return
        body = render(problem, self.head.request_id)
        headers = headers_of(problem, body)
        if problem.status in _CLOSING:
            headers.append((b"connection", b"close"))
        self._replaced = None
        await self.send(
            {"type": "http.response.start", "status": int(problem.status), "headers": headers}
        )
        await self.send({"type": "http.response.body", "body": body})

    async def options(self) -> None:
        """Say which methods a path answers, and to a browser whether it may use them."""
        routes = self._routes()
        methods = ", ".join(sorted(routes.allowed(self.scope["path"])))
        if not methods:
            raise NotFound
        headers: Headers = [(b"allow", methods.encode("ascii"))]
        if self.head.is_preflight:
            headers += self._decoration.preflight(self.head.origin, methods)
        await self.send({"type": "http.response.start", "status": 204, "headers": headers})
        await self.send({"type": "http.response.body", "body": b""})

    def _with_allow(self, headers: Headers) -> Headers:
        """Each route of a path knows its own methods only; a client wants them all."""
        methods = self._routes().allowed(self.scope["path"])
        if not methods:
            return headers
        kept = [pair for pair in headers if pair[0] != b"allow"]
        return [*kept, (b"allow", ", ".join(sorted(methods)).encode("ascii"))]


def _is_plain(headers: Headers) -> bool:
    content_type = next((value for name, value in headers if name == b"content-type"), b"")
    return not content_type or content_type.startswith(b"text/plain")
