"""Removes what has served its purpose: stored answers, spent tickets, sign-ins under way."""

from datetime import timedelta
from typing import Final

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.jobs.workplace import Workplace
from app.models.accounts import AuthorizationCode, AuthorizationSession, Throttle
from app.models.idempotency import StoredAnswer
from app.models.rooms import RealtimeTicket

ANSWERS_LIVE: Final = timedelta(hours=24)
"""How long a repeated request gets the answer of the first (API-07)."""

TRACES_LIVE: Final = timedelta(days=1)
"""How long spent tickets and sign-ins under way stay, for whoever looks into an incident."""


async def clean(place: Workplace) -> bool:
    """Remove what is too old, in every organization and outside of all."""
    await _clean_sign_ins(place)
    await place.in_each(_clean_organization)
    return False


async def _clean_organization(db: AsyncSession) -> None:
    now = clock.wall()
    await db.execute(delete(StoredAnswer).where(StoredAnswer.created_at < now - ANSWERS_LIVE))
    await db.execute(delete(RealtimeTicket).where(RealtimeTicket.expires_at < now - TRACES_LIVE))


async def _clean_sign_ins(place: Workplace) -> None:
    before = clock.wall() - TRACES_LIVE
    async with place.connections.command() as db:
        await db.execute(
            delete(AuthorizationSession).where(AuthorizationSession.expires_at < before)
        )
        await db.execute(delete(AuthorizationCode).where(AuthorizationCode.expires_at < before))
        await db.execute(delete(Throttle).where(Throttle.updated_at < before))
