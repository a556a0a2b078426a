"""The worker's own port: whether it lives, whether it does its work, and its metrics (REL-16, 17).

A worker serves nobody, so that what it says here is for whoever restarts it and whoever watches.
It answers from the loop that does the work: when that loop stands still, so does the answer.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Final

import uvicorn
from prometheus_client import make_asgi_app
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from app.core import metrics
from app.readiness import Readiness
from app.serving import Heads
from app.settings import Misconfigured, Settings

_CALLERS_AT_ONCE: Final = 32


class Probes:
    """Answers `/livez`, `/readyz` and `/metrics`, and knows nothing else."""

    def __init__(self, readiness: Readiness, settings: Settings) -> None:
        self._readiness = readiness
        self._settings = settings
        self._metrics: ASGIApp = make_asgi_app(metrics.REGISTRY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        match scope["path"]:
            case "/metrics":
                await self._metrics(scope, receive, send)
            case "/livez":
                await JSONResponse({"status": "ok"})(scope, receive, send)
            case "/readyz":
                await (await self._read_readiness(Request(scope)))(scope, receive, send)
            case _:
                await JSONResponse({"status": "unknown"}, 404)(scope, receive, send)

    async def _read_readiness(self, request: Request) -> JSONResponse:
        report = await self._readiness.report()
        is_operator = self._settings.is_operator(request.headers.get("authorization"))
        return JSONResponse(report.shown(to_operator=is_operator), 200 if report.is_ready else 503)

    @contextlib.asynccontextmanager
    async def serving(self, port: int | None) -> AsyncIterator[None]:
        """Answer on a port while the worker works; on none without. Raises Misconfigured."""
        if port is None:
            yield
            return
        with _listening(self._settings.host, port) as listener:
            server = _Server(_configuration(self))
            running = asyncio.create_task(server.serve([listener]), name="probes")
            try:
                yield
            finally:
                server.should_exit = True
                await running


class _Server(uvicorn.Server):
    """A server that leaves signals to the worker."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _configuration(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Heads,
        ws="none",
        lifespan="off",
        interface="asgi3",
        server_header=False,
        access_log=False,
        log_config=None,
        limit_concurrency=_CALLERS_AT_ONCE,
        timeout_graceful_shutdown=1,
    )


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise Misconfigured(
            [f"STEPWELL_WORKER_METRICS_PORT cannot be listened on: {error.strerror}."]
        ) from None
