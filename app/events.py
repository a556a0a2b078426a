"""Things that happened, written in the transaction that made them happen.

An event carries ids and a type, not a story: whoever hears of it asks the API, where the access
is decided and recorded. A trigger tells the listeners at the commit; positions are given by the
worker in the order in which commits became visible.
"""

from typing import Final
from uuid import UUID

from sqlalchemy import bindparam, insert

from app.core import clock
from app.core.database import Handle, Query, in_lane
from app.core.ids import new_id
from app.models.events import Event

_COLUMNS: Final = (
    "id",
    "type",
    "subject",
    "subject_id",
    "subject_version",
    "participant_id",
    "actor_id",
    "at",
)
_RECORD: Final = Query(
    insert(Event)
    .values({name: bindparam(name, type_=Event.__table__.c[name].type) for name in _COLUMNS})
    .inline()
)


async def record(
    handle: Handle,
    type_: str,
    subject_id: UUID,
    *,
    participant_id: UUID | None = None,
    version: int | None = None,
) -> UUID:
    """Say that something happened to a subject; `type_` is `subject.verb`, as in `plan.signed`.

    `participant_id` names whose record it concerns, so that only those who may know of it hear
    it. Returns the event's id.
    """
    lane = await in_lane(handle)
    event_id = new_id()
    await lane.execute(
        _RECORD.sql,
        *_RECORD.arguments(
            {
                "id": event_id,
                "type": type_,
                "subject": type_.partition(".")[0],
                "subject_id": subject_id,
                "subject_version": version,
                "participant_id": participant_id,
                "actor_id": lane.info["account_id"],
                "at": clock.now(),
            }
        ),
    )
    return event_id
