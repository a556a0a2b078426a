"""Moving an intake through its stages by hand, and reading how it came where it stands."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core.problems import Forbidden, NotFound
from app.domain.intake import NEEDS_LICENSE
from app.domain.roles import StaffRole
from app.models.audit import AuditAction
from app.models.intakes import Intake, IntakeTransition
from app.schemas.intakes import IntakeRead, TransitionCreate, TransitionRead
from app.security import audit, seals
from app.security.access import participants_visible_to
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import intake_transitions
from app.services.intakes.reading import TABLE, columns, composed, lock_intake

MOST_TRANSITIONS: Final = 200
MAY_ATTEST: Final = frozenset({StaffRole.CLINICIAN, StaffRole.PRESCRIBER, StaffRole.SUPERVISOR})
"""Who makes statements beyond the forms, and who may refuse care, with a license."""


async def move_intake(
    db: AsyncSession, principal: Principal, intake_id: UUID, request: TransitionCreate
) -> IntakeRead:
    """Move an intake to another stage, with the reason.

    A refusal of care is a licensed clinician's. Raises NotFound, Forbidden, or IntakeMoveRefused
    with the states that are possible.
    """
    intake = await lock_intake(db, principal, intake_id)
    may_refuse = principal.is_licensed and bool(principal.roles & MAY_ATTEST)
    if request.action in NEEDS_LICENSE and not may_refuse:
        raise Forbidden("A licensed clinician declines.")
    await intake_transitions.move(db, principal, intake, request.action, request.reason)
    await audit.record(
        db,
        AuditAction.UPDATE,
        Permission.INTAKE_RECOMMEND,
        TABLE,
        intake.id,
        participant_id=intake.participant_id,
        version=intake.version,
    )
    await events.record(
        db,
        "intake.moved",
        intake.id,
        participant_id=intake.participant_id,
        version=intake.version,
    )
    return await composed(db, columns(intake))


async def list_transitions(
    db: AsyncSession, principal: Principal, intake_id: UUID
) -> Sequence[TransitionRead]:
    """Every move of an intake, the oldest first. Raises NotFound."""
    intake = await db.scalar(
        select(Intake).where(
            Intake.id == intake_id, participants_visible_to(principal, Intake.participant_id)
        )
    )
    if intake is None:
        raise NotFound
    rows = (
        await db.scalars(
            select(IntakeTransition)
            .where(IntakeTransition.intake_id == intake_id)
            .order_by(IntakeTransition.id)
            .limit(MOST_TRANSITIONS)
        )
    ).all()
    await audit.record(
        db,
        AuditAction.READ,
        Permission.INTAKE_READ,
        TABLE,
        intake.id,
        participant_id=intake.participant_id,
        version=intake.version,
    )
    keys = await seals.keys_for(db, [row.reason for row in rows])
    return [_read(keys, row) for row in rows]


def _read(keys: seals.Keys, row: IntakeTransition) -> TransitionRead:
    cell = seals.Cell(intake_transitions.TABLE, "reason", row.id)
    return TransitionRead(
        id=row.id,
        action=row.action,
        from_state=row.from_state,
        to_state=row.to_state,
        actor_id=row.actor_id,
        reason=keys.unseal(cell, row.reason),
        at=row.at,
    )
