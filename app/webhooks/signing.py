"""Signatures of webhooks after Standard Webhooks 1.0.0, symmetric scheme `v1` (WH-02 to WH-04).

The signature covers the message's id, the second of this attempt and the exact octets of the
body. While a secret is being replaced both secrets sign, so that a receiver may change its own
whenever it likes within the overlap.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self
from uuid import UUID

from typing_extensions import override

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # the published prefix, not a secret
SECRET_BYTES: Final = 32
ALLOWED_SECRET_BYTES: Final = range(24, 65)
TOLERANCE: Final = timedelta(minutes=5)

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"

_MESSAGE_ID: Final = re.compile(r"msg_[A-Za-z0-9]+")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


class BadSecret(ValueError):
    """Not a signing secret. The message never contains what was given instead."""


class BadSignature(Exception):
    """A webhook that nobody who holds the secret has sent, or not now."""


@dataclass(frozen=True, slots=True, repr=False)
class WebhookSecret:
    """What an endpoint and we share. It shows itself only when it is asked to (`reveal`)."""

    key: bytes

    def __post_init__(self) -> None:
        if len(self.key) not in ALLOWED_SECRET_BYTES:
            raise BadSecret("a signing secret has 24 to 64 bytes")

    @override
    def __repr__(self) -> str:
        return "WebhookSecret()"

    @classmethod
    def generate(cls) -> Self:
        """Draw a new secret of 256 bits."""
        return cls(secrets.token_bytes(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a secret as it is written for people: `whsec_` and base64. Raises BadSecret."""
        encoded = text.removeprefix(SECRET_PREFIX)
        if encoded == text:
            raise BadSecret(f"a signing secret begins with {SECRET_PREFIX}")
        try:
            return cls(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError) as error:
            raise BadSecret("a signing secret is 24 to 64 bytes in base64") from error

    def reveal(self) -> str:
        """The secret as its owner sees it, once."""
        return SECRET_PREFIX + base64.b64encode(self.key).decode("ascii")


def message_id(event_id: UUID) -> str:
    """The id that a webhook keeps through all its attempts and replays (WH-02)."""
    return f"msg_{event_id.hex}"


def sign(
    secrets: Sequence[WebhookSecret], message_id: str, timestamp: datetime, body: bytes
) -> dict[str, str]:
    """The headers of one attempt, made now.

    `secrets` are those in force, the newest first; `body` is exactly what is sent.
    """
    if not secrets:
        raise ValueError("a webhook is signed with at least one secret")
    if not _MESSAGE_ID.fullmatch(message_id):
        raise ValueError("a message id is msg_ and letters and digits, so that it holds no dot")
    seconds = str(int(timestamp.timestamp()))
    signatures = (_signature(secret, message_id, seconds, body) for secret in secrets)
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: seconds,
        SIGNATURE_HEADER: " ".join(f"v1,{signature}" for signature in signatures),
    }


def verify(
    secrets: Sequence[WebhookSecret],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
) -> str:
    """Check a webhook as a receiver does, and give its message id.

    `headers` have lower-case names. Raises BadSignature when no secret signed it, when it was
    signed more than five minutes from now, or when a header is missing or malformed.
    """
    try:
        found, seconds, signatures = (
            headers[name] for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
        )
    except KeyError:
        raise BadSignature("a signature header is missing") from None
    if not _TIMESTAMP.fullmatch(seconds):
        raise BadSignature("the timestamp is not a number of seconds")
    if abs(now.timestamp() - int(seconds)) > TOLERANCE.total_seconds():
        raise BadSignature("the timestamp is too far from now")

    given = [one.removeprefix("v1,") for one in signatures.split(" ") if one.startswith("v1,")]
    expected = [_signature(secret, found, seconds, body) for secret in secrets]
    # Compared as bytes: compare_digest refuses text beyond ASCII, which a header may hold.
    if not any(
        hmac.compare_digest(ours.encode(), theirs.encode()) for ours in expected for theirs in given
    ):
        raise BadSignature("no signature matches")
    return found


def _signature(secret: WebhookSecret, message_id: str, seconds: str, body: bytes) -> str:
    signed = f"{message_id}.{seconds}.".encode() + body
    return base64.b64encode(hmac.digest(secret.key, signed, hashlib.sha256)).decode("ascii")
