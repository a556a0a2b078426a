"""Invitations: from a record to an account, and from an account to its password."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends

from app.core.problems import NotFound, ServiceBusy, problems
from app.routers.route import router
from app.routers.visitors import CurrentVisitor
from app.schemas.accounts import InvitationAccept, InvitationRead
from app.security.guards import Database, Limited, Requires
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import accounts, invitations

routes = router("/v1", "invitations")

Inviter = Annotated[Principal, Depends(Requires(Permission.PARTICIPANT_INVITE))]


@routes.post(
    "/participants/{participant_id}/invitations",
    status_code=HTTPStatus.CREATED,
    responses=problems(
        NotFound, invitations.NoEmail, invitations.NotInvitable, accounts.EmailNotUsable
    ),
)
async def invite_participant(
    participant_id: UUID, db: Database, principal: Inviter
) -> InvitationRead:
    """Send a participant the link by which they choose a password."""
    return await invitations.invite_participant(db, principal, participant_id)


@routes.post(
    "/invitations/accept",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[Limited],
    responses=problems(invitations.InvitationNotUsable, accounts.PasswordRefused, ServiceBusy),
)
async def accept_invitation(body: InvitationAccept, visitor: CurrentVisitor) -> None:
    """Choose a password with the secret of an invitation; then sign in."""
    await invitations.accept(visitor, body)
