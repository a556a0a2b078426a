"""Sessions of care: the list, the door, the end, and who was there."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Response

from app.core.problems import InvalidCursor, NotFound, problems
from app.routers.pages import FIRST, PageQuery, PageRequest
from app.routers.route import router, tagged
from app.schemas.attendance import AttendanceRead, EvidenceRead, PresenceStatement
from app.schemas.sessions import SessionDoor, SessionPage, SessionRead
from app.schemas.types import EARLIEST, Instant
from app.security.guards import Database, ReadLane, Requires, RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import attendance, sessions

routes = router("/v1/sessions", "sessions")

SessionReader = Annotated[Principal, Depends(RequiresInLane(Permission.SESSION_READ))]
SessionManager = Annotated[Principal, Depends(Requires(Permission.SESSION_MANAGE))]
SessionJoiner = Annotated[Principal, Depends(Requires(Permission.SESSION_JOIN))]
AttendanceReader = Annotated[Principal, Depends(RequiresInLane(Permission.ATTENDANCE_READ))]
AttendanceWitness = Annotated[Principal, Depends(Requires(Permission.ATTENDANCE_STATE))]


@routes.get("", responses=problems(InvalidCursor))
async def list_sessions(
    page: PageQuery,
    lane: ReadLane,
    principal: SessionReader,
    since: Annotated[
        Instant | None, Query(alias="from", description="Leave out what has ended by then.")
    ] = None,
    until: Annotated[
        Instant | None, Query(alias="to", description="Leave out what starts then or later.")
    ] = None,
) -> SessionPage:
    """List sessions in the order in which they start: yours, or all for coordinators."""
    found = await sessions.list_sessions(
        lane, principal, since=since, until=until, after=_after(page), limit=page.limit
    )
    shown = found[: page.limit]
    more = len(found) > page.limit
    return SessionPage(
        items=list(shown),
        next_cursor=page.next_cursor(shown[-1].starts_at, shown[-1].id) if more else None,
    )


@routes.get("/{session_id}", responses=problems(NotFound))
async def read_session(
    session_id: UUID, response: Response, lane: ReadLane, principal: SessionReader
) -> SessionRead:
    """Read one session."""
    return tagged(response, await sessions.read_session(lane, principal, session_id))


@routes.post(
    "/{session_id}/cancel",
    responses=problems(NotFound, sessions.SessionCanceled, sessions.SessionOver),
)
async def cancel_session(
    session_id: UUID, response: Response, db: Database, principal: SessionManager
) -> SessionRead:
    """Cancel a session that has not ended; every place in it is given back."""
    canceled = await sessions.cancel_session(db, principal, session_id)
    return tagged(response, SessionRead.model_validate(canceled))


@routes.post(
    "/{session_id}/join",
    responses=problems(
        NotFound,
        sessions.RemovedFromSession,
        sessions.SessionCanceled,
        sessions.SessionNotOpen,
        sessions.SessionOver,
    ),
)
async def join_session(session_id: UUID, db: Database, principal: SessionJoiner) -> SessionDoor:
    """Enter a session's room, from ten minutes before the start until the end."""
    return await sessions.join_session(db, principal, session_id)


@routes.get("/{session_id}/attendance", responses=problems(NotFound))
async def read_attendance(
    session_id: UUID, lane: ReadLane, principal: AttendanceReader
) -> AttendanceRead:
    """Read the minutes that are proven: everybody's for staff, your own as a participant."""
    return await attendance.read_attendance(lane, principal, session_id)


@routes.post(
    "/{session_id}/attendance",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, attendance.InvalidPresence),
)
async def state_presence(
    session_id: UUID, body: PresenceStatement, db: Database, principal: AttendanceWitness
) -> EvidenceRead:
    """State that a participant was present, as one who leads the session."""
    stated = await attendance.state_presence(db, principal, session_id, body)
    return EvidenceRead.model_validate(stated)


def _after(page: PageRequest) -> tuple[datetime, UUID]:
    match page.after():
        case None:
            return EARLIEST, FIRST
        case (datetime() as start, UUID() as seen):
            return start, seen
        case _:
            raise InvalidCursor
