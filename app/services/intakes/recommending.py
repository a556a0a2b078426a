"""Recommending: the policy's suggestion, with every criterion and the records it was judged by.

A recommendation is never changed; asking again makes a new one. It decides nothing.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Forbidden, Invalid
from app.domain import recommendation as rules
from app.domain.criteria import Criterion
from app.domain.intake import UNDER_WAY, IntakeAction
from app.domain.recommendation import AdmissionPolicy
from app.models.audit import AuditAction
from app.models.intakes import Intake, Recommendation
from app.schemas.intakes import (
    AvailableClinicianRead,
    AxesRead,
    CriterionRead,
    IntakeRead,
    PresentRecommendationRead,
    RecommendationCreate,
)
from app.security import audit
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import intake_transitions
from app.services.admission_policies import policy_of
from app.services.intakes.evidence import Said, collect
from app.services.intakes.facts import facts_of, get_intake, unknown_statements
from app.services.intakes.moving import MAY_ATTEST
from app.services.intakes.reading import TABLE, IntakeClosed, columns, composed, lock_intake

_PRESENTED: Final = "A recommendation was put before a clinician."


async def recommend(
    db: AsyncSession, principal: Principal, intake_id: UUID, request: RecommendationCreate
) -> IntakeRead:
    """Suggest what the policy says about what is known now; the intake then awaits a decision.

    Statements beyond the forms are a clinician's. Raises NotFound, IntakeClosed, Forbidden, or
    Invalid with a pointer to each statement that the policy does not know.
    """
    intake = await lock_intake(db, principal, intake_id)
    policy = await policy_of(db, intake.program_id)
    _check(principal, policy, request)
    await _await_decision(db, principal, intake)
    row = Recommendation(
        id=new_id(),
        intake_id=intake.id,
        made_by=principal.account_id,
        made_at=intake.updated_at,
    )
    facts = await facts_of(db, intake)
    said = Said(request.attestations, request.functional_ratings, row.id)
    collected = await collect(db, policy, intake, facts, said)
    _keep(row, rules.recommend(policy, collected.inputs))
    db.add(row)
    await db.flush()
    await audit.record(
        db,
        AuditAction.EXECUTE,
        Permission.INTAKE_RECOMMEND,
        TABLE,
        intake.id,
        participant_id=intake.participant_id,
        version=intake.version,
    )
    await events.record(
        db,
        "intake.recommended",
        intake.id,
        participant_id=intake.participant_id,
        version=intake.version,
    )
    return await composed(db, columns(intake))


async def present_recommendation(
    db: AsyncSession, principal: Principal, intake_id: UUID
) -> PresentRecommendationRead:
    """Say what the policy says now, and what is missing, at any stage; nothing is stored.

    Raises NotFound.
    """
    intake = await get_intake(db, principal, intake_id)
    policy = await policy_of(db, intake.program_id)
    collected = await collect(db, policy, intake, await facts_of(db, intake))
    suggestion = rules.recommend(policy, collected.inputs)
    await audit.record(
        db,
        AuditAction.READ,
        Permission.INTAKE_READ,
        TABLE,
        intake.id,
        participant_id=intake.participant_id,
        version=intake.version,
    )
    return PresentRecommendationRead(
        intake_id=intake.id,
        policy=suggestion.policy_key,
        policy_version=suggestion.policy_version,
        effective_from=policy.effective_from,
        verdict=suggestion.verdict,
        suggested_level=suggestion.suggested_level,
        axes=AxesRead.model_validate(asdict(suggestion.axes)),
        criteria=_criteria(suggestion.criteria),
        missing=_criteria(suggestion.missing),
        exclusions=_criteria(suggestion.exclusions),
        state=collected.state,
        available_clinicians=[
            AvailableClinicianRead(
                staff_member_id=each.staff_member_id, kind=each.kind, ends_on=each.ends_on
            )
            for each in collected.clinicians
        ],
        judged_at=clock.now(),
    )


def _criteria(criteria: Iterable[Criterion]) -> list[CriterionRead]:
    return [CriterionRead.model_validate(asdict(each)) for each in criteria]


async def _await_decision(db: AsyncSession, principal: Principal, intake: Intake) -> None:
    if intake.state not in UNDER_WAY:
        raise IntakeClosed(state=intake.state.value)
    await intake_transitions.move(db, principal, intake, IntakeAction.PRESENT, _PRESENTED)


def _check(principal: Principal, policy: AdmissionPolicy, request: RecommendationCreate) -> None:
    errors = list(unknown_statements(policy, request.attestations, request.functional_ratings))
    if errors:
        raise Invalid(errors=errors)
    is_stated = request.attestations or request.functional_ratings
    if is_stated and not principal.roles & MAY_ATTEST:
        raise Forbidden("Statements beyond the forms are made by a clinician.")


def _keep(row: Recommendation, suggestion: rules.Recommendation) -> None:
    row.policy = suggestion.policy_key
    row.policy_version = suggestion.policy_version
    row.verdict = suggestion.verdict
    row.suggested_level = suggestion.suggested_level
    row.axes = asdict(suggestion.axes)
    row.criteria = [asdict(criterion) for criterion in suggestion.criteria]
