"""Messages to people's own addresses: queued in the transaction that is their reason.

A message says that there is something to see, never what (PHI-12). The worker sends it, so that
no request waits for a mail server, and none tells by its duration whether mail was sent (AUTH-22).
"""

from enum import StrEnum, unique
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.models.accounts import Notification
from app.models.organizations import KeyPurpose
from app.security import seals


@unique
class Template(StrEnum):
    """What a message is for; its words are the worker's."""

    INVITATION = "invitation"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 (a template, not a password)
    SIGN_IN_ENDED = "sign_in_ended"
    WEBHOOK_FAILING = "webhook_failing"


async def queue(
    db: AsyncSession, account_id: UUID, template: Template, *, secret: str | None = None
) -> None:
    """Put a message on its way to an account's address.

    A secret that belongs into the message, such as an invitation's, waits sealed.
    """
    notification_id = new_id()
    key = await seals.organization_key(db, KeyPurpose.SECRET)
    db.add(
        Notification(
            id=notification_id,
            account_id=account_id,
            template=template,
            created_at=clock.wall(),
            **seals.sealed(key, "notification", notification_id, secret=secret),
        )
    )
    await db.flush()
