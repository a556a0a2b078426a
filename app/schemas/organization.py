"""The organization that the caller belongs to."""

from uuid import UUID

from app.models.organizations import Environment
from app.schemas.base import ReadSchema
from app.schemas.types import Instant


class OrganizationRead(ReadSchema):
    """An organization, as everybody in it may know it."""

    id: UUID
    slug: str
    name: str
    environment: Environment
    region: str
    created_at: Instant
