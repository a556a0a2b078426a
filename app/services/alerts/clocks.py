"""The clocks of alerts: who else is told when nobody has acknowledged in time.

A clock is data in the alert's row and nowhere else, so that no process can stop it by dying:
whoever looks next finds what is due. Each escalation happens once for each time that the clock
was started, by a unique index.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.domain.alerts import AlertState, EscalationRule, Tier, TierClock, default_alert_policy
from app.models.alerts import Alert, AlertStep
from app.models.audit import AuditAction
from app.security import audit
from app.services.alerts.opening import add_step

_BATCH: Final = 100


async def escalate_due(db: AsyncSession) -> int:
    """Take the escalation steps that are due in the organization; gives how many were taken.

    The longest overdue come first, of a hundred alerts at most, so a caller asks again until
    none is left. An alert that somebody is handling at this moment is passed over until then.
    After an outage every step that was missed is taken, in its order.
    """
    now = clock.now()
    taken = 0
    for alert in await _overdue(db, now):
        past = await _steps_of_this_opening(db, alert)
        for rule in default_alert_policy().tiers[alert.tier].escalate:
            if _falls_due(alert, rule) <= now and _kind(rule) not in past:
                await _escalate(db, alert, rule, now)
                taken += 1
    return taken


async def _steps_of_this_opening(db: AsyncSession, alert: Alert) -> set[str]:
    kinds = await db.scalars(
        select(AlertStep.kind).where(
            AlertStep.alert_id == alert.id, AlertStep.opening == alert.opening
        )
    )
    return set(kinds)


async def _overdue(db: AsyncSession, now: datetime) -> Sequence[Alert]:
    """The open alerts that some step is due for and was not taken."""
    is_due = [
        _is_due(tier, tier_clock, rule, now)
        for tier, tier_clock in default_alert_policy().tiers.items()
        for rule in tier_clock.escalate
    ]
    query = (
        select(Alert)
        .where(Alert.state == AlertState.OPEN, or_(*is_due))
        .order_by(Alert.acknowledge_by, Alert.id)
        .limit(_BATCH)
        .with_for_update(skip_locked=True, key_share=True)
    )
    return (await db.scalars(query)).all()


def _is_due(
    tier: Tier, tier_clock: TierClock, rule: EscalationRule, now: datetime
) -> ColumnElement[bool]:
    was_taken = exists().where(
        AlertStep.organization_id == Alert.organization_id,
        AlertStep.alert_id == Alert.id,
        AlertStep.opening == Alert.opening,
        AlertStep.kind == _kind(rule),
    )
    return and_(
        Alert.tier == tier, Alert.acknowledge_by <= now - _delay(tier_clock, rule), ~was_taken
    )


def _falls_due(alert: Alert, rule: EscalationRule) -> datetime:
    return alert.acknowledge_by + _delay(default_alert_policy().tiers[alert.tier], rule)


def _delay(tier_clock: TierClock, rule: EscalationRule) -> timedelta:
    """How long after `acknowledge_by` a step falls due.

    The clock may have waited for a staffed hour; `acknowledge_by` is where it says so.
    """
    return rule.after - tier_clock.acknowledge_within


def _kind(rule: EscalationRule) -> str:
    return f"escalated_{rule.to.value}"


async def _escalate(db: AsyncSession, alert: Alert, rule: EscalationRule, now: datetime) -> None:
    await add_step(db, alert.id, alert.opening, _kind(rule), now)
    alert.updated_at = now
    await db.flush()
    await audit.record(
        db,
        AuditAction.EXECUTE,
        "alert:escalate",
        "alert",
        alert.id,
        participant_id=alert.participant_id,
        version=alert.version,
    )
    await events.record(
        db,
        "alert.escalated",
        alert.id,
        participant_id=alert.participant_id,
        version=alert.version,
    )
