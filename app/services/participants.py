"""Participants: who is in treatment.

Names, contacts and dates of birth are sealed under a key of their own for each participant
before they reach the database. Every read and change leaves its audit row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final
from uuid import UUID

from pydantic import MISSING
from sqlalchemy import Uuid, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.database import Lane, Query
from app.core.ids import new_id
from app.core.problems import NotFound, PreconditionFailed
from app.domain.intake import IntakeState
from app.domain.roles import CareTeamRole, ReferralSource, Sensitivity
from app.models.audit import AuditAction
from app.models.intakes import Intake, Referral
from app.models.participants import CareTeamMember, Participant
from app.models.programs import Program
from app.schemas.participants import (
    ParticipantCreate,
    ParticipantRead,
    ParticipantSummary,
    ParticipantUpdate,
    ReferralCreate,
    ReferralRead,
)
from app.security import audit, seals
from app.security.access import participants_visible_to, reach_parameters, visible_participants
from app.security.permissions import Permission
from app.security.principal import Principal, Reach
from app.security.sealing import normalize_email, normalize_phone
from app.services import intake_transitions

TABLE: Final = "participant"
_SEALED: Final = (
    "given_name",
    "family_name",
    "preferred_name",
    "pronouns",
    "alias",
    "born_on",
    "email",
    "phone",
)


@cache
def _one(reach: Reach) -> Query:
    statement = select(
        *Participant.__table__.columns, Participant.id.label("participant_id")
    ).where(Participant.id == bindparam("id"), visible_participants(Participant.id, reach))
    return audit.read_one(statement, Permission.PARTICIPANT_READ, TABLE)


@cache
def _page(reach: Reach) -> Query:
    after = bindparam("after", type_=Uuid)
    statement = (
        select(
            Participant.id,
            Participant.id.label("participant_id"),
            Participant.version,
            Participant.given_name,
            Participant.family_name,
            Participant.preferred_name,
            Participant.time_zone,
        )
        .where(
            Participant.id > after,
            visible_participants(Participant.id, reach, after=after),
        )
        .order_by(Participant.id)
        .limit(bindparam("limit"))
    )
    return audit.read_many(statement, Permission.PARTICIPANT_LIST, TABLE)


async def read_participant(
    lane: Lane, principal: Principal, participant_id: UUID
) -> ParticipantRead:
    """One participant's record; who may not see it learns nothing of it. Raises NotFound."""
    row = await lane.one(_one(principal.reach), id=participant_id, **reach_parameters(principal))
    if row is None:
        raise NotFound
    keys = await seals.keys_for(lane, (row[column] for column in _SEALED))
    return ParticipantRead.model_validate(
        {
            **row,
            **seals.opened(keys, TABLE, row, *_SEALED),
            "has_account": row["account_id"] is not None,
        }
    )


async def list_participants(
    lane: Lane, principal: Principal, *, after: UUID, limit: int
) -> Sequence[ParticipantSummary]:
    """The participants whom the caller may see, by id, one more than asked when there are more."""
    rows = await lane.all(
        _page(principal.reach), after=after, limit=limit + 1, **reach_parameters(principal)
    )
    shown = ("given_name", "family_name", "preferred_name")
    keys = await seals.keys_for(lane, (row[column] for row in rows for column in shown))
    return [
        ParticipantSummary.model_validate({**row, **seals.opened(keys, TABLE, row, *shown)})
        for row in rows
    ]


async def get_participant(
    db: AsyncSession, principal: Principal, participant_id: UUID, *, lock: bool = False
) -> Participant:
    """Load a participant the caller may see; one they may not see does not exist."""
    query = select(Participant).where(
        Participant.id == participant_id, participants_visible_to(principal, Participant.id)
    )
    if lock:
        query = query.with_for_update(key_share=True)
    participant = await db.scalar(query)
    if participant is None:
        raise NotFound
    return participant


async def refer(db: AsyncSession, principal: Principal, request: ReferralCreate) -> ReferralRead:
    """Send somebody to a program: their record, the referral and an open intake begin.

    The record carries the program's sensitivity from its first moment, and whoever refers
    joins the care team, because nobody else could see the record otherwise. Raises NotFound
    for a program that the organization does not have.
    """
    program = await db.scalar(select(Program).where(Program.id == request.program_id))
    if program is None:
        raise NotFound
    participant = await _new_participant(db, request.participant, is_part2=program.is_part2)
    db.add(_joining(principal, participant.id))
    await db.flush()
    await audit.record(
        db,
        AuditAction.CREATE,
        Permission.PARTICIPANT_REFER,
        TABLE,
        participant.id,
        participant_id=participant.id,
        sensitivity=participant.sensitivity,
    )
    return await begin_intake(
        db, principal, participant, program, Sending(request.source, request.reason)
    )


@dataclass(frozen=True, slots=True)
class Sending:
    """Who sends somebody to a program, and why."""

    source: ReferralSource
    reason: str | None


async def begin_intake(
    db: AsyncSession,
    principal: Principal,
    participant: Participant,
    program: Program,
    sending: Sending,
) -> ReferralRead:
    """Begin a referral of somebody who has a record, and the intake that answers it."""
    now = clock.now()
    key = await seals.participant_key(db, participant.id)
    referral_id = new_id()
    referral = Referral(
        id=referral_id,
        participant_id=participant.id,
        program_id=program.id,
        source=sending.source,
        referred_by=principal.account_id,
        created_at=now,
        **seals.sealed(key, "referral", referral_id, reason=sending.reason),
    )
    db.add(referral)
    await db.flush()
    intake = Intake(
        id=new_id(),
        referral_id=referral.id,
        participant_id=participant.id,
        program_id=program.id,
        state=IntakeState.REFERRED,
        created_at=now,
        updated_at=now,
    )
    db.add(intake)
    await db.flush()
    why = sending.reason or f"Referred: {sending.source.value}."
    await intake_transitions.begin(db, principal, intake, why)
    await events.record(db, "referral.created", referral.id, participant_id=participant.id)
    return ReferralRead(
        id=referral.id,
        participant_id=participant.id,
        program_id=program.id,
        intake_id=intake.id,
        source=referral.source,
        created_at=now,
    )


async def update_participant(
    db: AsyncSession,
    principal: Principal,
    participant_id: UUID,
    request: ParticipantUpdate,
    version: int,
) -> ParticipantRead:
    """Change what is given; the rest stays. Raises NotFound or PreconditionFailed."""
    participant = await get_participant(db, principal, participant_id, lock=True)
    if participant.version != version:
        raise PreconditionFailed
    key = await seals.participant_key(db, participant.id)
    for field, value in request.model_dump(exclude_unset=True).items():
        if field in _SEALED:
            value = seals.sealed(key, TABLE, participant.id, **{field: value})[field]  # noqa: PLW2901
        setattr(participant, field, value)
    if request.phone is not MISSING:
        participant.phone_index = await _phone_index(db, request.phone)
    participant.updated_at = clock.now()
    await db.flush()
    await audit.record(
        db,
        AuditAction.UPDATE,
        Permission.PARTICIPANT_UPDATE,
        TABLE,
        participant.id,
        participant_id=participant.id,
        version=participant.version,
    )
    await events.record(
        db,
        "participant.updated",
        participant.id,
        participant_id=participant.id,
        version=participant.version,
    )
    return await _read(db, participant)


async def _new_participant(
    db: AsyncSession, request: ParticipantCreate, *, is_part2: bool
) -> Participant:
    participant_id = new_id()
    now = clock.now()
    key = await seals.participant_key(db, participant_id)
    texts = {
        "given_name": request.given_name,
        "family_name": request.family_name,
        "preferred_name": request.preferred_name,
        "pronouns": request.pronouns,
        "alias": request.alias or f"Member {participant_id.hex[-4:].upper()}",
        "born_on": request.born_on.isoformat() if request.born_on else None,
        "email": request.email,
        "phone": request.phone,
    }
    participant = Participant(
        id=participant_id,
        time_zone=request.time_zone,
        home_state=request.home_state,
        email_index=await _email_index(db, request.email),
        phone_index=await _phone_index(db, request.phone),
        sensitivity=[Sensitivity.PART2] if is_part2 else [],
        created_at=now,
        updated_at=now,
        **seals.sealed(key, TABLE, participant_id, **texts),
    )
    db.add(participant)
    await db.flush()
    return participant


def _joining(principal: Principal, participant_id: UUID) -> CareTeamMember:
    role = (
        CareTeamRole.CARE_COORDINATOR
        if "care_coordinator" in principal.roles
        else CareTeamRole.CLINICIAN
    )
    return CareTeamMember(
        id=new_id(),
        participant_id=participant_id,
        staff_member_id=principal.staff_member_id,
        role=role,
        started_at=clock.now(),
    )


async def _email_index(db: AsyncSession, email: str | None) -> bytes | None:
    return None if email is None else await seals.blind_index(db, "email", normalize_email(email))


async def _phone_index(db: AsyncSession, phone: str | None) -> bytes | None:
    return None if phone is None else await seals.blind_index(db, "phone", normalize_phone(phone))


async def _read(db: AsyncSession, participant: Participant) -> ParticipantRead:
    row = {c.name: getattr(participant, c.name) for c in Participant.__table__.columns}
    keys = await seals.keys_for(db, (row[column] for column in _SEALED))
    return ParticipantRead.model_validate(
        {
            **row,
            **seals.opened(keys, TABLE, row, *_SEALED),
            "has_account": participant.account_id is not None,
        }
    )
