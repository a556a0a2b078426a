"""What signing in says over the wire: the challenge, the tokens and the metadata."""

from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from app.schemas.base import ReadSchema, Schema
from app.schemas.types import REFUSALS, Email, Slug

_CHALLENGE: Final = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
_VERIFIER: Final = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
_DRAWN: Final = "pB5K0vN2cJq9eXl4TtRr8y1dU6wZsHfGmYbQa3oLkVI"


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("control_character", REFUSALS["control_character"])
    return value


_PasswordText = Annotated[
    str,
    # Up to four code points for each of 128 characters: passwords are measured in NFC (AUTH-20).
    StringConstraints(min_length=1, max_length=512),
    AfterValidator(_without_nul),
    WithJsonSchema({"type": "string", "format": "password", "minLength": 1, "maxLength": 512}),
]
Password = _PasswordText
"""A password: any character but NUL, neither trimmed nor shortened."""

_SecretText = Annotated[str, StringConstraints(min_length=1, max_length=512)]
PresentedSecret = _SecretText
"""What a client presents as a secret of ours; one of another form is as unknown as any other."""

ClientId = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
ScopeText = Annotated[str, StringConstraints(max_length=2_048, pattern=r"^[!#-\[\]-~ ]*$")]
CodeChallenge = Annotated[
    str,
    StringConstraints(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]+$"),
    Field(description="Base64url of the SHA-256 of a verifier that you keep (RFC 7636)."),
]


class ChallengeStart(Schema):
    """The first step: who wants to sign in, with which application, for what."""

    client_id: ClientId
    scope: Annotated[
        ScopeText | None,
        Field(description="SMART scopes; all that the application may have when absent."),
    ] = None
    code_challenge: CodeChallenge
    code_challenge_method: Literal["S256"]
    username: Annotated[Email, Field(description="The email address of the account.")]
    organization: Annotated[
        Slug | None,
        Field(description="Needed by people who have accounts in several organizations."),
    ] = None
    device: Annotated[
        _SecretText | None,
        Field(description="What an earlier sign-in on this device returned."),
    ] = None
    password: _PasswordText | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "client_id": "stepwell-spa",
                    "scope": "user/*.cruds",
                    "code_challenge": _CHALLENGE,
                    "code_challenge_method": "S256",
                    "username": "robin.vale@example.org",
                    "password": "seven quiet herons at dusk",
                }
            ]
        }
    )


class ChallengeStep(Schema):
    """A later step: the sign-in that it belongs to, and what was asked for."""

    auth_session: PresentedSecret
    password: Password

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"auth_session": _DRAWN, "password": "seven quiet herons at dusk"}]
        }
    )


def _step_of(body: Any) -> str:  # noqa: ANN401 (whatever a client sent)
    is_step = isinstance(body, ChallengeStep) or (isinstance(body, dict) and "auth_session" in body)
    return "step" if is_step else "start"


ChallengeRequest = Annotated[
    Annotated[ChallengeStart, Tag("start")] | Annotated[ChallengeStep, Tag("step")],
    Discriminator(_step_of),
]


class ChallengeRead(ReadSchema):
    """The sign-in is complete: the code becomes tokens within a minute."""

    authorization_code: str
    device: Annotated[
        str | None,
        Field(
            description="Keep it, and send it with later sign-ins, so that guesses made"
            " elsewhere do not slow this device; null when the device is known already."
        ),
    ]

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"authorization_code": _DRAWN, "device": _DRAWN}]}
    )


class OAuthErrorRead(ReadSchema):
    """An OAuth error. A step that is still wanted is named in `next`."""

    error: str
    error_description: str
    auth_session: Annotated[
        str | None, Field(description="Send it with the next step; only there when one is wanted.")
    ] = None
    next: Annotated[
        list[Literal["password"]] | None, Field(description="The steps that may follow.")
    ] = None

    model_config = ConfigDict(
        # What does not apply is left out, as in every other OAuth server's errors.
        json_schema_serialization_defaults_required=False,
        json_schema_extra={
            "examples": [
                {
                    "error": "insufficient_authorization",
                    "error_description": "A password is needed.",
                    "auth_session": _DRAWN,
                    "next": ["password"],
                }
            ]
        },
    )


class Form(Schema):
    """A form body of OAuth: what is unknown is ignored (RFC 6749, section 3.2)."""

    model_config = ConfigDict(extra="ignore")


class CodeGrant(Form):
    """A code and its verifier become tokens."""

    grant_type: Literal["authorization_code"]
    client_id: ClientId
    code: PresentedSecret
    code_verifier: Annotated[
        str,
        StringConstraints(min_length=43, max_length=128, pattern=r"^[A-Za-z0-9._~-]+$"),
    ]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "grant_type": "authorization_code",
                    "client_id": "stepwell-spa",
                    "code": _DRAWN,
                    "code_verifier": _VERIFIER,
                }
            ]
        }
    )


class RefreshGrant(Form):
    """A refresh token becomes a new pair; the old one is spent."""

    grant_type: Literal["refresh_token"]
    client_id: ClientId
    refresh_token: PresentedSecret
    scope: Annotated[
        ScopeText | None, Field(description="A part of the granted scope, for this token only.")
    ] = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "grant_type": "refresh_token",
                    "client_id": "stepwell-spa",
                    "refresh_token": _DRAWN,
                }
            ]
        }
    )


TokenRequest = Annotated[CodeGrant | RefreshGrant, Discriminator("grant_type")]


class RevocationRequest(Form):
    """A token of a sign-in that is to end (RFC 7009)."""

    client_id: ClientId
    token: Annotated[
        str,
        StringConstraints(min_length=1, max_length=4_096),
        Field(description="A refresh token or an access token."),
    ]
    token_type_hint: Annotated[str | None, StringConstraints(max_length=64)] = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"client_id": "stepwell-spa", "token": _DRAWN}]}
    )


class TokenRead(ReadSchema):
    """A pair of tokens (RFC 6749, section 5.1)."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(description="Seconds.")]
    refresh_token: Annotated[
        str, Field(description="Good for one use; the answer brings the next one.")
    ]
    scope: Annotated[str, Field(description="What was granted, which may be less than asked.")]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "access_token": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIwMTlhIn0.c2ln",
                    "token_type": "Bearer",
                    "expires_in": 300,
                    "refresh_token": _DRAWN,
                    "scope": "user/Patient.rs",
                }
            ]
        }
    )


class AuthorizationServerRead(ReadSchema):
    """What this authorization server can do (RFC 8414)."""

    issuer: str
    authorization_challenge_endpoint: str
    token_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    scopes_supported: list[str]
    response_types_supported: list[str]
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    code_challenge_methods_supported: list[str]


class SmartConfigurationRead(ReadSchema):
    """The same for clients of SMART on FHIR (SMART App Launch 2, conformance)."""

    issuer: str
    jwks_uri: str
    token_endpoint: str
    revocation_endpoint: str
    scopes_supported: list[str]
    response_types_supported: list[str]
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    code_challenge_methods_supported: list[str]
    capabilities: list[str]


class JwkSetRead(ReadSchema):
    """The public keys that verify access tokens (RFC 7517)."""

    keys: list[dict[str, str]]
