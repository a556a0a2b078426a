"""Everything about a handshake is checked before it is accepted (WS-01, WS-02)."""

import re
from typing import Final

from starlette.websockets import WebSocket

from app.core.problems import BadRequest, ServiceBusy, Unauthenticated
from app.realtime.connection import SUBPROTOCOL, Socket
from app.realtime.hub import Hub
from app.realtime.transactions import opened
from app.runtime import Runtime
from app.security.guards import Opening, allow, request_id_of, source_of
from app.security.permissions import Permission
from app.services.rooms import standing, tickets

_OFFER: Final = re.compile(r"stepwell\.ticket\.([A-Za-z0-9_-]{43})")


class NoQueryHere(BadRequest):
    """The URL of the live connection has no query: a secret in it would be logged on its way."""

    slug, title = "no-query-here", "The live connection takes no query"


class UnknownSubprotocol(BadRequest):
    """The client does not offer `stepwell.v1`."""

    slug, title = "unknown-subprotocol", "Offer the subprotocol stepwell.v1"


async def admit(websocket: WebSocket, hub: Hub, runtime: Runtime) -> None:
    """Judge a handshake, and serve its socket until it is closed.

    Raises NoQueryHere, UnknownSubprotocol, Unauthenticated, ForeignOrigin, Forbidden,
    TooManyRequests or ServiceBusy, each of which refuses the handshake.
    """
    with hub.handshake(websocket.client.host if websocket.client else ""):
        ticket = _ticket_of(websocket)
        origin = websocket.headers.get("origin")
        admission = await tickets.use_ticket(runtime, ticket)
        admission.check_origin(origin, _origins(runtime))
        opening = Opening(admission.claims, request_id_of(websocket), source_of(websocket))
        async with opened(opening, runtime) as lane:
            principal = allow(lane.info["principal"], Permission.REALTIME_CONNECT)
            position = await standing.position_of(lane)
        if hub.is_draining:
            raise ServiceBusy
        await Socket(websocket, hub, runtime, opening, principal, origin).serve(position)


def _ticket_of(websocket: WebSocket) -> str:
    if websocket.scope["query_string"]:
        raise NoQueryHere
    offered: list[str] = websocket.scope["subprotocols"]
    if SUBPROTOCOL not in offered:
        raise UnknownSubprotocol
    found = [match[1] for match in map(_OFFER.fullmatch, offered) if match]
    if len(found) != 1 or len(offered) != 2:
        raise Unauthenticated
    return found[0]


def _origins(runtime: Runtime) -> frozenset[str]:
    """Origins of browser apps, and our own, from which the documentation is read."""
    return frozenset((*runtime.settings.origins, runtime.settings.issuer))
