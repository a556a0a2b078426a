"""Handling alerts: seen, assessed, answered in writing, closed. Each step is a row.

Nothing here decides a risk or closes an alert by itself. High and imminent risk take two people:
whoever answered the alert cannot be the one who closes it, and a supervisor must (clinical
reference, section 5.2).
"""

import json
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid
from app.domain.alerts import (
    ALERT_MACHINE,
    AlertAction,
    Disposition,
    disposition_gaps,
    may_close,
)
from app.domain.roles import RiskLevel, StaffRole
from app.domain.transitions import IllegalTransition
from app.models.alerts import Alert, AlertStep
from app.models.audit import AuditAction
from app.schemas.alerts import AlertNote, AlertRead, DispositionCreate
from app.security import audit, seals
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.alerts.opening import add_step
from app.services.alerts.reading import DONE, STEP, TABLE, columns, composed, get_alert


class AlertStateConflict(Conflict):
    """The step does not apply to an alert in this `state`."""

    slug, title = "alert-state", "The alert is in another state"


class SupervisorNeeded(Conflict):
    """The risk was high or imminent: a supervisor who did not answer the alert must close it."""

    slug, title = "supervisor-needed", "A supervisor must close this alert"


async def acknowledge(
    db: AsyncSession, principal: Principal, alert_id: UUID, request: AlertNote
) -> AlertRead:
    """Say that somebody has seen the alert; its escalation stops.

    Raises NotFound or AlertStateConflict.
    """
    alert = await _advance(db, principal, alert_id, AlertAction.ACKNOWLEDGE)
    alert.acknowledged_at = clock.now()
    alert.acknowledged_by = principal.account_id
    return await _step(db, alert, AlertAction.ACKNOWLEDGE, request.note)


async def assess(
    db: AsyncSession, principal: Principal, alert_id: UUID, request: AlertNote
) -> AlertRead:
    """Say that the participant is being assessed. Raises NotFound or AlertStateConflict."""
    alert = await _advance(db, principal, alert_id, AlertAction.ASSESS)
    return await _step(db, alert, AlertAction.ASSESS, request.note)


async def disposition(
    db: AsyncSession, principal: Principal, alert_id: UUID, request: DispositionCreate
) -> AlertRead:
    """Answer an alert in writing: the formulation, the decision and the next check.

    Raises NotFound, AlertStateConflict, or Invalid with a pointer to each part that says nothing.
    """
    alert = await _advance(db, principal, alert_id, AlertAction.DISPOSITION)
    gaps = disposition_gaps(Disposition(**dict(request)))
    if gaps:
        raise Invalid(errors=[FieldError(f"/{gap}", "not_recorded") for gap in gaps])
    return await _step(db, alert, AlertAction.DISPOSITION, request.model_dump_json())


async def close(
    db: AsyncSession, principal: Principal, alert_id: UUID, request: AlertNote
) -> AlertRead:
    """End an alert that was answered. Raises NotFound, AlertStateConflict or SupervisorNeeded."""
    alert = await _advance(db, principal, alert_id, AlertAction.CLOSE)
    risk, answered_by = await _formulation(db, alert)
    is_signed = StaffRole.SUPERVISOR in principal.roles and answered_by != principal.account_id
    if not may_close(risk, is_supervisor_signed=is_signed):
        raise SupervisorNeeded
    return await _step(db, alert, AlertAction.CLOSE, request.note)


async def _advance(
    db: AsyncSession, principal: Principal, alert_id: UUID, action: AlertAction
) -> Alert:
    """Lock an alert and move it, as its machine allows."""
    alert = await get_alert(db, principal, alert_id, lock=True)
    try:
        alert.state = ALERT_MACHINE.advance(alert.state, action)
    except IllegalTransition as illegal:
        raise AlertStateConflict(state=illegal.state.value) from None
    return alert


async def _step(db: AsyncSession, alert: Alert, action: AlertAction, note: str | None) -> AlertRead:
    """Keep what was done, and tell it, under one word."""
    kind = DONE[action]
    now = clock.now()
    step_id = new_id()
    key = await seals.participant_key(db, alert.participant_id)
    blob = seals.sealed(key, STEP, step_id, note=note)["note"]
    await add_step(db, alert.id, alert.opening, kind, now, step_id=step_id, note=blob)
    alert.updated_at = now
    await db.flush()
    await audit.record(
        db,
        AuditAction.UPDATE,
        Permission.ALERT_HANDLE,
        TABLE,
        alert.id,
        participant_id=alert.participant_id,
        version=alert.version,
    )
    await events.record(
        db,
        f"alert.{kind}",
        alert.id,
        participant_id=alert.participant_id,
        version=alert.version,
    )
    return await composed(db, columns(alert))


async def _formulation(db: AsyncSession, alert: Alert) -> tuple[RiskLevel, UUID | None]:
    """The risk as it was last written down, and by whom."""
    step = (
        await db.scalars(
            select(AlertStep)
            .where(AlertStep.alert_id == alert.id, AlertStep.kind == DONE[AlertAction.DISPOSITION])
            .order_by(AlertStep.at.desc(), AlertStep.id.desc())
            .limit(1)
        )
    ).one()
    keys = await seals.keys_for(db, [step.note])
    row = {"id": step.id, "note": step.note}
    written = json.loads(seals.opened(keys, STEP, row, "note")["note"] or "{}")
    return RiskLevel(written.get("risk", RiskLevel.UNKNOWN)), step.actor_id
