"""Referring somebody again who has a record already, to this program or to another.

The record stays one: a re-admission is a new intake, and if it comes to that a new enrollment, of
the same person. A participant may do it for themselves.
"""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.problems import Conflict, NotFound
from app.domain.intake import UNDER_WAY
from app.domain.roles import ReferralSource, Sensitivity
from app.models.audit import AuditAction
from app.models.intakes import Enrollment, Intake
from app.models.participants import Participant
from app.models.programs import Program
from app.schemas.participants import ReferralAgainCreate, ReferralRead
from app.security import audit
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.enrollments import AlreadyEnrolled
from app.services.participants import TABLE, Sending, begin_intake, get_participant


class IntakeUnderWay(Conflict):
    """The participant waits for a decision about this program; `intake_id` says where."""

    slug, title = "intake-under-way", "An intake for the program is under way"


async def refer_again(
    db: AsyncSession, principal: Principal, participant_id: UUID, request: ReferralAgainCreate
) -> ReferralRead:
    """Begin another intake of the same person; a participant's own is a referral by themselves.

    The participant is locked first, so that two referrals at one moment are one. Raises NotFound,
    IntakeUnderWay or AlreadyEnrolled.
    """
    participant = await get_participant(db, principal, participant_id, lock=True)
    program = await db.scalar(select(Program).where(Program.id == request.program_id))
    if program is None:
        raise NotFound
    await _check_free(db, participant.id, program.id)
    if program.is_part2 and Sensitivity.PART2 not in participant.sensitivity:
        participant.sensitivity = [*participant.sensitivity, Sensitivity.PART2]
        participant.updated_at = clock.now()
        await db.flush()
    await _audit(db, participant)
    source = request.source if principal.is_staff else ReferralSource.SELF
    return await begin_intake(db, principal, participant, program, Sending(source, request.reason))


async def _check_free(db: AsyncSession, participant_id: UUID, program_id: UUID) -> None:
    waiting = await db.scalar(
        select(Intake.id)
        .where(
            Intake.participant_id == participant_id,
            Intake.program_id == program_id,
            Intake.state.in_(UNDER_WAY),
        )
        .limit(1)
    )
    if waiting is not None:
        raise IntakeUnderWay(intake_id=waiting)
    enrolled = await db.scalar(
        select(Enrollment.id).where(
            Enrollment.participant_id == participant_id,
            Enrollment.program_id == program_id,
            Enrollment.ended_on.is_(None),
        )
    )
    if enrolled is not None:
        raise AlreadyEnrolled


async def _audit(db: AsyncSession, participant: Participant) -> None:
    await audit.record(
        db,
        AuditAction.UPDATE,
        Permission.PARTICIPANT_REFER_AGAIN,
        TABLE,
        participant.id,
        participant_id=participant.id,
        version=participant.version,
        sensitivity=participant.sensitivity,
    )
