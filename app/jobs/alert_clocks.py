"""Keeps the clocks of alerts: what nobody has acknowledged in time is escalated.

The worker calls this for each organization every few seconds, in a transaction of that
organization and with its clock set, and again at once while it answers more than 0.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from app.services import alerts


async def run(db: AsyncSession) -> int:
    """Take the steps that are due; gives how many were taken."""
    return await alerts.escalate_due(db)
