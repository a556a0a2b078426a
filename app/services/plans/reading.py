"""Who reads which plan, and how one is loaded before it changes."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import ColumnElement, Integer, Uuid, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core.database import Lane, Query
from app.core.problems import Conflict, NotFound, constraint_problem
from app.domain.plans import PlanState
from app.models.audit import AuditAction
from app.models.intakes import Enrollment
from app.models.plans import Plan, PlanSignature
from app.schemas.plans import PlanRead, PlanSummary, SignatureRead
from app.security import audit, seals
from app.security.access import participants_visible_to, reach_parameters, visible_participants
from app.security.permissions import Permission
from app.security.principal import Principal, Reach
from app.services.plans import content as contents
from app.services.plans.content import TABLE

_LISTED: Final = (
    "id",
    "version",
    "participant_id",
    "enrollment_id",
    "number",
    "supersedes_id",
    "state",
    "review_on",
    "activated_at",
    "created_at",
    "updated_at",
)
_SIGNATURES: Final = Query(
    select(PlanSignature.role, PlanSignature.signed_by, PlanSignature.signed_at)
    .where(PlanSignature.plan_id == bindparam("plan", type_=Uuid))
    .order_by(PlanSignature.id)
)


class EnrollmentEnded(Conflict):
    """The participant was discharged from this enrollment."""

    slug, title = "enrollment-ended", "The enrollment has ended"


class PlanSigned(Conflict):
    """Somebody has signed the plan: what they signed does not change any more."""

    slug, title = "plan-signed", "The plan is signed"


constraint_problem("plan_signed", PlanSigned)


async def read_plan(lane: Lane, principal: Principal, plan_id: UUID) -> PlanRead:
    """One plan with its content and signatures; a participant reads no draft. Raises NotFound."""
    row = await lane.one(_one(principal.reach), id=plan_id, **reach_parameters(principal))
    if row is None:
        raise NotFound
    signatures = await lane.all(_SIGNATURES, plan=plan_id)
    keys = await seals.keys_for(lane, [row["content"]])
    return _read(keys, row, signatures)


async def list_plans(
    lane: Lane, principal: Principal, participant_id: UUID | None, *, after: UUID, limit: int
) -> Sequence[PlanSummary]:
    """The plans that the caller may see, of one participant or of all, by id.

    One more than asked when there are more.
    """
    rows = await lane.all(
        _page(principal.reach, of_one=participant_id is not None),
        after=after,
        limit=limit + 1,
        participant=participant_id,
        **reach_parameters(principal),
    )
    return [PlanSummary.model_validate({**row}) for row in rows]


async def get_plan(db: AsyncSession, principal: Principal, plan_id: UUID) -> Plan:
    """Load a plan the caller may see, and hold its enrollment until the commit.

    The enrollment's lock is what makes drafting, signing and superseding of one episode come
    one after the other.
    """
    visible = (
        Plan.id == plan_id,
        participants_visible_to(principal, Plan.participant_id),
        *_readable(principal.reach),
    )
    enrollment_id = await db.scalar(select(Plan.enrollment_id).where(*visible))
    if enrollment_id is None:
        raise NotFound
    _ = await hold_enrollment(db, enrollment_id)
    return (await db.scalars(select(Plan).where(Plan.id == plan_id))).one()


async def hold_enrollment(db: AsyncSession, enrollment_id: UUID) -> Enrollment:
    """Let nobody else change the plans of an enrollment until the commit."""
    query = (
        select(Enrollment)
        .where(Enrollment.id == enrollment_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await db.scalars(query)).one()


async def open_enrollment(db: AsyncSession, plan: Plan) -> Enrollment:
    """The enrollment of a plan, as long as care goes on. Raises EnrollmentEnded."""
    enrollment = await hold_enrollment(db, plan.enrollment_id)
    if enrollment.ended_on is not None:
        raise EnrollmentEnded
    return enrollment


async def reread(db: AsyncSession, plan: Plan) -> PlanRead:
    """A plan as it stands after a change."""
    found = await db.execute(
        select(PlanSignature.role, PlanSignature.signed_by, PlanSignature.signed_at)
        .where(PlanSignature.plan_id == plan.id)
        .order_by(PlanSignature.id)
    )
    row = {column.name: getattr(plan, column.name) for column in Plan.__table__.columns}
    keys = await seals.keys_for(db, [plan.content])
    return _read(keys, row, [dict(each) for each in found.mappings()])


async def record(
    db: AsyncSession, plan: Plan, action: AuditAction, permission: Permission, verb: str
) -> None:
    """Leave the trace of a change of a plan, and say that it happened."""
    await audit.record(
        db,
        action,
        permission,
        TABLE,
        plan.id,
        participant_id=plan.participant_id,
        version=plan.version,
    )
    await events.record(
        db,
        f"plan.{verb}",
        plan.id,
        participant_id=plan.participant_id,
        version=plan.version,
    )


@cache
def _one(reach: Reach) -> Query:
    statement = select(*Plan.__table__.columns).where(
        Plan.id == bindparam("id", type_=Uuid),
        visible_participants(Plan.participant_id, reach),
        *_readable(reach),
    )
    return audit.read_one(statement, Permission.PLAN_READ, TABLE)


@cache
def _page(reach: Reach, *, of_one: bool) -> Query:
    statement = (
        select(*(Plan.__table__.c[column] for column in _LISTED))
        .where(
            Plan.id > bindparam("after", type_=Uuid),
            visible_participants(Plan.participant_id, reach),
            *_readable(reach),
        )
        .order_by(Plan.id)
        .limit(bindparam("limit", type_=Integer))
    )
    if of_one:
        statement = statement.where(Plan.participant_id == bindparam("participant", type_=Uuid))
    return audit.read_many(statement, Permission.PLAN_READ, TABLE)


def _readable(reach: Reach) -> list[ColumnElement[bool]]:
    """A draft is its author's working paper until it is proposed to the participant."""
    if reach == Reach.SELF:
        return [Plan.state != PlanState.DRAFT]
    return []


def _read(
    keys: seals.Keys,
    row: Mapping[str, Any] | asyncpg.Record,
    signatures: Sequence[Mapping[str, Any] | asyncpg.Record],
) -> PlanRead:
    return PlanRead.model_validate(
        {
            **row,
            "content": contents.unsealed(keys, row["id"], row["content"]),
            "content_digest": row["content_digest"].hex(),
            "signatures": [SignatureRead.model_validate({**each}) for each in signatures],
        }
    )
