"""Keeps groups, series and sessions in step with the calendar.

The worker calls this for each organization every few seconds, in a transaction of that
organization and with its clock set, and again at once while it answers more than 0.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from app.services import groups, series, sessions


async def run(db: AsyncSession) -> int:
    """Open rooms to members whose time has come, move the horizon, begin and end sessions.

    Gives how many things were done.
    """
    due = await groups.groups_with_due_members(db)
    admitted = sum([await groups.admit_due_members(db, group_id) for group_id in due])
    scheduled = await series.extend_due(db)
    return admitted + scheduled + await sessions.follow_clock(db)
