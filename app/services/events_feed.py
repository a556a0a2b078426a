"""The feed of events: everything that happened in the organization, in an order without gaps.

The worker gives positions after the commit, under a lock (`app.jobs.sequencer`), so whoever has
read up to a position has missed nothing before it. The feed carries ids and no participant: what
an event is about is asked of the API, where the access is decided and recorded.
"""

from typing import Final

from sqlalchemy import BigInteger, bindparam, func, select

from app.core.database import Lane, Query, paged
from app.core.problems import BadRequest
from app.models.events import Event, EventHead
from app.schemas.events import EventFeed, EventRead

_AFTER: Final = Query(
    paged(
        select(
            Event.position,
            Event.id,
            Event.type,
            Event.subject,
            Event.subject_id,
            Event.subject_version.label("version"),
            Event.actor_id,
            Event.at,
        )
        .where(Event.position > bindparam("after", type_=BigInteger))
        .order_by(Event.position)
    )
)


_LAST: Final = Query(select(func.coalesce(func.max(EventHead.position), 0)))


class PositionUnknown(BadRequest):
    """No event has that position yet. It is another server's, or from before a restore."""

    slug, title = "position-unknown", "No event has this position yet"


async def read_events(lane: Lane, *, after: int, limit: int) -> EventFeed:
    """What has happened after a position, oldest first.

    Raises PositionUnknown: whoever reads on from there would miss all that comes before it.
    """
    rows = await lane.all(_AFTER, after=after, limit=limit + 1)
    if not rows and after > await lane.value(_LAST):
        raise PositionUnknown
    items = [EventRead.model_validate(dict(row)) for row in rows[:limit]]
    return EventFeed(
        items=items,
        next_after=items[-1].position if items else after,
        has_more=len(rows) > limit,
    )
