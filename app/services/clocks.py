"""The organization's clock: a development organization rehearses next week by living in it.

Reminders, alert clocks, due dates and the schedule's horizon follow; sign-ins and tokens do not,
because no organization may outlive its own credentials. An organization in which real people are
treated has the real time, and the database refuses any other.
"""

from datetime import timedelta
from http import HTTPStatus
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.problems import Conflict, FieldError, Invalid, Problem
from app.models.audit import AuditAction
from app.models.organizations import Environment, Organization
from app.schemas.clock import ClockMove, ClockRead
from app.security import audit
from app.security.permissions import Permission
from app.services.organizations import get_organization

FARTHEST: Final = timedelta(days=3660)


class ClockIsReal(Problem):
    """Real people are treated here, and their clock is the real one."""

    slug, title = "clock-is-real", "The clock of this organization cannot be moved"
    status = HTTPStatus.FORBIDDEN


_NOT_BACK: Final = "It may not lie before the real time: a clock is only moved ahead of it."


class BeforeRealTime(Invalid):
    """A clock stands at the real time or ahead of it, never behind."""

    slug, title = "before-real-time", "The clock cannot go behind the real time"


class TooFarAhead(Conflict):
    """The clock would stand more than ten years ahead; reset it first."""

    slug, title = "too-far-ahead", "The clock cannot go that far"


async def read_clock(db: AsyncSession) -> ClockRead:
    """What time it is."""
    return _read(await get_organization(db))


async def move_clock(db: AsyncSession, request: ClockMove) -> ClockRead:
    """Move the clock of a development organization; from the next request on it is that time.

    Raises ClockIsReal, BeforeRealTime or TooFarAhead.
    """
    organization = await get_organization(db, lock=True)
    if organization.environment is not Environment.DEVELOPMENT:
        raise ClockIsReal
    organization.clock_offset = _offset(organization, request)
    await db.flush()
    clock.set_organization_offset(organization.clock_offset)
    await audit.record(
        db,
        AuditAction.UPDATE,
        Permission.CLOCK_MOVE,
        "organization",
        organization.organization_id,
    )
    await events.record(db, "clock.moved", organization.organization_id)
    return _read(organization)


def _offset(organization: Organization, request: ClockMove) -> timedelta:
    if request.reset:
        return clock.ZERO
    if request.now is not None:
        offset = request.now - clock.wall()
        if offset < clock.ZERO:
            raise BeforeRealTime(errors=[FieldError("/now", "before_real_time", _NOT_BACK)])
    else:
        offset = organization.clock_offset + timedelta(minutes=request.advance or 0)
    if offset > FARTHEST:
        raise TooFarAhead
    return offset


def _read(organization: Organization) -> ClockRead:
    wall = clock.wall()
    return ClockRead(
        now=wall + organization.clock_offset,
        wall=wall,
        offset_seconds=organization.clock_offset.total_seconds(),
        is_movable=organization.environment is Environment.DEVELOPMENT,
    )
