"""A plan's content as the rules see it, and what surrounds it."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.domain import plans as rules
from app.domain.alerts import AlertState, Tier
from app.domain.roles import AgeBand
from app.models.alerts import Alert
from app.models.participants import Participant
from app.models.plans import Plan
from app.schemas import plans as wire
from app.security import seals

TABLE: Final = "plan"
SAFETY_WINDOW: Final = timedelta(days=90)
"""How long a safety alert asks for a safety plan (clinical reference, 3.1)."""
_MAJORITY: Final = 18


def digest_of(content: wire.PlanContent) -> bytes:
    """What a signature of this content refers to."""
    return rules.content_digest(content.model_dump())


async def opened(db: AsyncSession, plan: Plan) -> wire.PlanContent:
    """What a plan says."""
    keys = await seals.keys_for(db, [plan.content])
    return unsealed(keys, plan.id, plan.content)


def unsealed(keys: seals.Keys, plan_id: UUID, blob: bytes) -> wire.PlanContent:
    """The same, with the keys at hand."""
    document = keys.unseal(seals.Cell(TABLE, "content", plan_id), blob)
    return wire.PlanContent.model_validate_json(document)


def sealed(key: seals.DataKey, plan_id: UUID, content: wire.PlanContent) -> bytes:
    """What a plan says, sealed for its own row."""
    return key.seal(seals.Cell(TABLE, "content", plan_id), content.model_dump_json())


async def context_of(
    db: AsyncSession, participant: Participant, content: wire.PlanContent
) -> rules.PlanContext:
    """What surrounds a plan and changes what it must say.

    An unknown age counts as adult, which asks for more hours. No payer is recorded yet, so
    that none can ask for a physician's signature.
    """
    since = clock.now() - SAFETY_WINDOW
    alert = exists().where(
        Alert.participant_id == participant.id,
        Alert.opened_at >= since,
        Alert.tier.in_([Tier.ACUTE, Tier.URGENT]),
        Alert.state.not_in([AlertState.FALSE_POSITIVE, AlertState.DUPLICATE]),
    )
    return rules.PlanContext(
        age_band=await _age_band(db, participant, clock.now()),
        has_recent_safety_alert=bool(await db.scalar(select(alert))),
        lacks_safety_plan=not (content.safety_plan or "").strip(),
        needs_physician=False,
    )


def gaps_of(content: wire.PlanContent, context: rules.PlanContext) -> Iterator[rules.Gap]:
    """Everything that a plan lacks, each at its place in the content."""
    yield from _problem_gaps(content)
    for gap in rules.gaps(rules.default_plan_policy(), _for_rules(content), context):
        # The rules know no document in which the safety plan stands; here it has a place.
        is_safety = gap.code == "safety_plan_missing"
        yield rules.Gap(gap.code, "/safety_plan" if is_safety else gap.place)


def _problem_gaps(content: wire.PlanContent) -> Iterator[rules.Gap]:
    """At least one problem, and each goal answers one of them (clinical reference, 3.1)."""
    if not content.problems:
        yield rules.Gap("problem_missing", "/problems")
    for position, problem in enumerate(content.problems):
        if not problem.statement.strip():
            yield rules.Gap("problem_statement_missing", f"/problems/{position}/statement")
    known = {problem.id for problem in content.problems}
    for position, goal in enumerate(content.goals):
        if goal.problem_id not in known:
            yield rules.Gap("problem_unknown", f"/goals/{position}/problem_id")


async def _age_band(db: AsyncSession, participant: Participant, now: datetime) -> AgeBand:
    keys = await seals.keys_for(db, [participant.born_on])
    cell = seals.Cell("participant", "born_on", participant.id)
    born_on = keys.unseal_optional(cell, participant.born_on)
    if born_on is None:
        return AgeBand.ADULT
    born, today = date.fromisoformat(born_on), now.date()
    years = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    return AgeBand.ADULT if years >= _MAJORITY else AgeBand.ADOLESCENT


def _for_rules(content: wire.PlanContent) -> rules.PlanContent:
    return rules.PlanContent(
        level_of_care=content.level_of_care,
        hours_per_week=content.hours_per_week,
        diagnoses=tuple(rules.Diagnosis(each.icd10cm, each.name) for each in content.diagnoses),
        goals=tuple(_goal(each) for each in content.goals),
        discharge_criteria=content.discharge_criteria,
        review_on=content.review_on,
    )


def _goal(goal: wire.Goal) -> rules.Goal:
    return rules.Goal(
        id=goal.id,
        statement=goal.statement,
        objectives=tuple(_objective(each) for each in goal.objectives),
        interventions=tuple(_intervention(each) for each in goal.interventions),
    )


def _objective(objective: wire.Objective) -> rules.Objective:
    measure = objective.measure
    return rules.Objective(
        id=objective.id,
        text=objective.text,
        measure=None
        if measure is None
        else rules.Measure(measure.kind, measure.name, measure.op, measure.target),
        target_on=objective.target_on,
    )


def _intervention(intervention: wire.PlanIntervention) -> rules.Intervention:
    return rules.Intervention(
        id=intervention.id,
        modality=intervention.modality,
        description=intervention.description,
        minutes=intervention.minutes,
        count=intervention.count,
        per=intervention.per,
        weeks=intervention.weeks,
        responsible_id=intervention.responsible_id,
    )
