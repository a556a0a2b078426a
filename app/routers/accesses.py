"""Who has looked at a participant's record."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from app.core.problems import InvalidCursor, NotFound, problems
from app.routers.pages import PageQuery, PageRequest
from app.routers.route import router
from app.schemas.accesses import AccessPage
from app.security.guards import Database, Requires
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import accesses

routes = router("/v1/participants", "participants")

AccessReader = Annotated[Principal, Depends(Requires(Permission.RECORD_ACCESS_READ))]


@routes.get("/{participant_id}/accesses", responses=problems(NotFound, InvalidCursor))
async def list_accesses(
    participant_id: UUID, page: PageQuery, db: Database, principal: AccessReader
) -> AccessPage:
    """List who looked at a record and who changed it, the latest first.

    Participants read their own; a privacy officer reads everybody's.
    """
    found = await accesses.list_accesses(
        db, principal, participant_id, before=_before(page), limit=page.limit
    )
    return AccessPage(
        items=list(found.shown),
        next_cursor=None if found.next_before is None else page.next_cursor(found.next_before),
    )


def _before(page: PageRequest) -> UUID | None:
    match page.after():
        case None:
            return None
        case (UUID() as seen,):
            return seen
        case _:
            raise InvalidCursor
