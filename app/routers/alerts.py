"""Alerts: safety concerns with a clock, and what people do about them."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Query, Response

from app.core.problems import Invalid, InvalidCursor, NotFound, problems
from app.routers.pages import PageQuery, PageRequest
from app.routers.route import router, tagged
from app.schemas.alerts import AlertNote, AlertPage, AlertRead, DispositionCreate
from app.security.guards import Database, ReadLane, Requires, RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import alerts

routes = router("/v1/alerts", "alerts")

AlertReader = Annotated[Principal, Depends(RequiresInLane(Permission.ALERT_READ))]
AlertHandler = Annotated[Principal, Depends(Requires(Permission.ALERT_HANDLE))]
OfParticipant = Annotated[UUID | None, Query(description="Those about one participant only.")]

_NO_NOTE: Final = AlertNote()
_STEP_PROBLEMS: Final = problems(NotFound, alerts.AlertStateConflict)


@routes.get("", responses=problems(InvalidCursor))
async def list_alerts(
    page: PageQuery,
    lane: ReadLane,
    principal: AlertReader,
    participant_id: OfParticipant = None,
) -> AlertPage:
    """List the alerts that you may see.

    What nobody has seen yet comes first, then what is being handled, then what was answered;
    each by the instant until which somebody had to acknowledge it.
    """
    found = await alerts.list_alerts(
        lane, principal, participant_id, after=_place(page), limit=page.limit
    )
    shown = found[: page.limit]
    more = len(found) > page.limit
    return AlertPage(
        items=list(shown),
        next_cursor=page.next_cursor(*alerts.place_of(shown[-1])) if more else None,
    )


@routes.get("/{alert_id}", responses=problems(NotFound))
async def read_alert(
    alert_id: UUID, response: Response, lane: ReadLane, principal: AlertReader
) -> AlertRead:
    """Read one alert, with everything that happened to it."""
    return tagged(response, await alerts.read_alert(lane, principal, alert_id))


@routes.post("/{alert_id}/acknowledge", responses=_STEP_PROBLEMS)
async def acknowledge_alert(
    alert_id: UUID,
    response: Response,
    db: Database,
    principal: AlertHandler,
    body: AlertNote = _NO_NOTE,
) -> AlertRead:
    """Say that you have seen it; nobody further is called."""
    return tagged(response, await alerts.acknowledge(db, principal, alert_id, body))


@routes.post("/{alert_id}/assess", responses=_STEP_PROBLEMS)
async def assess_alert(
    alert_id: UUID,
    response: Response,
    db: Database,
    principal: AlertHandler,
    body: AlertNote = _NO_NOTE,
) -> AlertRead:
    """Say that you are assessing the participant."""
    return tagged(response, await alerts.assess(db, principal, alert_id, body))


@routes.post(
    "/{alert_id}/disposition",
    responses=problems(NotFound, alerts.AlertStateConflict, Invalid),
)
async def disposition_alert(
    alert_id: UUID,
    body: DispositionCreate,
    response: Response,
    db: Database,
    principal: AlertHandler,
) -> AlertRead:
    """Answer it in writing: your formulation, the decision, and when to look again."""
    return tagged(response, await alerts.disposition(db, principal, alert_id, body))


@routes.post(
    "/{alert_id}/close",
    responses=problems(NotFound, alerts.AlertStateConflict, alerts.SupervisorNeeded),
)
async def close_alert(
    alert_id: UUID,
    response: Response,
    db: Database,
    principal: AlertHandler,
    body: AlertNote = _NO_NOTE,
) -> AlertRead:
    """End it. After high or imminent risk a supervisor does, who did not answer it."""
    return tagged(response, await alerts.close(db, principal, alert_id, body))


def _place(page: PageRequest) -> alerts.Place | None:
    match page.after():
        case None:
            return None
        case (int() as rank, datetime() as acknowledge_by, UUID() as alert_id):
            return rank, acknowledge_by, alert_id
        case _:
            raise InvalidCursor
