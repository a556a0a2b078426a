"""Whether the process lives, has started and may be sent requests (REL-16), and its metrics."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from app.core import metrics
from app.core.database import Connections, connection_lost
from app.security.guards import Public, runtime_of

_PATIENCE_SECONDS: Final = 1.0

routes = APIRouter(include_in_schema=False)
_leaving: set[asyncio.Task[bool]] = set()


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
    asking = asyncio.create_task(_ask(runtime_of(request).connections))
    await asyncio.wait({asking}, timeout=_PATIENCE_SECONDS)
    if asking.done():
        return asking.result()
    # To take leave of a server that does not answer takes time, which the caller does not have.
    _leaving.add(asking)
    asking.add_done_callback(_leaving.discard)
    asking.cancel()
    return False


async def _ask(connections: Connections) -> bool:
    try:
        async with connections.lane() as lane:
            return bool(await lane.fetchval("select 1"))
    except Exception as error:
        if not connection_lost(error):
            raise
        return False


def _status(response: Response, *, ready: bool) -> dict[str, Any]:
    if not ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return {"status": "ok" if ready else "fail"}
