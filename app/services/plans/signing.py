"""Signing a plan, and putting it into force with the last signature."""

from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, constraint_problem
from app.domain.plans import (
    PLAN_MACHINE,
    PlanAction,
    PlanState,
    Signature,
    Signer,
    missing_signers,
)
from app.models.audit import AuditAction
from app.models.participants import Participant
from app.models.plans import Plan, PlanSignature, SignerRole
from app.schemas.plans import PlanRead, PlanSign
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.plans import content as contents
from app.services.plans.reading import get_plan, open_enrollment, record, reread

_SIGNERS: Final = {
    SignerRole.PARTICIPANT: Signer.PARTICIPANT,
    SignerRole.CLINICIAN: Signer.LICENSED_CLINICIAN,
}


class PlanNotProposed(Conflict):
    """Only a proposal waits for signatures."""

    slug, title = "plan-not-proposed", "The plan is not proposed"


class ContentDiffers(Conflict):
    """The digest names another content than the plan has: read it again before you sign."""

    slug, title = "plan-content-differs", "The plan says something else"


class AlreadySigned(Conflict):
    """The plan has this side's signature."""

    slug, title = "already-signed", "The plan is signed already"


constraint_problem("plan_signature_role_idx", AlreadySigned)
constraint_problem("plan_signature_content", ContentDiffers)


async def sign_plan(
    db: AsyncSession, principal: Principal, plan_id: UUID, request: PlanSign
) -> PlanRead:
    """Agree to a proposed plan, as its participant or as a licensed clinician.

    The last signature that it waits for puts it into force, and the one before it out of
    force. Raises NotFound, PlanNotProposed, ContentDiffers, AlreadySigned or EnrollmentEnded.
    """
    plan = await get_plan(db, principal, plan_id)
    if plan.state is not PlanState.PROPOSED:
        raise PlanNotProposed(state=plan.state.value)
    _ = await open_enrollment(db, plan)
    if request.content_digest != plan.content_digest.hex():
        raise ContentDiffers
    role = SignerRole.CLINICIAN if principal.is_staff else SignerRole.PARTICIPANT
    signatures = await _signatures(db, plan)
    if role in {each.role for each in signatures}:
        raise AlreadySigned
    signature = PlanSignature(
        id=new_id(),
        plan_id=plan.id,
        role=role,
        signed_by=principal.account_id,
        content_digest=plan.content_digest,
        signed_at=clock.now(),
    )
    db.add(signature)
    plan.updated_at = clock.now()
    await db.flush()
    await record(db, plan, AuditAction.EXECUTE, Permission.PLAN_SIGN, "signed")
    if await _is_agreed(db, plan, [*signatures, signature]):
        await _put_into_force(db, plan)
    return await reread(db, plan)


async def _signatures(db: AsyncSession, plan: Plan) -> list[PlanSignature]:
    query = select(PlanSignature).where(PlanSignature.plan_id == plan.id)
    return list((await db.scalars(query)).all())


async def _is_agreed(db: AsyncSession, plan: Plan, signatures: list[PlanSignature]) -> bool:
    participant = (
        await db.scalars(select(Participant).where(Participant.id == plan.participant_id))
    ).one()
    context = await contents.context_of(db, participant)
    given = [Signature(_SIGNERS[each.role], each.content_digest) for each in signatures]
    return not missing_signers(context, given, plan.content_digest)


async def _put_into_force(db: AsyncSession, plan: Plan) -> None:
    now = clock.now()
    before = await db.scalar(
        select(Plan).where(Plan.enrollment_id == plan.enrollment_id, Plan.state == PlanState.ACTIVE)
    )
    if before is not None:
        # First out, then in: a unique index allows one plan in force at any moment.
        before.state = PLAN_MACHINE.advance(before.state, PlanAction.SUPERSEDE)
        before.updated_at = now
        await db.flush()
        await record(db, before, AuditAction.UPDATE, Permission.PLAN_SIGN, "superseded")
    plan.state = PLAN_MACHINE.advance(plan.state, PlanAction.ACTIVATE)
    plan.activated_at = plan.updated_at = now
    await db.flush()
    await record(db, plan, AuditAction.UPDATE, Permission.PLAN_SIGN, "activated")
