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
from app.domain.alerts import CLOCK_RUNS, AlertState, Tier, default_alert_policy, due
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
    """Open an alert for a new hit, or note the hit on the alert that is still running.

    The caller holds the source's row lock, so that two hits cannot open two; the database keeps
    the same rule for everybody else.
    """
    running = await db.scalar(
        _of(concern).where(Alert.state.in_(CLOCK_RUNS)).with_for_update(of=Alert)
    )
    if running is not None:
        add_step(db, running, RAISED_AGAIN, clock.now())
        await db.flush()
        return running
    return await _open(db, concern)


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
    policy = default_alert_policy()
    zone = await db.scalars(
        select(Participant.time_zone).where(Participant.id == concern.participant_id)
    )
    clocks = due(policy, concern.tier, now, zone=ZoneInfo(zone.one()))
    alert = Alert(
        id=new_id(),
        participant_id=concern.participant_id,
        tier=concern.tier,
        code=concern.code,
        state=AlertState.OPEN,
        source=concern.source,
        source_id=concern.source_id,
        policy_version=policy.version,
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
    await audit.record(
        db,
        AuditAction.CREATE,
        "alert:open",
        "alert",
        alert.id,
        participant_id=alert.participant_id,
        version=alert.version,
    )
    await events.record(
        db, "alert.opened", alert.id, participant_id=alert.participant_id, version=alert.version
    )
    return alert
