"""Intakes, read: with what was last suggested and last decided, side by side."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import Uuid, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import Handle, Lane, Query, in_lane
from app.core.problems import Conflict, NotFound
from app.models.intakes import Decision, Enrollment, Intake, Recommendation
from app.schemas.intakes import DecisionRead, IntakeRead, IntakeSummary, RecommendationRead
from app.security import audit, seals
from app.security.access import participants_visible_to, reach_parameters, visible_participants
from app.security.permissions import Permission
from app.security.principal import Principal, Reach


class IntakeClosed(Conflict):
    """The intake has ended; `state` says how."""

    slug, title = "intake-closed", "The intake is closed"


TABLE: Final = "intake"
DECISION: Final = "decision"
_COLUMNS: Final = (
    Intake.id,
    Intake.version,
    Intake.participant_id,
    Intake.program_id,
    Intake.referral_id,
    Intake.state,
    Intake.created_at,
    Intake.updated_at,
)
_RECOMMENDATION: Final = Query(
    select(
        Recommendation.id,
        Recommendation.policy,
        Recommendation.policy_version,
        Recommendation.verdict,
        Recommendation.suggested_level,
        Recommendation.axes,
        Recommendation.criteria,
        Recommendation.made_by,
        Recommendation.made_at,
    )
    .where(Recommendation.intake_id == bindparam("intake_id", type_=Uuid))
    .order_by(Recommendation.made_at.desc(), Recommendation.id.desc())
    .limit(1)
)
_DECISION: Final = Query(
    select(
        Decision.id,
        Decision.recommendation_id,
        Decision.outcome,
        Decision.agrees_with_recommendation,
        Decision.rationale,
        Decision.override_reason,
        Decision.overrides,
        Decision.decided_by,
        Decision.decided_at,
        Enrollment.id.label("enrollment_id"),
    )
    .outerjoin(
        Enrollment,
        (Enrollment.organization_id == Decision.organization_id)
        & (Enrollment.decision_id == Decision.id),
    )
    .where(Decision.intake_id == bindparam("intake_id", type_=Uuid))
    .order_by(Decision.decided_at.desc(), Decision.id.desc())
    .limit(1)
)


@cache
def _one(reach: Reach) -> Query:
    statement = select(*_COLUMNS).where(
        Intake.id == bindparam("id"), visible_participants(Intake.participant_id, reach)
    )
    return audit.read_one(statement, Permission.INTAKE_READ, TABLE)


@cache
def _page(reach: Reach, *, of_one: bool) -> Query:
    statement = (
        select(*_COLUMNS)
        .where(
            Intake.id > bindparam("after", type_=Uuid),
            visible_participants(Intake.participant_id, reach),
        )
        .order_by(Intake.id)
        .limit(bindparam("limit"))
    )
    if of_one:
        statement = statement.where(Intake.participant_id == bindparam("participant_id"))
    return audit.read_many(statement, Permission.INTAKE_READ, TABLE)


async def read_intake(lane: Lane, principal: Principal, intake_id: UUID) -> IntakeRead:
    """One intake with its latest recommendation and decision. Raises NotFound."""
    row = await lane.one(_one(principal.reach), id=intake_id, **reach_parameters(principal))
    if row is None:
        raise NotFound
    return await composed(lane, dict(row))


async def list_intakes(
    lane: Lane, principal: Principal, participant_id: UUID | None, *, after: UUID, limit: int
) -> Sequence[IntakeSummary]:
    """The intakes that the caller may see, of one participant or of all, by id."""
    rows = await lane.all(
        _page(principal.reach, of_one=participant_id is not None),
        after=after,
        limit=limit + 1,
        participant_id=participant_id,
        **reach_parameters(principal),
    )
    return [IntakeSummary.model_validate(dict(row)) for row in rows]


async def lock_intake(db: AsyncSession, principal: Principal, intake_id: UUID) -> Intake:
    """Load an intake the caller may see, and keep others from it until the transaction ends."""
    intake = await db.scalar(
        select(Intake)
        .where(Intake.id == intake_id, participants_visible_to(principal, Intake.participant_id))
        .with_for_update(key_share=True)
    )
    if intake is None:
        raise NotFound
    return intake


def columns(intake: Intake) -> dict[str, Any]:
    """A loaded intake, as a lane would have read it."""
    return {column.key: getattr(intake, column.key) for column in _COLUMNS}


async def composed(handle: Handle, row: Mapping[str, Any]) -> IntakeRead:
    """An intake with what was last suggested and last decided."""
    lane = await in_lane(handle)
    suggested = await lane.one(_RECOMMENDATION, intake_id=row["id"])
    decided = await lane.one(_DECISION, intake_id=row["id"])
    return IntakeRead.model_validate(
        {
            **row,
            "recommendation": None
            if suggested is None
            else RecommendationRead.model_validate(dict(suggested)),
            "decision": None if decided is None else await _decision_read(lane, decided),
            "enrollment_id": None if decided is None else decided["enrollment_id"],
        }
    )


async def _decision_read(lane: Lane, row: asyncpg.Record) -> DecisionRead:
    sealed = ("rationale", "override_reason", "overrides")
    keys = await seals.keys_for(lane, (row[column] for column in sealed))
    texts = seals.opened(keys, DECISION, row, *sealed)
    overrides = json.loads(texts["overrides"] or "[]")
    return DecisionRead.model_validate({**row, **texts, "overrides": overrides})
