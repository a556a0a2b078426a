"""The live connection: a ticket for it, and the socket itself."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request, WebSocket

from app.realtime import handshake
from app.realtime.hub import hub_of
from app.routers.route import router
from app.schemas.rooms import TicketRead
from app.security.guards import Database, Public, Requires, runtime_of
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.rooms import tickets

routes = router("/v1/realtime", "realtime")

Connecting = Annotated[Principal, Depends(Requires(Permission.REALTIME_CONNECT))]


@routes.post("/tickets", status_code=HTTPStatus.CREATED)
async def issue_realtime_ticket(
    request: Request, db: Database, principal: Connecting
) -> TicketRead:
    """Exchange the access token for a ticket that opens one live connection within 30 seconds."""
    return await tickets.issue_ticket(db, principal, request.headers.get("origin"))


# Its own secret opens it, which is checked before the handshake is accepted.
@routes.websocket("", dependencies=[Public])
async def connect_realtime(websocket: WebSocket) -> None:
    """Carry frames of `stepwell.v1`; see `openapi/asyncapi.yaml`."""
    await handshake.admit(websocket, hub_of(websocket), runtime_of(websocket))
