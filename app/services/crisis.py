"""Whom a person can reach at once: the card that is shown where somebody may need it."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select

from app.core.database import Handle, Query, in_lane
from app.domain.crisis import default_crisis_policy, resources
from app.models.organizations import Organization
from app.schemas.assessments import CrisisResourceRead

_REGION: Final = Query(select(Organization.region))


async def crisis_resources(handle: Handle) -> Sequence[CrisisResourceRead]:
    """The services that answer in the organization's region; never empty."""
    region = await (await in_lane(handle)).value(_REGION)
    card = resources(default_crisis_policy(), region)
    return [CrisisResourceRead.model_validate(resource) for resource in card]
