"""Removes what has served its purpose: answers, tickets, sign-ins, messages, counts, deliveries."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, delete, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.jobs.workplace import Workplace
from app.models.accounts import (
    AuthorizationCode,
    AuthorizationSession,
    KnownDevice,
    Notification,
    RateWindow,
    RefreshToken,
    SignIn,
    Throttle,
)
from app.models.idempotency import StoredAnswer
from app.models.rooms import RealtimeTicket
from app.models.webhooks import DeliveryState, WebhookAttempt, WebhookDelivery

ANSWERS_LIVE: Final = timedelta(hours=24)
"""How long a repeated request gets the answer of the first (API-07)."""

TRACES_LIVE: Final = timedelta(days=1)
"""How long what is spent stays, for whoever looks into an incident."""

DEVICES_LIVE: Final = timedelta(days=365)
"""How long a device is known after its last sign-in."""

DELIVERIES_LIVE: Final = timedelta(days=30)
"""How long a delivery that is over can be looked at and replayed (WH-11)."""

MESSAGES_LIVE: Final = timedelta(days=30)
"""How long it can be looked up that a message went out, or that it never did."""

SIGN_INS_LIVE: Final = timedelta(days=90)
"""How long a sign-in that is over can be looked up; its audit rows are kept."""

_BATCH: Final = 1_000


async def clean(place: Workplace) -> bool:
    """Remove what is too old, in every organization and outside of all.

    Answers whether more is left: deliveries are many, and go a batch at a time.
    """
    await _clean_what_is_nobodys(place)
    return await place.in_each(_clean_organization)


async def _clean_organization(db: AsyncSession) -> bool:
    now = clock.wall()
    await db.execute(delete(StoredAnswer).where(StoredAnswer.created_at < now - ANSWERS_LIVE))
    await db.execute(delete(RealtimeTicket).where(RealtimeTicket.expires_at < now - TRACES_LIVE))
    await db.execute(delete(KnownDevice).where(KnownDevice.last_seen_at < now - DEVICES_LIVE))
    await db.execute(delete(Notification).where(Notification.created_at < now - MESSAGES_LIVE))
    await _clean_sign_ins(db)
    return await _clean_deliveries(db)


async def _clean_sign_ins(db: AsyncSession) -> None:
    """Remove sign-ins that were over long ago, and their tokens before them.

    A living one needs its whole chain of tokens (AUTH-16).
    """
    now = clock.wall()
    await db.execute(
        delete(RefreshToken)
        .where(RefreshToken.sign_in_id == SignIn.id, _was_over(now - TRACES_LIVE))
        .execution_options(synchronize_session=False)
    )
    await db.execute(delete(SignIn).where(_was_over(now - SIGN_INS_LIVE)))


def _was_over(before: datetime) -> ColumnElement[bool]:
    return or_(SignIn.revoked_at < before, SignIn.expires_at < before)


async def _clean_deliveries(db: AsyncSession) -> bool:
    """Remove a batch of deliveries that were over long ago; answers whether it was a full one."""
    before = clock.wall() - DELIVERIES_LIVE
    is_recent = exists().where(
        WebhookAttempt.delivery_id == WebhookDelivery.id, WebhookAttempt.at >= before
    )
    finished = (
        await db.scalars(
            select(WebhookDelivery.id)
            .where(
                WebhookDelivery.state != DeliveryState.WAITING,
                WebhookDelivery.created_at < before,
                ~is_recent,
            )
            .order_by(WebhookDelivery.created_at)
            .limit(_BATCH)
            # Whoever replays one at this moment keeps it.
            .with_for_update(skip_locked=True)
        )
    ).all()
    await db.execute(delete(WebhookAttempt).where(WebhookAttempt.delivery_id.in_(finished)))
    await db.execute(delete(WebhookDelivery).where(WebhookDelivery.id.in_(finished)))
    return len(finished) == _BATCH


async def _clean_what_is_nobodys(place: Workplace) -> None:
    before = clock.wall() - TRACES_LIVE
    async with place.connections.command() as db:
        await db.execute(
            delete(AuthorizationSession).where(AuthorizationSession.expires_at < before)
        )
        await db.execute(delete(AuthorizationCode).where(AuthorizationCode.expires_at < before))
        await db.execute(delete(Throttle).where(Throttle.updated_at < before))
        await db.execute(delete(RateWindow).where(RateWindow.started_at < before))
