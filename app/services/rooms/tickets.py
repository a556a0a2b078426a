"""Tickets: leave to open one live connection, once, within half a minute (WS-01).

A browser cannot send a token with a handshake other than in the URL, where logs would keep it.
So a token is exchanged for a ticket, which is stored as a digest, belongs to one sign-in and to
the origin that asked for it, and is used up by the first handshake that offers it.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.core.problems import Forbidden, Unauthenticated
from app.models.rooms import RealtimeTicket
from app.runtime import Runtime
from app.schemas.rooms import TICKET_SECONDS, TicketRead
from app.security import secrets
from app.security.principal import Principal
from app.security.scopes import ScopeSet
from app.security.tokens import AccessClaims
from app.services.rooms import lanes

_OWNER: Final = "select organization_of_realtime_ticket($1)"
_ENTER: Final = "select enter_organization($1)"
_USE: Final = """
    update realtime_ticket t set used_at = $2
    from sign_in s join client c on c.id = s.client_id
    where t.digest = $1 and t.used_at is null and t.expires_at > $2
        and s.organization_id = t.organization_id and s.id = t.sign_in_id
    returning t.sign_in_version, t.origin, t.scope, s.id, s.account_id, s.client_id, s.acr,
        s.amr, s.authenticated_at, c.is_native
"""


class ForeignOrigin(Forbidden):
    """The handshake comes from another origin than the ticket, or from one that is not known."""

    slug, title = "foreign-origin", "This origin may not connect"


@dataclass(frozen=True, slots=True)
class Admission:
    """What a ticket was good for: whose connection it opens, and from where."""

    claims: AccessClaims
    origin: str | None
    is_native: bool

    def check_origin(self, origin: str | None, allowed: frozenset[str]) -> None:
        """Raise ForeignOrigin unless the handshake's origin is the ticket's, and is known.

        Only an application that is no browser's may come without one (WS-02).
        """
        if origin != self.origin:
            raise ForeignOrigin
        if origin is None and not self.is_native:
            raise ForeignOrigin
        if origin is not None and origin not in allowed:
            raise ForeignOrigin


async def issue_ticket(db: AsyncSession, principal: Principal, origin: str | None) -> TicketRead:
    """Give the caller a ticket that carries what their token carries, and no more."""
    ticket, digest = secrets.new_secret()
    db.add(
        RealtimeTicket(
            id=new_id(),
            sign_in_id=principal.sign_in_id,
            sign_in_version=principal.sign_in_version,
            digest=digest,
            origin=origin,
            scope=str(principal.scope),
            expires_at=clock.wall() + timedelta(seconds=TICKET_SECONDS),
        )
    )
    await db.flush()
    return TicketRead(ticket=ticket, expires_in=TICKET_SECONDS)


async def use_ticket(runtime: Runtime, ticket: str) -> Admission:
    """Use a ticket up, in a transaction of its own, so that no later failure gives it back.

    Raises Unauthenticated for one that never was, was used, or has expired.
    """
    digest, now = secrets.digest(ticket), clock.wall()
    async with lanes.entered(runtime, None) as lane:
        organization_id = await lane.fetchval(_OWNER, digest)
        if organization_id is None:
            raise Unauthenticated
        await lane.execute(_ENTER, organization_id)
        row = await lane.fetchrow(_USE, digest, now)
    if row is None:
        raise Unauthenticated
    claims = AccessClaims(
        sub=row["account_id"],
        organization_id=organization_id,
        sign_in_id=row["id"],
        version=row["sign_in_version"],
        client_id=row["client_id"],
        scope=ScopeSet.parse(row["scope"]),
        auth_time=row["authenticated_at"],
        acr=row["acr"],
        amr=tuple(row["amr"]),
        jti=new_id(),
        iat=now,
        exp=now,
    )
    return Admission(claims, row["origin"], row["is_native"])
