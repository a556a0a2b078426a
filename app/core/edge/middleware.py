"""The middleware itself: it counts, checks, hands over, and answers for what went wrong."""

import asyncio
from time import perf_counter
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core import clock, logging, metrics
from app.core.edge.config import EdgeConfig
from app.core.edge.exchange import Exchange
from app.core.edge.requests import BodyRules, HeadRules, read_head
from app.core.edge.responses import Decoration
from app.core.edge.routes import UNMATCHED, RouteIndex
from app.core.edge.sockets import Socket
from app.core.problems import Problem, RequestTimeout, ServiceBusy
from app.core.problems.handlers import problem_of

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLOSED_BY_CLIENT: Final = 499


class Edge:
    """ASGI middleware; see the package. Add it last, so that it stands outermost."""

    def __init__(self, app: ASGIApp, config: EdgeConfig) -> None:
        self.app = app
        self.config = config
        self.in_flight = 0
        self.head_rules = HeadRules(config)
        self.body_rules = BodyRules(config)
        self.decoration = Decoration(config)
        self._deadline = config.deadline.total_seconds()
        self._requests = metrics.Requests()
        self._routes: RouteIndex | None = None
        metrics.IN_FLIGHT.set_function(lambda: self.in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any kind."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._connect(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def routes(self, scope: Scope) -> RouteIndex:
        """The index of the application's routes, built with its first request."""
        if self._routes is None:
            self._routes = RouteIndex(scope["app"].routes)
        return self._routes

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        head = read_head(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = head.request_id
        exchange = Exchange(scope, head, send, self.decoration, lambda: self.routes(scope))
        offset = clock.set_organization_offset(clock.ZERO)
        self.in_flight += 1
        try:
            await self._answer(exchange, receive)
        finally:
            self.in_flight -= 1
            clock.reset_organization_offset(offset)
            self._record(exchange, perf_counter() - started)

    async def _answer(self, exchange: Exchange, receive: Receive) -> None:
        """Let the application answer, within the limits and the deadline."""
        deadline = asyncio.timeout(self._deadline)
        try:
            async with deadline:
                await self._hand_over(exchange, receive)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  # nothing may leave without an answer
            problem: Problem
            if isinstance(error, TimeoutError) and deadline.expired():
                problem = ServiceBusy() if exchange.is_read else RequestTimeout()
            else:
                problem = problem_of(error)
            await exchange.refuse(problem)

    async def _hand_over(self, exchange: Exchange, receive: Receive) -> None:
        scope, head = exchange.scope, exchange.head
        config = self.config
        if (
            self.in_flight > config.max_in_flight
            and scope["path"] not in config.exempt_from_shedding
        ):
            raise ServiceBusy
        self.head_rules.check(scope, head)
        if scope["method"] == "OPTIONS":
            await exchange.options()
            return
        if scope["query_string"]:
            self.head_rules.check_query(scope, exchange.inner["method"], self.routes(scope))
        if self.body_rules.expects(scope, head):
            receive = await self.body_rules.read(scope, head, receive, self.routes(scope))
        exchange.is_read = True
        await self.app(exchange.inner, receive, exchange.send)
        await exchange.finish()

    def _record(self, exchange: Exchange, duration: float) -> None:
        """Count the request, and write its line: no path, no query, nothing that was sent."""
        scope = exchange.inner
        method = exchange.scope["method"]
        if method not in _METHODS:
            method = "OTHER"
        route = self.routes(scope).template(scope) if "route" in scope else UNMATCHED
        status = exchange.status or _CLOSED_BY_CLIENT
        self._requests.observe(route, method, status, duration)
        state = scope["state"]
        logging.access(
            route, method, status, duration, exchange.head.request_id, state.get("organization_id")
        )

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a handshake like any request's head, and answer for a handler that fails."""
        head = read_head(scope)
        scope.setdefault("state", {})["request_id"] = head.request_id
        socket = Socket(self.decoration, head, receive, send)
        offset = clock.set_organization_offset(clock.ZERO)
        try:
            self.head_rules.check(scope, head)
            await self.app(scope, socket.receive, socket.send)
        except Exception as error:  # noqa: BLE001  # nothing may end without a code
            await socket.refuse(problem_of(error), scope)
        finally:
            clock.reset_organization_offset(offset)
