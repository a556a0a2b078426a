"""Drafting a plan, proposing it, and beginning its next version."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.core.problems import (
    Conflict,
    FieldError,
    Invalid,
    NotFound,
    PreconditionFailed,
    constraint_problem,
)
from app.domain.plans import EDITABLE, PLAN_MACHINE, PlanAction, PlanState
from app.domain.transitions import IllegalTransition
from app.models.audit import AuditAction
from app.models.intakes import Enrollment
from app.models.participants import Participant
from app.models.plans import Plan
from app.schemas.plans import PlanContent, PlanCreate, PlanRead, PlanUpdate
from app.security import seals
from app.security.access import participants_visible_to
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.plans import content as contents
from app.services.plans.reading import (
    EnrollmentEnded,
    get_plan,
    open_enrollment,
    record,
    reread,
)


class PlanUnderWay(Conflict):
    """Another version of this plan is drafted or proposed: finish that one (`plan_id`)."""

    slug, title = "plan-under-way", "Another version is under way"


constraint_problem("plan_under_way_idx", PlanUnderWay)


class PlanNotDraft(Conflict):
    """Only a draft changes; of anything else a new version is begun."""

    slug, title = "plan-not-draft", "The plan is no draft"


class PlanNotRevisable(Conflict):
    """A next version begins from the plan in force, or from a proposal that it replaces."""

    slug, title = "plan-not-revisable", "No version begins from this plan"


class PlanIncomplete(Invalid):
    """The plan does not say what a plan must say; `errors` points at each place."""

    slug, title = "plan-incomplete", "The plan is not complete"


async def draft_plan(db: AsyncSession, principal: Principal, request: PlanCreate) -> PlanRead:
    """Begin a plan for an enrollment. Raises NotFound, EnrollmentEnded or PlanUnderWay."""
    visible = participants_visible_to(principal, Enrollment.participant_id)
    enrollment = await db.scalar(
        select(Enrollment)
        .where(Enrollment.id == request.enrollment_id, visible)
        .with_for_update(key_share=True)
    )
    if enrollment is None:
        raise NotFound
    if enrollment.ended_on is not None:
        raise EnrollmentEnded
    await _refuse_a_second_version(db, enrollment.id)
    in_force = await db.scalar(
        select(Plan.id).where(Plan.enrollment_id == enrollment.id, Plan.state == PlanState.ACTIVE)
    )
    return await _new_version(db, principal, enrollment, request.content, in_force)


async def update_plan(
    db: AsyncSession, principal: Principal, plan_id: UUID, request: PlanUpdate, version: int
) -> PlanRead:
    """Give a draft new content. Raises NotFound, PreconditionFailed or PlanNotDraft."""
    plan = await get_plan(db, principal, plan_id)
    if plan.version != version:
        raise PreconditionFailed
    if plan.state not in EDITABLE:
        raise PlanNotDraft(state=plan.state.value)
    key = await seals.participant_key(db, plan.participant_id)
    plan.content = contents.sealed(key, plan.id, request.content)
    plan.content_digest = contents.digest_of(request.content)
    plan.review_on = request.content.review_on
    plan.updated_at = clock.now()
    await db.flush()
    await record(db, plan, AuditAction.UPDATE, Permission.PLAN_DRAFT, "updated")
    return await reread(db, plan)


async def propose_plan(db: AsyncSession, principal: Principal, plan_id: UUID) -> PlanRead:
    """Lay a complete draft before those who sign it; it does not change from now on.

    Raises NotFound, PlanNotDraft, or PlanIncomplete with everything that is missing.
    """
    plan = await get_plan(db, principal, plan_id)
    try:
        state = PLAN_MACHINE.advance(plan.state, PlanAction.PROPOSE)
    except IllegalTransition:
        raise PlanNotDraft(state=plan.state.value) from None
    participant = (
        await db.scalars(select(Participant).where(Participant.id == plan.participant_id))
    ).one()
    content = await contents.opened(db, plan)
    context = await contents.context_of(db, participant)
    if gaps := contents.gaps_of(content, context):
        raise PlanIncomplete(errors=[FieldError(f"/content{g.place}", g.code) for g in gaps])
    plan.state, plan.updated_at = state, clock.now()
    await db.flush()
    await record(db, plan, AuditAction.UPDATE, Permission.PLAN_DRAFT, "proposed")
    return await reread(db, plan)


async def revise_plan(db: AsyncSession, principal: Principal, plan_id: UUID) -> PlanRead:
    """Begin the next version with the content of this one.

    The plan in force stays so until the next one is signed; a proposal is revoked, because two
    texts that wait for signatures would be confused. Raises NotFound, PlanNotRevisable,
    EnrollmentEnded or PlanUnderWay.
    """
    plan = await get_plan(db, principal, plan_id)
    enrollment = await open_enrollment(db, plan)
    if plan.state is PlanState.PROPOSED:
        plan.state = PLAN_MACHINE.advance(plan.state, PlanAction.REVOKE)
        plan.updated_at = clock.now()
        await db.flush()
        await record(db, plan, AuditAction.UPDATE, Permission.PLAN_DRAFT, "revoked")
    elif plan.state is not PlanState.ACTIVE:
        raise PlanNotRevisable(state=plan.state.value)
    await _refuse_a_second_version(db, enrollment.id)
    content = await contents.opened(db, plan)
    return await _new_version(db, principal, enrollment, content, plan.id)


async def _refuse_a_second_version(db: AsyncSession, enrollment_id: UUID) -> None:
    under_way = await db.scalar(
        select(Plan.id).where(
            Plan.enrollment_id == enrollment_id,
            Plan.state.in_([PlanState.DRAFT, PlanState.PROPOSED]),
        )
    )
    if under_way is not None:
        raise PlanUnderWay(plan_id=under_way)


async def _new_version(
    db: AsyncSession,
    principal: Principal,
    enrollment: Enrollment,
    content: PlanContent,
    supersedes_id: UUID | None,
) -> PlanRead:
    newest = await db.scalar(
        select(func.max(Plan.number)).where(Plan.enrollment_id == enrollment.id)
    )
    key = await seals.participant_key(db, enrollment.participant_id)
    plan_id, now = new_id(), clock.now()
    plan = Plan(
        id=plan_id,
        participant_id=enrollment.participant_id,
        enrollment_id=enrollment.id,
        number=(newest or 0) + 1,
        supersedes_id=supersedes_id,
        state=PlanState.DRAFT,
        content=contents.sealed(key, plan_id, content),
        content_digest=contents.digest_of(content),
        drafted_by=principal.account_id,
        review_on=content.review_on,
        created_at=now,
        updated_at=now,
    )
    db.add(plan)
    await db.flush()
    await record(db, plan, AuditAction.CREATE, Permission.PLAN_DRAFT, "drafted")
    return await reread(db, plan)
