"""The organization that the caller belongs to."""

from typing import Annotated

from fastapi import Depends

from app.routers.route import router
from app.schemas.organization import OrganizationRead
from app.security.guards import Database, Requires
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import organizations

routes = router("/v1/organization", "organization")

OrganizationReader = Annotated[Principal, Depends(Requires(Permission.ORGANIZATION_READ))]


@routes.get("")
async def read_organization(db: Database, _: OrganizationReader) -> OrganizationRead:
    """Read what your organization is called, and whether real people are treated there."""
    return await organizations.read_organization(db)
