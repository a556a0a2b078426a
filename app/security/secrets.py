"""Opaque secrets: refresh tokens, codes, tickets, invitations.

The caller keeps the secret, we keep its SHA-256: a stolen database holds nothing that opens a
door (AUTH-15). A plain hash is enough because the secret has 256 random bits (V6.5.2).
"""

import hashlib
import hmac
import secrets
from typing import Final

_BYTES: Final = 32


def new_secret() -> tuple[str, bytes]:
    """Draw a secret: 43 base64url characters for its owner, and the digest for the database."""
    secret = secrets.token_urlsafe(_BYTES)
    return secret, digest(secret)


def digest(secret: str) -> bytes:
    """The SHA-256 under which a presented secret is looked up.

    Whatever a stranger sends has a digest, a lone surrogate included; only what was drawn here
    has one that is stored.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def matches(a: bytes, b: bytes) -> bool:
    """Whether two digests are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(a, b)
