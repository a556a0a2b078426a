"""Events on their way to the people whom they concern (design, section 5).

An event names a participant. It is told to that participant, and to staff who may see their
record now, as far as the permission of its subject goes: what somebody could not read, they do
not hear of. What names nobody is for the feed of integrators.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy import BigInteger, Uuid, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY

from app.core.database import Lane, Query
from app.core.problems import Problem
from app.models.events import Event
from app.models.participants import Participant
from app.realtime import frames
from app.runtime import Runtime
from app.security.access import reach_parameters, visible_participants
from app.security.guards import allow
from app.security.permissions import Permission
from app.security.principal import Principal, Reach
from app.services.rooms import lanes

PAGE: Final = 200
SUBJECTS: Final[Mapping[str, Permission]] = MappingProxyType(
    {
        "alert": Permission.ALERT_READ,
        "assessment": Permission.ASSESSMENT_LIST,
        "attendance": Permission.ATTENDANCE_READ,
        "booking": Permission.SESSION_READ,
        "care_team": Permission.CARE_TEAM_READ,
        "connectivity_test": Permission.CONNECTIVITY_READ,
        "enrollment": Permission.ENROLLMENT_READ,
        "group": Permission.GROUP_ROSTER,
        "intake": Permission.INTAKE_READ,
        "participant": Permission.PARTICIPANT_READ,
        "plan": Permission.PLAN_READ,
        "referral": Permission.INTAKE_READ,
        "room": Permission.ROOM_READ,
    }
)
"""What somebody must be able to read to hear of a subject; an unknown one is told to nobody."""

_OF_STAFF_ALONE: Final = frozenset({"plan.drafted", "plan.updated"})
"""A plan is its author's working paper until it is proposed: no participant reads it, or hears."""

_EVENTS: Final = Query(
    select(*Event.__table__.columns)
    .where(Event.position > bindparam("after", type_=BigInteger))
    .order_by(Event.position)
    .limit(PAGE)
)


@cache
def _visible(reach: Reach) -> Query:
    ids = bindparam("ids", type_=ARRAY(Uuid))
    return Query(
        select(Participant.id).where(
            Participant.id == any_(ids), visible_participants(Participant.id, reach)
        )
    )


class Readers:
    """How far the events of each organization were told here."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._told: dict[UUID, int] = {}
        self._noticed: dict[UUID, int] = {}
        self._reading: set[UUID] = set()

    def begin(self, organization_id: UUID, position: int) -> None:
        """Tell an organization's events from here on, unless they are being told already."""
        self._told.setdefault(organization_id, position)

    def notice(self, organization_id: UUID, position: int) -> bool:
        """Hear how far positions were given; answers whether somebody should now read."""
        if organization_id not in self._told:
            return False
        self._noticed[organization_id] = max(position, self._noticed.get(organization_id, 0))
        is_new = self._noticed[organization_id] > self._told[organization_id]
        if not is_new or organization_id in self._reading:
            return False
        self._reading.add(organization_id)
        return True

    async def read(
        self,
        organization_id: UUID,
        present: Callable[[], Collection[Principal]],
        reads: asyncio.Semaphore,
    ) -> AsyncGenerator[tuple[Principal, Sequence[frames.Event]], None]:
        """Give each principal the events that concern them, in the order of their positions.

        Who is `present` is asked once the events were read: whoever came before that hears of
        them, and whoever comes later finds them done. What fails is read with the next hint:
        nothing counts as told before it was read.
        """
        try:
            if not present():
                # Whoever comes next begins where the events stand then.
                del self._told[organization_id]
                return
            while self._told[organization_id] < self._noticed[organization_id]:
                async with reads, lanes.entered(self._runtime, organization_id) as lane:
                    await lanes.keep_organization_time(lane)
                    rows = await lane.all(_EVENTS, after=self._told[organization_id])
                    told = [(each, await _concerning(lane, each, rows)) for each in present()]
                if not rows:
                    self._noticed[organization_id] = self._told[organization_id]
                    return
                self._told[organization_id] = rows[-1]["position"]
                for principal, concerning in told:
                    if concerning:
                        yield principal, [_frame(row) for row in concerning]
        finally:
            self._reading.discard(organization_id)


async def _concerning(
    lane: Lane, principal: Principal, rows: Iterable[asyncpg.Record]
) -> list[asyncpg.Record]:
    """The events of which somebody may hear."""
    by_reach: dict[Reach, list[asyncpg.Record]] = {}
    for row in rows:
        if row["participant_id"] is not None:
            by_reach.setdefault(_reach(principal, row["subject"]), []).append(row)
    found = [
        row
        for reach, some in by_reach.items()
        if reach
        for row in await _visible_to(lane, principal, reach, some)
    ]
    return sorted(found, key=lambda row: row["position"])


def _reach(principal: Principal, subject: str) -> Reach:
    permission = SUBJECTS.get(subject)
    if permission is None:
        return Reach.NONE
    try:
        reach = allow(principal, permission).reach
    except Problem:
        return Reach.NONE
    if not principal.is_staff:
        return Reach.SELF
    # Who leads a group meets its participants; a member of rooms is meant by that here.
    return reach | Reach.ROSTER if reach & Reach.MEMBER else reach


async def _visible_to(
    lane: Lane, principal: Principal, reach: Reach, rows: Sequence[asyncpg.Record]
) -> list[asyncpg.Record]:
    if reach == Reach.SELF:
        return [
            row
            for row in rows
            if row["participant_id"] == principal.participant_id
            and row["type"] not in _OF_STAFF_ALONE
        ]
    ids = {row["participant_id"] for row in rows}
    visible = await lane.all(_visible(reach), ids=list(ids), **reach_parameters(principal))
    seen = {row["id"] for row in visible}
    return [row for row in rows if row["participant_id"] in seen]


def _frame(row: asyncpg.Record) -> frames.Event:
    return frames.Event(
        position=row["position"],
        event=frames.Happening(
            id=row["id"],
            type=row["type"],
            subject=row["subject"],
            subject_id=row["subject_id"],
            subject_version=row["subject_version"],
            at=row["at"],
        ),
    )
