"""Recommending: the policy's suggestion, with every criterion and the records it was judged by.

A recommendation is never changed; asking again makes a new one. It decides nothing.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Forbidden, Invalid
from app.domain import recommendation as rules
from app.domain.intake import UNDER_WAY, IntakeAction
from app.domain.recommendation import AdmissionPolicy, default_admission_policy
from app.models.audit import AuditAction
from app.models.intakes import Intake, Recommendation
from app.schemas.intakes import IntakeRead, RecommendationCreate
from app.security import audit
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import intake_transitions
from app.services.intakes.evidence import Statements, collect
from app.services.intakes.moving import MAY_ATTEST
from app.services.intakes.reading import TABLE, columns, composed, lock_intake

_PRESENTED: Final = "A recommendation was put before a clinician."


class IntakeClosed(Conflict):
    """The intake has ended; `state` says how."""

    slug, title = "intake-closed", "The intake is closed"


async def recommend(
    db: AsyncSession, principal: Principal, intake_id: UUID, request: RecommendationCreate
) -> IntakeRead:
    """Suggest what the policy says about what is known now; the intake then awaits a decision.

    Statements beyond the forms are a clinician's. Raises NotFound, IntakeClosed, Forbidden, or
    Invalid with a pointer to each statement that the policy does not know.
    """
    intake = await lock_intake(db, principal, intake_id)
    policy = default_admission_policy()
    _check(principal, policy, request)
    await _await_decision(db, principal, intake)
    row = Recommendation(
        id=new_id(),
        intake_id=intake.id,
        made_by=principal.account_id,
        made_at=intake.updated_at,
    )
    statements = Statements(
        attestations={said.code: said.holds for said in request.attestations},
        functional_ratings={each.domain: each.rating for each in request.functional_ratings},
        evidence=row.id,
    )
    inputs = await collect(db, policy, intake.participant_id, statements)
    _keep(row, rules.recommend(policy, inputs))
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


async def _await_decision(db: AsyncSession, principal: Principal, intake: Intake) -> None:
    if intake.state not in UNDER_WAY:
        raise IntakeClosed(state=intake.state.value)
    await intake_transitions.move(db, principal, intake, IntakeAction.PRESENT, _PRESENTED)


def _check(principal: Principal, policy: AdmissionPolicy, request: RecommendationCreate) -> None:
    known = {rule.code for rule in policy.attestations} | {*policy.severity.functional_alternatives}
    attested = [said.code for said in request.attestations]
    rated = [each.domain for each in request.functional_ratings]
    errors = [
        *_unknown("attestations", "code", attested, known),
        *_unknown("functional_ratings", "domain", rated, {*policy.severity.functional_domains}),
    ]
    if errors:
        raise Invalid(errors=errors)
    if (attested or rated) and not principal.roles & MAY_ATTEST:
        raise Forbidden("Statements beyond the forms are made by a clinician.")


def _unknown(field: str, name: str, codes: Iterable[str], known: set[str]) -> Iterable[FieldError]:
    seen: set[str] = set()
    for place, code in enumerate(codes):
        if code not in known:
            yield FieldError(f"/{field}/{place}/{name}", "unknown", "The policy has no such word.")
        elif code in seen:
            yield FieldError(f"/{field}/{place}/{name}", "repeated", "It was said already.")
        seen.add(code)


def _keep(row: Recommendation, suggestion: rules.Recommendation) -> None:
    row.policy = suggestion.policy_key
    row.policy_version = suggestion.policy_version
    row.verdict = suggestion.verdict
    row.suggested_level = suggestion.suggested_level
    row.axes = asdict(suggestion.axes)
    row.criteria = [asdict(criterion) for criterion in suggestion.criteria]
