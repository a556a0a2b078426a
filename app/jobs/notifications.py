"""Sends the messages that wait for an account's own address.

A message says that there is something to see, never what (PHI-12): its words are here, and
nothing of anybody is filled in but the secret that an invitation is for. A message is leased
when its turn comes and marked after it was sent, so that a crash in between sends it once more,
and never loses it.
"""

import asyncio
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from itertools import takewhile
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock, logging
from app.jobs.workplace import Workplace, in_turn
from app.models.accounts import Account, AccountState, Notification
from app.notifications import Template
from app.security import seals
from app.settings import Settings

_log = logging.get_logger(__name__)

LEASE: Final = timedelta(minutes=3)
"""Longer than a mail server can take that uses up its time in each of the eleven steps."""

ATTEMPTS: Final = 10
"""Over two days, because each pause is twice the one before."""

BATCH: Final = 20
"""Messages of one organization before the next has its turn."""

SMTP_TIMEOUT_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """One message to one address."""

    id: UUID
    to: str
    subject: str
    text: str


class Sender(Protocol):
    """Whatever carries messages out of the house."""

    async def send(self, message: Message) -> None:
        """Hand one message over. Raises NotSent when it was not taken."""


class NotSent(Exception):
    """The message was not taken; it will be tried again."""


class FileSender:
    """Writes messages to a directory, for development."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def send(self, message: Message) -> None:
        """Write one file for each message; sending again replaces it."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{message.id}.txt"
        path.write_text(
            f"To: {message.to}\nSubject: {message.subject}\n\n{message.text}\n", encoding="utf-8"
        )


class SmtpSender:
    """Hands messages to a mail server, over TLS from the first byte or before the first login."""

    def __init__(self, url: str, sender: str, *, tls: ssl.SSLContext | None = None) -> None:
        self._url = urlsplit(url)
        self._sender = sender
        self._tls = tls or ssl.create_default_context()

    async def send(self, message: Message) -> None:
        """Hand one message over; the standard library's client runs in a thread."""
        try:
            await asyncio.to_thread(self._send, message)
        except (smtplib.SMTPException, OSError) as error:
            raise NotSent from error

    def _send(self, message: Message) -> None:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._sender, message.to, message.subject
        mail["Message-ID"] = f"<{message.id}@stepwell>"
        mail.set_content(message.text)
        with self._connect() as server:
            if self._url.username is not None:
                server.login(unquote(self._url.username), unquote(self._url.password or ""))
            server.send_message(mail)

    def _connect(self) -> smtplib.SMTP:
        host = self._url.hostname or "localhost"
        if self._url.scheme == "smtps":
            return smtplib.SMTP_SSL(
                host, self._url.port or 465, timeout=SMTP_TIMEOUT_SECONDS, context=self._tls
            )
        server = smtplib.SMTP(host, self._url.port or 587, timeout=SMTP_TIMEOUT_SECONDS)
        server.starttls(context=self._tls)
        return server


def sender_of(settings: Settings) -> Sender | None:
    """The mail server that the settings name; in development without one, files.

    In production without one there is no sender: messages wait until there is, because an
    invitation's secret does not belong into a file.
    """
    if settings.smtp_url is not None:
        return SmtpSender(settings.smtp_url.get_secret_value(), settings.mail_from)
    return None if settings.is_production else FileSender(settings.data_dir / "outbox")


_WORDS: Final[Mapping[Template, tuple[str, str]]] = {
    Template.INVITATION: (
        "Your invitation",
        (
            "You have been invited to choose a password for your account. Your invitation code,"
            " which works once within seven days:\n\n{secret}"
        ),
    ),
    Template.PASSWORD_CHANGED: (
        "Your password was changed",
        "The password of your account was changed. If this was not you, tell your program now.",
    ),
    Template.SIGN_IN_ENDED: (
        "You were signed out",
        (
            "A device was signed out of your account, because it did something unusual. "
            "If you use it yourself, sign in again and choose a new password."
        ),
    ),
    Template.WEBHOOK_FAILING: (
        "A webhook endpoint needs your attention",
        (
            "An endpoint that you registered does not take what is sent to it. "
            "Its deliveries say what happened: GET /v1/webhooks"
        ),
    ),
}


async def send_due(place: Workplace, sender: Sender) -> bool:
    """Send what waits, in every organization; answers whether some of it may be left.

    What fails on our side keeps no other message and no other organization waiting: it is raised
    when all have had their turn, and tried again like one that the mail server did not take.
    """
    has_more = False

    async def work(organization_id: UUID) -> None:
        nonlocal has_more
        has_more |= await _send_some(place, organization_id, sender)

    await in_turn(await place.organizations(), work)
    return has_more


async def _send_some(place: Workplace, organization_id: UUID, sender: Sender) -> bool:
    """Send a batch of one organization's messages; answers whether there may be more."""
    is_left = True

    async def work(_turn: int) -> None:
        nonlocal is_left
        # Leased when its turn comes: however slow those before it were, no other worker finds
        # it due while it is sent.
        async with place.enter(organization_id) as db:
            notification_id = await _lease(db)
        if notification_id is None:
            is_left = False
            return
        async with place.enter(organization_id) as db:
            message = await _compose(db, notification_id)
        await _send(place, organization_id, sender, message)

    await in_turn(takewhile(lambda _: is_left, range(BATCH)), work)
    return is_left


async def _lease(db: AsyncSession) -> UUID | None:
    """Take the oldest message that is due for a while, so that no other worker sends it."""
    now = clock.wall()
    waiting = await db.scalar(
        select(Notification)
        .join(Account, Account.id == Notification.account_id)
        .where(
            Notification.sent_at.is_(None),
            Notification.attempts < ATTEMPTS,
            or_(Notification.leased_until.is_(None), Notification.leased_until <= now),
            Account.state != AccountState.DISABLED,
        )
        .order_by(Notification.created_at)
        .limit(1)
        .with_for_update(of=Notification, skip_locked=True, key_share=True)
    )
    if waiting is None:
        return None
    # The lease grows with the failures: it is the pause before the next attempt as well.
    waiting.leased_until = now + LEASE * 2**waiting.attempts
    waiting.attempts += 1
    await db.flush()
    return waiting.id


async def _compose(db: AsyncSession, notification_id: UUID) -> Message:
    """Put an address and a secret into the words of a message."""
    waiting, account = (
        await db.execute(
            select(Notification, Account)
            .join(Account, Account.id == Notification.account_id)
            .where(Notification.id == notification_id)
        )
    ).one()
    keys = await seals.keys_for(db, [waiting.secret, account.email])
    subject, words = _WORDS[Template(waiting.template)]
    secret = keys.unseal_optional(seals.Cell("notification", "secret", waiting.id), waiting.secret)
    to = keys.unseal(seals.Cell("account", "email", account.id), account.email)
    return Message(waiting.id, to, subject, words.replace("{secret}", secret or ""))


async def _send(place: Workplace, organization_id: UUID, sender: Sender, message: Message) -> None:
    try:
        await sender.send(message)
    except NotSent as failure:
        _log.warning("notification_not_sent", **logging.describe(failure.__cause__ or failure))
        return
    async with place.enter(organization_id) as db:
        await db.execute(
            update(Notification)
            .where(Notification.id == message.id)
            # What the secret was for has left the house; here it is of no more use.
            .values(sent_at=clock.wall(), secret=None)
        )
