"""The facts of an intake: collected over days, sealed as one document, never guessed."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.problems import FieldError, Forbidden, Invalid, NotFound, PreconditionFailed
from app.domain.intake import UNDER_WAY
from app.domain.recommendation import AdmissionPolicy
from app.models.audit import AuditAction
from app.models.intakes import Intake
from app.schemas.intake_facts import Attestation, FunctionalRating, IntakeFacts, IntakeFactsRead
from app.security import audit, seals
from app.security.access import participants_visible_to
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.admission_policies import policy_of
from app.services.intakes.moving import MAY_ATTEST
from app.services.intakes.reading import TABLE, IntakeClosed, lock_intake


async def read_facts(db: AsyncSession, principal: Principal, intake_id: UUID) -> IntakeFactsRead:
    """What is known beyond the forms; nothing yet is an empty document. Raises NotFound."""
    intake = await get_intake(db, principal, intake_id)
    facts = await facts_of(db, intake)
    await _audit(db, AuditAction.READ, Permission.INTAKE_READ, intake)
    return IntakeFactsRead(id=intake.id, version=intake.version, facts=facts)


async def put_facts(
    db: AsyncSession, principal: Principal, intake_id: UUID, facts: IntakeFacts, version: int
) -> IntakeFactsRead:
    """Replace the facts with what is known now; statements and ratings are a clinician's.

    Raises NotFound, PreconditionFailed, IntakeClosed, Forbidden, or Invalid with a pointer to each
    statement that the policy does not know.
    """
    intake = await lock_intake(db, principal, intake_id)
    if intake.version != version:
        raise PreconditionFailed
    if intake.state not in UNDER_WAY:
        raise IntakeClosed(state=intake.state.value)
    errors = [
        *unknown_statements(
            await policy_of(db, intake.program_id), facts.attestations, facts.functional_ratings
        ),
        *_too_many_primary(facts),
    ]
    if errors:
        raise Invalid(errors=errors)
    before = await facts_of(db, intake)
    is_stated = (before.attestations, before.functional_ratings) != (
        facts.attestations,
        facts.functional_ratings,
    )
    if is_stated and not principal.roles & MAY_ATTEST:
        raise Forbidden("Statements beyond the forms are made by a clinician.")
    key = await seals.participant_key(db, intake.participant_id)
    intake.facts = key.seal(_cell(intake.id), facts.model_dump_json())
    intake.updated_at = clock.now()
    await db.flush()
    await _audit(db, AuditAction.UPDATE, Permission.INTAKE_RECOMMEND, intake)
    await events.record(
        db,
        "intake.updated",
        intake.id,
        participant_id=intake.participant_id,
        version=intake.version,
    )
    return IntakeFactsRead(id=intake.id, version=intake.version, facts=facts)


async def get_intake(db: AsyncSession, principal: Principal, intake_id: UUID) -> Intake:
    """Load an intake the caller may see; one they may not see does not exist."""
    intake = await db.scalar(
        select(Intake).where(
            Intake.id == intake_id, participants_visible_to(principal, Intake.participant_id)
        )
    )
    if intake is None:
        raise NotFound
    return intake


async def facts_of(db: AsyncSession, intake: Intake) -> IntakeFacts:
    """The facts of an intake at hand."""
    if intake.facts is None:
        return IntakeFacts()
    keys = await seals.keys_for(db, [intake.facts])
    return IntakeFacts.model_validate_json(keys.unseal(_cell(intake.id), intake.facts))


def unknown_statements(
    policy: AdmissionPolicy,
    attestations: Sequence[Attestation],
    ratings: Sequence[FunctionalRating],
) -> Iterable[FieldError]:
    """Point at every statement and rating that the policy does not know, or that is repeated."""
    known = {rule.code for rule in policy.attestations} | {*policy.severity.functional_alternatives}
    yield from _unknown("attestations", "code", [each.code for each in attestations], known)
    domains = {*policy.severity.functional_domains}
    yield from _unknown("functional_ratings", "domain", [each.domain for each in ratings], domains)


def _unknown(field: str, name: str, codes: Iterable[str], known: set[str]) -> Iterable[FieldError]:
    seen: set[str] = set()
    for place, code in enumerate(codes):
        if code not in known:
            yield FieldError(f"/{field}/{place}/{name}", "unknown", "The policy has no such word.")
        elif code in seen:
            yield FieldError(f"/{field}/{place}/{name}", "repeated", "It was said already.")
        seen.add(code)


def _too_many_primary(facts: IntakeFacts) -> Iterable[FieldError]:
    primary = [number for number, place in enumerate(facts.locations) if place.is_primary]
    for number in primary[1:]:
        yield FieldError(
            f"/locations/{number}/is_primary", "repeated", "One place is the usual one."
        )


def _cell(intake_id: UUID) -> seals.Cell:
    return seals.Cell(TABLE, "facts", intake_id)


async def _audit(
    db: AsyncSession, action: AuditAction, permission: Permission, intake: Intake
) -> None:
    await audit.record(
        db,
        action,
        permission,
        TABLE,
        intake.id,
        participant_id=intake.participant_id,
        version=intake.version,
    )
