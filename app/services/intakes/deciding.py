"""Deciding: a licensed human answers a recommendation, in agreement or not, and says why.

Both are kept side by side, so that agreement can be looked into. An admission begins its
enrollment in the same transaction: nobody is admitted without a place, or placed unadmitted.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid, Problem, constraint_problem
from app.domain import recommendation as rules
from app.domain.criteria import Criterion
from app.domain.intake import (
    UNDER_WAY,
    DecisionValue,
    Grounds,
    IntakeAction,
    IntakeState,
    agrees,
    decision_gaps,
)
from app.models.audit import AuditAction
from app.models.intakes import Decision, Intake, Recommendation
from app.models.staff import StaffAuthorization
from app.schemas.intakes import DecisionCreate, IntakeRead, Override
from app.security import audit, seals
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import intake_transitions, level_authorizations
from app.services.enrollments import enroll
from app.services.intakes.reading import (
    DECISION,
    TABLE,
    IntakeClosed,
    columns,
    composed,
    lock_intake,
)

_AXES: Final = TypeAdapter(rules.Axes)
_OVERRIDES: Final = TypeAdapter(list[Override])
_CRITERIA: Final = TypeAdapter(tuple[Criterion, ...])
_NOT_OVERRIDABLE: Final = "not_overridable:"
_OVERRIDE_MISSING: Final = "override_missing:"
_NO_ENROLLMENT: Final = "Only an admission opens an enrollment that a payer authorizes."


class RecommendationNeeded(Conflict):
    """Nothing has been suggested since the intake was opened or deferred."""

    slug, title = "recommendation-needed", "A recommendation is needed first"


class RecommendationSuperseded(Conflict):
    """A newer recommendation was made; `recommendation_id` names the one to be answered."""

    slug, title = "recommendation-superseded", "There is a newer recommendation"


class CriterionNotOverridable(Conflict):
    """Nobody may be admitted while one of these `criteria` is not known to be met."""

    slug, title = "criterion-not-overridable", "A criterion stands that no reason can override"


class LicenseNotActive(Problem):
    """No authorization of the caller's is in force today; who decides has an active license."""

    slug, title, status = "license-not-active", "The license is not active", HTTPStatus.FORBIDDEN


class OverridesNeeded(Conflict):
    """An admission against the suggestion gives a reason for each of these `criteria`."""

    slug, title = "overrides-needed", "A reason is needed for each criterion that is overridden"


constraint_problem("decision_recommendation_idx", RecommendationSuperseded)


async def decide(
    db: AsyncSession, principal: Principal, intake_id: UUID, request: DecisionCreate
) -> IntakeRead:
    """Answer the latest recommendation; an admission begins the enrollment.

    A deferral asks for more, and the intake goes on. Raises NotFound, LicenseNotActive,
    IntakeClosed, RecommendationNeeded, RecommendationSuperseded, CriterionNotOverridable,
    OverridesNeeded, AlreadyEnrolled, or Invalid.
    """
    intake = await lock_intake(db, principal, intake_id)
    answered = await _awaiting(db, intake)
    if answered.id != request.recommendation_id:
        raise RecommendationSuperseded(recommendation_id=answered.id)
    await _check_license(db, principal)
    _check(principal, _suggestion(answered), request)

    await intake_transitions.move(db, principal, intake, request.outcome.action, request.rationale)
    decision = await _decision(db, principal, intake, answered, request)
    await _record(db, intake, request.outcome)
    if request.outcome is DecisionValue.ADMIT_IOP:
        enrollment = await enroll(db, intake, decision, request.starts_on)
        if request.authorization is not None:
            await level_authorizations.record(db, principal, enrollment, request.authorization)
    return await composed(db, columns(intake))


async def _check_license(db: AsyncSession, principal: Principal) -> None:
    """A license that has ended, or of which nothing is on record, decides about nobody's care."""
    today = clock.now().date()
    in_force = await db.scalar(
        select(StaffAuthorization.id)
        .where(
            StaffAuthorization.staff_member_id == principal.staff_member_id,
            StaffAuthorization.starts_on <= today,
            or_(StaffAuthorization.ends_on.is_(None), StaffAuthorization.ends_on >= today),
        )
        .limit(1)
    )
    if in_force is None:
        raise LicenseNotActive


async def _awaiting(db: AsyncSession, intake: Intake) -> Recommendation:
    """The recommendation that awaits its answer."""
    if intake.state not in UNDER_WAY:
        raise IntakeClosed(state=intake.state.value)
    if intake.state is not IntakeState.AWAITING_DECISION:
        raise RecommendationNeeded(state=intake.state.value)
    latest = (
        select(Recommendation)
        .where(Recommendation.intake_id == intake.id)
        .order_by(Recommendation.made_at.desc(), Recommendation.id.desc())
        .limit(1)
    )
    return (await db.scalars(latest)).one()


def _suggestion(row: Recommendation) -> rules.Recommendation:
    return rules.Recommendation(
        verdict=row.verdict,
        axes=_AXES.validate_python(row.axes),
        criteria=_CRITERIA.validate_python(row.criteria),
        policy_key=row.policy,
        policy_version=row.policy_version,
        suggested_level=row.suggested_level,
    )


def _check(principal: Principal, suggestion: rules.Recommendation, request: DecisionCreate) -> None:
    gaps = decision_gaps(
        suggestion,
        request.outcome,
        Grounds(
            request.rationale,
            request.override_reason,
            {each.criterion for each in request.overrides},
        ),
        is_licensed_clinician=principal.is_licensed,
    )
    errors = [
        FieldError(f"/{gap.removesuffix('_missing')}", "missing", "This is required.")
        for gap in gaps
        if gap in {"rationale_missing", "override_reason_missing"}
    ]
    if request.starts_on is not None and request.outcome is not DecisionValue.ADMIT_IOP:
        errors.append(FieldError("/starts_on", "not_an_admission", "Only an admission begins."))
    if request.authorization is not None and request.outcome is not DecisionValue.ADMIT_IOP:
        errors.append(FieldError("/authorization", "not_an_admission", _NO_ENROLLMENT))
    errors += _unknown_overrides(suggestion, request)
    if errors:
        raise Invalid(errors=errors)
    if standing := _named(gaps, _NOT_OVERRIDABLE):
        raise CriterionNotOverridable(criteria=standing)
    if silent := _named(gaps, _OVERRIDE_MISSING):
        raise OverridesNeeded(criteria=silent)


def _named(gaps: Iterable[str], kind: str) -> list[str]:
    return [gap.removeprefix(kind) for gap in gaps if gap.startswith(kind)]


def _unknown_overrides(
    suggestion: rules.Recommendation, request: DecisionCreate
) -> Iterable[FieldError]:
    """An override is of a criterion that the recommendation judged, once."""
    known = {criterion.code for criterion in suggestion.criteria}
    seen: set[str] = set()
    for place, each in enumerate(request.overrides):
        pointer = f"/overrides/{place}/criterion"
        if each.criterion not in known:
            yield FieldError(pointer, "unknown", "The recommendation has no such criterion.")
        elif each.criterion in seen:
            yield FieldError(pointer, "repeated", "It was overridden already.")
        seen.add(each.criterion)


async def _decision(
    db: AsyncSession,
    principal: Principal,
    intake: Intake,
    answered: Recommendation,
    request: DecisionCreate,
) -> Decision:
    decision_id = new_id()
    key = await seals.participant_key(db, intake.participant_id)
    decision = Decision(
        id=decision_id,
        intake_id=intake.id,
        recommendation_id=answered.id,
        outcome=request.outcome,
        agrees_with_recommendation=agrees(answered.verdict, request.outcome),
        decided_by=principal.staff_member_id,
        decided_at=clock.now(),
        **seals.sealed(
            key,
            DECISION,
            decision_id,
            rationale=request.rationale,
            override_reason=request.override_reason,
            overrides=_OVERRIDES.dump_json(request.overrides).decode()
            if request.overrides
            else None,
        ),
    )
    db.add(decision)
    await db.flush()
    return decision


async def _record(db: AsyncSession, intake: Intake, outcome: DecisionValue) -> None:
    await audit.record(
        db,
        AuditAction.UPDATE,
        Permission.INTAKE_DECIDE,
        TABLE,
        intake.id,
        participant_id=intake.participant_id,
        version=intake.version,
    )
    is_deferral = outcome.action is IntakeAction.DEFER
    await events.record(
        db,
        "intake.deferred" if is_deferral else "intake.decided",
        intake.id,
        participant_id=intake.participant_id,
        version=intake.version,
    )
