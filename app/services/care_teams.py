"""Care teams: which staff members are related to a participant, as what, from when to when.

The relationship opens the record and is decided by the database at each request, so that it
ends with the next one. Somebody who is in treatment, or waits for it, is never left without a
colleague who can sign in.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, NotFound, constraint_problem
from app.domain.intake import UNDER_WAY
from app.models.audit import AuditAction
from app.models.intakes import Enrollment, Intake
from app.models.participants import CareTeamMember, Participant
from app.models.staff import StaffMember
from app.schemas.participants import CareTeamMemberCreate, CareTeamMemberRead
from app.security import audit, seals
from app.security.access import viewer
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.participants import get_participant


class AlreadyInCareTeam(Conflict):
    """The staff member has this role in the care team now."""

    slug, title = "already-in-care-team", "The staff member is in the care team already"


constraint_problem("care_team_member_current_idx", AlreadyInCareTeam)


class LastOfCareTeam(Conflict):
    """Nobody who can sign in would be left in the care team of this many `participants`.

    They are in treatment or wait for it: let a colleague join their care teams first.
    """

    slug, title = "last-of-care-team", "Somebody in treatment would be left without a care team"


async def list_care_team(
    db: AsyncSession, principal: Principal, participant_id: UUID
) -> Sequence[CareTeamMemberRead]:
    """Who is and was related to a participant. Raises NotFound."""
    await get_participant(db, principal, participant_id)
    rows = (
        await db.execute(
            select(CareTeamMember, StaffMember.name)
            .join(StaffMember, StaffMember.id == CareTeamMember.staff_member_id)
            .where(CareTeamMember.participant_id == participant_id)
            .order_by(CareTeamMember.id)
            .limit(100)
        )
    ).all()
    await audit.record(
        db,
        AuditAction.READ,
        Permission.CARE_TEAM_READ,
        "care_team",
        participant_id=participant_id,
        count=len(rows),
    )
    keys = await seals.keys_for(db, (name for _, name in rows))
    return [_member_read(member, _staff_name(keys, member, name)) for member, name in rows]


async def join_care_team(
    db: AsyncSession, principal: Principal, participant_id: UUID, request: CareTeamMemberCreate
) -> CareTeamMemberRead:
    """Relate a staff member to a participant: from now on they may see the record.

    Raises NotFound, or AlreadyInCareTeam.
    """
    participant = await get_participant(db, principal, participant_id, lock=True)
    colleague = await db.scalar(
        select(StaffMember).where(StaffMember.id == request.staff_member_id)
    )
    if colleague is None:
        raise NotFound
    present = await db.scalar(
        select(CareTeamMember.id).where(
            CareTeamMember.participant_id == participant.id,
            CareTeamMember.staff_member_id == colleague.id,
            CareTeamMember.role == request.role,
            CareTeamMember.ended_at.is_(None),
        )
    )
    if present is not None:
        raise AlreadyInCareTeam
    member = CareTeamMember(
        id=new_id(),
        participant_id=participant.id,
        staff_member_id=colleague.id,
        role=request.role,
        started_at=clock.now(),
    )
    db.add(member)
    await db.flush()
    await _record_care_team(db, participant.id, "care_team.joined", member)
    keys = await seals.keys_for(db, [colleague.name])
    return _member_read(member, _staff_name(keys, member, colleague.name))


async def leave_care_team(
    db: AsyncSession, principal: Principal, participant_id: UUID, member_id: UUID
) -> None:
    """End a relationship: the next request of that staff member no longer sees the record.

    Two who leave at the same moment take turns. Raises NotFound or LastOfCareTeam.
    """
    await get_participant(db, principal, participant_id, lock=True)
    member = await db.scalar(
        select(CareTeamMember)
        .where(
            CareTeamMember.id == member_id,
            CareTeamMember.participant_id == participant_id,
            CareTeamMember.ended_at.is_(None),
        )
        .with_for_update(key_share=True)
    )
    if member is None:
        raise NotFound
    await check_nobody_is_left(db, principal, CareTeamMember.id == member.id)
    member.ended_at = clock.now()
    await db.flush()
    await _record_care_team(db, participant_id, "care_team.left", member)


async def check_nobody_is_left(
    db: AsyncSession, principal: Principal, ending: ColumnElement[bool]
) -> None:
    """Raise LastOfCareTeam if somebody in treatment had only relationships that are `ending`.

    The participants are locked before it is asked who else is there, so that two colleagues do
    not each count on the other.
    """
    attends = viewer(principal).attends(CareTeamMember)
    concerned = select(CareTeamMember.participant_id).where(ending, attends)
    participant_ids = (
        await db.scalars(
            select(Participant.id)
            .where(Participant.id.in_(concerned), _is_in_treatment())
            .order_by(Participant.id)
            .with_for_update(key_share=True)
        )
    ).all()
    others = await db.scalars(
        select(CareTeamMember.participant_id).where(
            CareTeamMember.participant_id.in_(participant_ids), attends, ~ending
        )
    )
    left = set(participant_ids) - set(others)
    if left:
        raise LastOfCareTeam(participants=len(left))


def _is_in_treatment() -> ColumnElement[bool]:
    """Whether a participant is enrolled, or waits to hear whether they will be."""
    enrolled = select(Enrollment.participant_id).where(Enrollment.ended_on.is_(None))
    waiting = select(Intake.participant_id).where(Intake.state.in_(UNDER_WAY))
    return or_(Participant.id.in_(enrolled), Participant.id.in_(waiting))


async def _record_care_team(
    db: AsyncSession, participant_id: UUID, event: str, member: CareTeamMember
) -> None:
    await audit.record(
        db,
        AuditAction.UPDATE,
        Permission.CARE_TEAM_CHANGE,
        "care_team",
        member.id,
        participant_id=participant_id,
    )
    await events.record(db, event, member.id, participant_id=participant_id)


def _staff_name(keys: seals.Keys, member: CareTeamMember, name: bytes) -> str:
    return keys.unseal(seals.Cell("staff_member", "name", member.staff_member_id), name)


def _member_read(member: CareTeamMember, name: str) -> CareTeamMemberRead:
    return CareTeamMemberRead(
        id=member.id,
        staff_member_id=member.staff_member_id,
        name=name,
        role=member.role,
        started_at=member.started_at,
        ended_at=member.ended_at,
    )
