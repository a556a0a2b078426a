"""The feed of events."""

from typing import Annotated

from fastapi import Depends, Query

from app.core.problems.documentation import problems
from app.routers.route import router
from app.schemas.events import EventFeed
from app.schemas.types import Limit, QueryPosition
from app.security.guards import ReadLane, RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import events_feed

routes = router("/v1/events", "events")

EventReader = Annotated[Principal, Depends(RequiresInLane(Permission.EVENT_READ))]


@routes.get("", responses=problems(events_feed.PositionUnknown))
async def list_events(
    lane: ReadLane,
    _: EventReader,
    after: Annotated[
        QueryPosition, Query(description="`next_after` of the last answer; 0 from the beginning.")
    ] = 0,
    limit: Annotated[Limit, Query(description="How many events at most.")] = 25,
) -> EventFeed:
    """Read what happened, in order. Nothing is ever inserted before what you have read."""
    return await events_feed.read_events(lane, after=after, limit=limit)
