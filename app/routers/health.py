"""Whether the process lives, has started and may be sent requests (REL-16), and its metrics."""

import asyncio
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response

from app.core import metrics
from app.core.database import connection_lost
from app.security.guards import Public, runtime_of

routes = APIRouter(include_in_schema=False)


@routes.get("/livez", dependencies=[Public])
async def livez() -> dict[str, str]:
    """The event loop answers; nothing else is asked."""
    return {"status": "ok"}


@routes.get("/startupz", dependencies=[Public])
async def startupz(request: Request, response: Response) -> dict[str, str]:
    """Everything was checked and the process has begun to serve."""
    return _status(response, ready=request.app.state.has_started)


@routes.get("/readyz", dependencies=[Public])
async def readyz(request: Request, response: Response) -> dict[str, str]:
    """The database answers within a second and the process is not draining."""
    if request.app.state.is_draining:
        return _status(response, ready=False)
    return _status(response, ready=await _database_answers(request))


@routes.get("/metrics", dependencies=[Public])
async def read_metrics() -> Response:
    """The metrics of this process, without ids and without PHI (REL-17)."""
    return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _database_answers(request: Request) -> bool:
    try:
        async with asyncio.timeout(1), runtime_of(request).connections.lane() as lane:
            return bool(await lane.connection.fetchval("select 1"))
    except Exception as error:
        if not connection_lost(error):
            raise
        return False


def _status(response: Response, *, ready: bool) -> dict[str, Any]:
    if not ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return {"status": "ok" if ready else "fail"}
