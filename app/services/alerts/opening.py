"""Opening alerts: in the transaction that found the concern, so that neither is without the other.

The software opens an alert and keeps its clock; what it means is for people to say. One answer
may raise several concerns, each with a code of its own; the same concern is one alert for as
long as somebody owes the participant an answer, and a new one after that.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.domain.alerts import (
    ALERT_MACHINE,
    CLOCK_RUNS,
    AlertAction,
    AlertState,
    Due,
    Tier,
    default_alert_policy,
    due,
    starts_clock_anew,
)
from app.models.alerts import Alert, AlertSource, AlertStep
from app.models.audit import AuditAction
from app.models.participants import Participant
from app.security import audit

RAISED_AGAIN: Final = "raised_again"


@dataclass(frozen=True, slots=True)
class Concern:
    """What was found, about whom and in what. It names a code, never content."""

    participant_id: UUID
    tier: Tier
    code: str
    source: AlertSource
    source_id: UUID


async def open_alert(db: AsyncSession, concern: Concern) -> Alert:
    """Open an alert for a new hit, or tell the hit on the alert that is still running.

    A running alert that somebody has in hand is open again, with a new clock. The caller holds
    the source's row lock, so that two hits cannot open two; the database keeps the same rule for
    everybody else.
    """
    running = await db.scalar(
        _of(concern).where(Alert.state.in_(CLOCK_RUNS)).with_for_update(of=Alert, key_share=True)
    )
    if running is None:
        return await _open(db, concern)
    await _raise_again(db, running, concern)
    return running


async def open_alert_once(db: AsyncSession, concern: Concern) -> None:
    """Open an alert unless the same source has raised the same concern before, answered or not.

    For what is judged a second time when a form is submitted: people have dealt with it, or are
    about to.
    """
    if await db.scalar(_of(concern).limit(1)) is None:
        await _open(db, concern)


def add_step(  # noqa: PLR0913 (the fields of a step)
    db: AsyncSession,
    alert: Alert,
    kind: str,
    at: datetime,
    *,
    step_id: UUID | None = None,
    note: bytes | None = None,
) -> AlertStep:
    """Say that something happened to an alert, and through whom."""
    step = AlertStep(
        id=step_id or new_id(),
        alert_id=alert.id,
        opening=alert.opening,
        kind=kind,
        actor_id=db.info["account_id"],
        note=note,
        at=at,
    )
    db.add(step)
    return step


def _of(concern: Concern) -> Select[Alert]:
    return select(Alert).where(Alert.source_id == concern.source_id, Alert.code == concern.code)


async def _open(db: AsyncSession, concern: Concern) -> Alert:
    now = clock.now()
    clocks = await _clocks(db, concern, now)
    alert = Alert(
        id=new_id(),
        participant_id=concern.participant_id,
        tier=concern.tier,
        code=concern.code,
        state=AlertState.OPEN,
        source=concern.source,
        source_id=concern.source_id,
        opening=1,
        policy_version=default_alert_policy().version,
        opened_at=now,
        acknowledge_by=clocks.acknowledge_by,
        contact_by=clocks.contact_by,
        created_at=now,
        updated_at=now,
    )
    db.add(alert)
    await db.flush()
    add_step(db, alert, "opened", now)
    await db.flush()
    await _tell(db, alert, AuditAction.CREATE, "alert:open", "alert.opened")
    return alert


async def _raise_again(db: AsyncSession, alert: Alert, concern: Concern) -> None:
    """Tell a new hit, and start the clock again if the one that runs is not for it."""
    now = clock.now()
    if starts_clock_anew(alert.state, alert.tier, concern.tier):
        await _start_clock_anew(db, alert, concern, now)
    add_step(db, alert, RAISED_AGAIN, now)
    # Whoever has read the alert must read it anew, whether or not its clock has changed.
    alert.updated_at = now
    await db.flush()
    await _tell(db, alert, AuditAction.UPDATE, "alert:raise_again", f"alert.{RAISED_AGAIN}")


async def _start_clock_anew(
    db: AsyncSession, alert: Alert, concern: Concern, now: datetime
) -> None:
    clocks = await _clocks(db, concern, now)
    if alert.state is not AlertState.OPEN:
        alert.state = ALERT_MACHINE.advance(alert.state, AlertAction.REOPEN)
    alert.tier = concern.tier
    alert.opening += 1
    alert.policy_version = default_alert_policy().version
    alert.acknowledge_by = clocks.acknowledge_by
    alert.contact_by = clocks.contact_by
    alert.acknowledged_at = alert.acknowledged_by = None


async def _clocks(db: AsyncSession, concern: Concern, now: datetime) -> Due:
    """By when people must act on a concern; the day is the participant's."""
    zone = await db.scalars(
        select(Participant.time_zone).where(Participant.id == concern.participant_id)
    )
    return due(default_alert_policy(), concern.tier, now, zone=ZoneInfo(zone.one()))


async def _tell(
    db: AsyncSession, alert: Alert, action: AuditAction, subtype: str, event: str
) -> None:
    await audit.record(
        db,
        action,
        subtype,
        "alert",
        alert.id,
        participant_id=alert.participant_id,
        version=alert.version,
    )
    await events.record(
        db, event, alert.id, participant_id=alert.participant_id, version=alert.version
    )
