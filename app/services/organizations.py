"""Organizations: the one that the caller belongs to, and how an operator founds one.

Row-level security shows no other, so that whoever founds one has to enter it first.
"""

from typing import Final

from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict
from app.domain.roles import AccountKind, StaffRole
from app.models.audit import AuditAction
from app.models.organizations import KeyPurpose, Organization
from app.models.staff import StaffMember
from app.schemas.organization import OrganizationCreate, OrganizationFounded, OrganizationRead
from app.security import audit, seals
from app.services import accounts, invitations
from app.services.visitors import Visitor, look_into

_AS_OPERATOR: Final = text("select set_config('stepwell.actor_role', 'operator', true)")


class OrganizationExists(Conflict):
    """An organization has this slug already."""

    slug, title = "organization-exists", "The slug is taken"


async def found_organization(visitor: Visitor, request: OrganizationCreate) -> OrganizationFounded:
    """Make an organization and the invitation of its first administrator, or neither.

    There is no first password that somebody else has known: the administrator chooses theirs
    with the secret of the invitation, which works once (AUTH-20). It is answered instead of sent,
    because the operator may not have a mail server yet. Raises OrganizationExists.
    """
    organization = Organization(
        organization_id=new_id(),
        slug=request.slug,
        name=request.name,
        environment=request.environment,
        created_at=clock.now(),
    )
    async with visitor.transaction() as db:
        await look_into(db, organization.organization_id)
        await db.execute(_AS_OPERATOR)
        db.info.update(organization_id=organization.organization_id, account_id=None)
        db.add(organization)
        try:
            await db.flush()
        except IntegrityError:
            # Its id is new, so only the slug can be anybody else's.
            raise OrganizationExists from None
        await audit.record(
            db,
            AuditAction.CREATE,
            "organization:create",
            "organization",
            organization.organization_id,
        )
        await events.record(db, "organization.created", organization.organization_id)
        return await _invite_first_administrator(db, organization, request)


async def get_organization(db: AsyncSession, *, lock: bool = False) -> Organization:
    """The one organization of this transaction."""
    query = select(Organization)
    return (await db.scalars(query.with_for_update(key_share=True) if lock else query)).one()


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


async def _invite_first_administrator(
    db: AsyncSession, organization: Organization, request: OrganizationCreate
) -> OrganizationFounded:
    member_id, now = new_id(), clock.now()
    key = await seals.organization_key(db, KeyPurpose.STAFF)
    account = await accounts.create_account(db, AccountKind.STAFF, request.admin_email, key)
    db.add(
        StaffMember(
            id=member_id,
            account_id=account.id,
            roles=[StaffRole.ADMINISTRATOR.value],
            created_at=now,
            updated_at=now,
            **seals.sealed(key, "staff_member", member_id, name=request.admin_name),
        )
    )
    await db.flush()
    invitation, secret = await invitations.issue(db, account, invited_by=None)
    await audit.record(db, AuditAction.CREATE, "staff:manage", "staff_member", member_id, version=1)
    await events.record(db, "staff.created", member_id, version=1)
    return OrganizationFounded(
        id=organization.organization_id,
        slug=organization.slug,
        environment=organization.environment,
        account_id=account.id,
        invitation_token=secret,
        expires_at=invitation.expires_at,
    )
