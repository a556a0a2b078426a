"""Enrollments: they begin with a decision to admit, and end with a discharge and its reason.

At most one enrollment of a participant in a program is open; the database keeps it. A day is the
participant's day. A discharge ends the memberships in the program's groups in the same
transaction, so that nobody keeps a place, or a view, that they have left.
"""

from collections.abc import Sequence
from datetime import date
from functools import cache
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Uuid, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.database import Lane, Query
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid, NotFound, constraint_problem
from app.models.audit import AuditAction
from app.models.intakes import Decision, Enrollment, Intake
from app.models.participants import Participant
from app.models.programs import Program
from app.schemas.enrollments import DischargeCreate, EnrollmentRead
from app.security import audit
from app.security.access import participants_visible_to, reach_parameters, visible_participants
from app.security.permissions import Permission
from app.security.principal import Principal, Reach
from app.services import groups

TABLE: Final = "enrollment"


class AlreadyEnrolled(Conflict):
    """An enrollment of the participant in this program is open."""

    slug, title = "already-enrolled", "The participant is enrolled in the program already"


class AlreadyDischarged(Conflict):
    """The enrollment has ended."""

    slug, title = "already-discharged", "The enrollment has ended already"


constraint_problem("enrollment_open_idx", AlreadyEnrolled)


@cache
def _one(reach: Reach) -> Query:
    statement = select(*Enrollment.__table__.columns).where(
        Enrollment.id == bindparam("id"), visible_participants(Enrollment.participant_id, reach)
    )
    return audit.read_one(statement, Permission.ENROLLMENT_READ, TABLE)


@cache
def _page(reach: Reach, *, of_one: bool) -> Query:
    statement = (
        select(*Enrollment.__table__.columns)
        .where(
            Enrollment.id > bindparam("after", type_=Uuid),
            visible_participants(Enrollment.participant_id, reach),
        )
        .order_by(Enrollment.id)
        .limit(bindparam("limit"))
    )
    if of_one:
        statement = statement.where(Enrollment.participant_id == bindparam("participant_id"))
    return audit.read_many(statement, Permission.ENROLLMENT_READ, TABLE)


async def read_enrollment(lane: Lane, principal: Principal, enrollment_id: UUID) -> EnrollmentRead:
    """One enrollment. Raises NotFound."""
    row = await lane.one(_one(principal.reach), id=enrollment_id, **reach_parameters(principal))
    if row is None:
        raise NotFound
    return EnrollmentRead.model_validate(dict(row))


async def list_enrollments(
    lane: Lane, principal: Principal, participant_id: UUID | None, *, after: UUID, limit: int
) -> Sequence[EnrollmentRead]:
    """The enrollments that the caller may see, of one participant or of all, by id."""
    rows = await lane.all(
        _page(principal.reach, of_one=participant_id is not None),
        after=after,
        limit=limit + 1,
        participant_id=participant_id,
        **reach_parameters(principal),
    )
    return [EnrollmentRead.model_validate(dict(row)) for row in rows]


async def enroll(
    db: AsyncSession, intake: Intake, decision: Decision, starts_on: date | None
) -> Enrollment:
    """Begin the enrollment that a decision to admit means, today or on a later day.

    Raises AlreadyEnrolled, or Invalid for a day that has passed.
    """
    program = (await db.scalars(select(Program).where(Program.id == intake.program_id))).one()
    today = await _today(db, intake.participant_id)
    if starts_on is not None and starts_on < today:
        raise Invalid(errors=[FieldError("/starts_on", "past", "Care cannot begin in the past.")])
    now = clock.now()
    enrollment = Enrollment(
        id=new_id(),
        participant_id=intake.participant_id,
        program_id=program.id,
        decision_id=decision.id,
        level_of_care=program.level_of_care,
        started_on=starts_on or today,
        created_at=now,
        updated_at=now,
    )
    db.add(enrollment)
    await _changed(
        db, enrollment, AuditAction.CREATE, Permission.INTAKE_DECIDE, "enrollment.started"
    )
    return enrollment


async def discharge(
    db: AsyncSession, principal: Principal, enrollment_id: UUID, request: DischargeCreate
) -> EnrollmentRead:
    """End an enrollment today, with its reason, and the places that came with it.

    The places in the program's groups end, whichever of them the discharging clinician sees;
    those in another program's groups go on. An enrollment that was to begin later ends on the
    day it would have begun. Raises NotFound or AlreadyDischarged.
    """
    enrollment = await db.scalar(
        select(Enrollment)
        .where(
            Enrollment.id == enrollment_id,
            participants_visible_to(principal, Enrollment.participant_id),
        )
        .with_for_update(key_share=True)
    )
    if enrollment is None:
        raise NotFound
    if enrollment.ended_on is not None:
        raise AlreadyDischarged
    today = await _today(db, enrollment.participant_id)
    enrollment.ended_on = max(today, enrollment.started_on)
    enrollment.discharge_reason = request.reason
    enrollment.updated_at = clock.now()
    await _changed(
        db, enrollment, AuditAction.UPDATE, Permission.ENROLLMENT_DISCHARGE, "enrollment.ended"
    )
    await groups.leave_groups_of(db, enrollment.participant_id, enrollment.program_id)
    return EnrollmentRead.model_validate(enrollment)


async def _today(db: AsyncSession, participant_id: UUID) -> date:
    """The day that it is for the participant."""
    zone: Any = await db.scalar(
        select(Participant.time_zone).where(Participant.id == participant_id)
    )
    return clock.now().astimezone(ZoneInfo(zone)).date()


async def _changed(
    db: AsyncSession,
    enrollment: Enrollment,
    action: AuditAction,
    permission: Permission,
    event: str,
) -> None:
    await db.flush()
    await audit.record(
        db,
        action,
        permission,
        TABLE,
        enrollment.id,
        participant_id=enrollment.participant_id,
        version=enrollment.version,
    )
    await events.record(
        db,
        event,
        enrollment.id,
        participant_id=enrollment.participant_id,
        version=enrollment.version,
    )
