"""The organization that the caller belongs to. Row-level security shows no other."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models.organizations import Organization
from app.schemas.organization import OrganizationRead


async def get_organization(db: AsyncSession, *, lock: bool = False) -> Organization:
    """The one organization of this transaction."""
    query = select(Organization)
    return (await db.scalars(query.with_for_update() if lock else query)).one()


async def read_organization(db: AsyncSession) -> OrganizationRead:
    """What everybody in it may know of it."""
    organization = await get_organization(db)
    return OrganizationRead(
        id=organization.organization_id,
        slug=organization.slug,
        name=organization.name,
        environment=organization.environment,
        region=organization.region,
        created_at=organization.created_at,
    )
