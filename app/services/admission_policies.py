"""The admission policy of a program: its own in force today, or the one that ships under its name.

A policy is taken whole or not at all. It never changes; a later one follows from a day on, and
what was recommended under an earlier one keeps that one's version.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid, constraint_problem
from app.domain.instruments import Instrument
from app.domain.policies import InvalidPolicy, load_policy
from app.domain.recommendation import (
    AdmissionPolicy,
    instruments_of,
    load_admission_policy,
    shipped_admission_policies,
)
from app.models.audit import AuditAction
from app.models.intakes import AdmissionPolicyVersion
from app.models.programs import Program
from app.schemas.programs import AdmissionPolicyCreate, AdmissionPolicyRead
from app.security import audit
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import instruments
from app.services.programs import get_program

TABLE: Final = "admission_policy"
_MOST: Final = 200
_REASONS: Final = {
    "unknown_instrument": "The organization has no instrument with this key.",
    "unknown_score": "The instrument has no such score.",
    "no_safety_item": "The instrument asks nothing about safety.",
    "unknown_code": "The readiness checklist has no such gate.",
    "repeated": "The criterion is there already.",
    "not_the_programs": "The program offers another level of care.",
}


class AdmissionPolicyVersionTaken(Conflict):
    """The program has a policy of this version; a policy never changes."""

    slug, title = "admission-policy-version-taken", "The version of the policy is taken"


constraint_problem("admission_policy_version_idx", AdmissionPolicyVersionTaken)


async def policy_of(db: AsyncSession, program_id: UUID) -> AdmissionPolicy:
    """The policy by which a program admits today, by its own calendar."""
    program = await get_program(db, program_id)
    today = clock.now().astimezone(ZoneInfo(program.time_zone)).date()
    document = await db.scalar(
        select(AdmissionPolicyVersion.document)
        .where(
            AdmissionPolicyVersion.program_id == program_id,
            AdmissionPolicyVersion.effective_from <= today,
            or_(
                AdmissionPolicyVersion.effective_to.is_(None),
                AdmissionPolicyVersion.effective_to >= today,
            ),
        )
        .order_by(
            AdmissionPolicyVersion.effective_from.desc(),
            AdmissionPolicyVersion.loaded_at.desc(),
            AdmissionPolicyVersion.id.desc(),
        )
        .limit(1)
    )
    if document is None:
        return shipped_admission_policies()[program.admission_policy]
    return load_policy(AdmissionPolicy, document)


async def load_admission_policy_of(
    db: AsyncSession, principal: Principal, program_id: UUID, request: AdmissionPolicyCreate
) -> AdmissionPolicyRead:
    """Give a program a policy of its own, from the day that the policy names.

    Raises NotFound, AdmissionPolicyVersionTaken, or Invalid with the place of the mistake: a
    policy that names an instrument which nobody has is refused whole.
    """
    program = await get_program(db, program_id)
    policy = await _read(db, program, request.document)
    row = AdmissionPolicyVersion(
        id=new_id(),
        program_id=program.id,
        policy_version=policy.version,
        effective_from=policy.effective_from,
        effective_to=policy.effective_to,
        document=request.document,
        loaded_by=principal.account_id,
        loaded_at=clock.now(),
    )
    db.add(row)
    await db.flush()
    await audit.record(
        db,
        AuditAction.UPDATE,
        Permission.PROGRAM_MANAGE,
        "program",
        program.id,
        version=program.version,
    )
    await events.record(db, "program.policy_loaded", program.id, version=program.version)
    return AdmissionPolicyRead.model_validate(row)


async def list_admission_policies(
    db: AsyncSession, program_id: UUID
) -> Sequence[AdmissionPolicyRead]:
    """A program's own policies, the oldest first. Raises NotFound."""
    await get_program(db, program_id)
    rows = await db.scalars(
        select(AdmissionPolicyVersion)
        .where(AdmissionPolicyVersion.program_id == program_id)
        .order_by(AdmissionPolicyVersion.id)
        .limit(_MOST)
    )
    return [AdmissionPolicyRead.model_validate(row) for row in rows]


async def _read(db: AsyncSession, program: Program, document: Mapping[str, Any]) -> AdmissionPolicy:
    try:
        return load_admission_policy(
            document, await _instruments(db, document), program.level_of_care
        )
    except InvalidPolicy as refused:
        pointer = "/document/" + refused.place.replace(".", "/")
        detail = _REASONS.get(refused.reason, "The policy does not have this form.")
        raise Invalid(errors=[FieldError(pointer.rstrip("/"), refused.reason, detail)]) from None


async def _instruments(db: AsyncSession, document: Mapping[str, Any]) -> Mapping[str, Instrument]:
    """The instruments that the document names and the organization has, by key."""
    try:
        policy = load_policy(AdmissionPolicy, document)
    except InvalidPolicy:
        # The form is at fault; reading it again says where.
        return {}
    known: dict[str, Instrument] = {}
    for key in sorted(instruments_of(policy)):
        instrument = await instruments.find_instrument(db, key)
        if instrument is not None:
            known[key] = instrument
    return known
