"""Gives people the forms that their programs ask by the calendar, and lets forms expire."""

from uuid import UUID

from app.jobs.workplace import Workplace, in_turn
from app.services import assessments

_FIRST = UUID(int=0)


async def run(place: Workplace) -> bool:
    """Give what is due and end what is over, in every organization; answers if more is left.

    Raises ExceptionGroup when all have had their turn.
    """
    has_more = await place.in_each(assessments.expire_due)

    async def work(organization_id: UUID) -> None:
        await give(place, organization_id)

    await in_turn(await place.organizations(), work)
    return has_more


async def give(place: Workplace, organization_id: UUID) -> int:
    """Give what is due in one organization, each batch of people in a transaction of its own."""
    given, after = 0, _FIRST
    while True:
        async with place.enter(organization_id) as db:
            found, last = await assessments.give_due(db, after=after)
        given += found
        if last is None:
            return given
        after = last
