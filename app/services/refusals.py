"""What the OAuth endpoints refuse, in OAuth's own words.

RFC 6749, section 5.2, and for the challenge the IETF draft "OAuth 2.0 for First-Party
Applications", section 5.2. These answers are no problems of RFC 9457, because the libraries that
read them look for `error`.
"""

from collections.abc import Sequence
from enum import StrEnum, unique

from typing_extensions import override


@unique
class OAuthCode(StrEnum):
    """The `error` of an answer; a program switches on it."""

    INVALID_REQUEST = "invalid_request"
    INVALID_CLIENT = "invalid_client"
    INVALID_GRANT = "invalid_grant"
    INVALID_SCOPE = "invalid_scope"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    INVALID_SESSION = "invalid_session"
    INSUFFICIENT_AUTHORIZATION = "insufficient_authorization"


class OAuthError(Exception):
    """An OAuth request that is refused, or that needs a further step.

    Nothing that the client sent is repeated, but for the secret of a sign-in under way, which
    the client must send back with its next step.
    """

    def __init__(
        self,
        code: OAuthCode,
        description: str,
        *,
        auth_session: str | None = None,
        next_steps: Sequence[str] = (),
    ) -> None:
        super().__init__(code.value)
        self.code = code
        self.description = description
        self.auth_session = auth_session
        self.next_steps = tuple(next_steps)

    @override
    def __str__(self) -> str:
        return self.code.value

    def body(self) -> dict[str, object]:
        """The document that the client reads."""
        document: dict[str, object] = {
            "error": self.code.value,
            "error_description": self.description,
        }
        if self.auth_session is not None:
            document["auth_session"] = self.auth_session
        if self.next_steps:
            document["next"] = list(self.next_steps)
        return document
