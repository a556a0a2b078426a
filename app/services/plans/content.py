"""A plan's content as the rules see it, and what surrounds it."""

from datetime import date
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter
from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.domain import plans as rules
from app.domain.alerts import AlertState, Tier
from app.models.alerts import Alert
from app.models.participants import Participant
from app.models.plans import Plan
from app.schemas import plans as wire
from app.security import seals

TABLE: Final = "plan"
_CONTENT: Final = TypeAdapter(rules.PlanContent)
"""Reads of a document what the rules ask about; it has the same words for it."""


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


def gaps_of(content: wire.PlanContent, context: rules.PlanContext) -> list[rules.Gap]:
    """Everything that a plan lacks, each at its place in the content."""
    policy = rules.default_plan_policy()
    return rules.gaps(policy, _CONTENT.validate_python(content.model_dump()), context)


async def context_of(db: AsyncSession, participant: Participant) -> rules.PlanContext:
    """What surrounds a participant's plan and changes what it must say.

    No payer is recorded yet, so that none can ask for a physician's signature.
    """
    now = clock.now()
    alert = exists().where(
        Alert.participant_id == participant.id,
        Alert.opened_at >= now - rules.default_plan_policy().safety_window,
        Alert.tier.in_([Tier.ACUTE, Tier.URGENT]),
        Alert.state.not_in([AlertState.FALSE_POSITIVE, AlertState.DUPLICATE]),
    )
    today = now.astimezone(ZoneInfo(participant.time_zone)).date()
    return rules.PlanContext(
        age_band=rules.age_band_on(await _born_on(db, participant), today),
        has_recent_safety_alert=bool(await db.scalar(select(alert))),
        needs_physician=False,
    )


async def _born_on(db: AsyncSession, participant: Participant) -> date | None:
    keys = await seals.keys_for(db, [participant.born_on])
    cell = seals.Cell("participant", "born_on", participant.id)
    born_on = keys.unseal_optional(cell, participant.born_on)
    return None if born_on is None else date.fromisoformat(born_on)
