"""Whether the process lives, has started and may be sent requests (REL-16), and its metrics."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response

from app.core import metrics
from app.readiness import Readiness
from app.security.guards import Public, runtime_of

routes = APIRouter(include_in_schema=False)


@routes.get("/livez", dependencies=[Public])
async def livez() -> dict[str, str]:
    """The event loop answers; nothing else is asked."""
    return {"status": "ok"}


@routes.get("/startupz", dependencies=[Public])
async def startupz(request: Request, response: Response) -> dict[str, str]:
    """Everything was checked and the process has begun to serve."""
    if request.app.state.has_started:
        return {"status": "ok"}
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return {"status": "fail"}


@routes.get("/readyz", dependencies=[Public])
async def readyz(request: Request, response: Response) -> dict[str, Any]:
    """Whether to send it requests: `ok`, `degraded` (do), or `fail` (503, do not)."""
    readiness: Readiness = request.app.state.readiness
    report = await readiness.report()
    if not report.is_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    authorization = request.headers.get("authorization")
    is_operator = runtime_of(request).settings.is_operator(authorization)
    return report.shown(to_operator=is_operator)


@routes.get("/metrics", dependencies=[Public])
async def read_metrics() -> Response:
    """The metrics of this process, without ids and without PHI (REL-17)."""
    return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
