"""Keeps groups, series and sessions in step with the calendar.

Each group and each series has a transaction of its own. So locks are taken in the one order that
`app.services.bookings` states, nobody waits for a group longer than it is worked on, and what
fails in one of them does not keep the others from going on.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.jobs.workplace import Workplace, in_turn
from app.services import groups, series, sessions

Step = Callable[[AsyncSession], Awaitable[int]]


async def run(place: Workplace) -> bool:
    """Keep every organization in step; answers whether there may be more to do.

    Raises ExceptionGroup when all have had their turn.
    """
    done = 0

    async def work(organization_id: UUID) -> None:
        nonlocal done
        done += await keep_up(place, organization_id)

    await in_turn(await place.organizations(), work)
    return done > 0


async def keep_up(place: Workplace, organization_id: UUID) -> int:
    """Open rooms to members whose time has come, move the horizon, begin and end sessions.

    Gives how many things were done. Raises ExceptionGroup when every step has had its turn.
    """
    async with place.enter(organization_id) as db:
        steps = await _due(db)
    done = 0

    async def work(step: Step) -> None:
        nonlocal done
        async with place.enter(organization_id) as db:
            done += await step(db)

    await in_turn(steps, work)
    return done


async def _due(db: AsyncSession) -> list[Step]:
    waiting = await groups.groups_with_due_members(db)
    behind = await series.series_behind(db)
    return [
        *(partial(groups.admit_due_members, group_id=group_id) for group_id in waiting),
        *(partial(series.extend, series_id=series_id) for series_id in behind),
        sessions.follow_clock,
    ]
