"""Whom a person can reach at once: the card that is shown where somebody may need it."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.crisis import default_crisis_policy, resources
from app.models.organizations import Organization
from app.schemas.assessments import CrisisResourceRead


async def crisis_resources(db: AsyncSession) -> Sequence[CrisisResourceRead]:
    """The services that answer in the organization's region; never empty."""
    region = await db.scalar(select(Organization.region))
    card = resources(default_crisis_policy(), region)
    return [CrisisResourceRead.model_validate(resource) for resource in card]
