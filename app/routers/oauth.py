"""Signing in and staying signed in: OAuth 2.1 for first-party applications.

There is no page to be redirected to: an app asks for the sign-in's steps itself, at the challenge,
and exchanges the code for tokens. Errors are OAuth's own, because its libraries look for them.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, Body, Depends, Request, Response
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.responses import JSONResponse
from typing_extensions import override

from app.core.problems import ServiceBusy, TooManyRequests, problems
from app.routers.route import Handler, Route
from app.routers.visitors import CurrentVisitor
from app.schemas.oauth import (
    ChallengeRead,
    ChallengeRequest,
    ChallengeStep,
    CodeGrant,
    OAuthErrorRead,
    RefreshGrant,
    RevocationRequest,
    TokenRead,
    TokenRequest,
)
from app.security.guards import Limited
from app.services import authorization, refresh
from app.services.refusals import OAuthCode, OAuthError

GRANTS: Final = ("authorization_code", "refresh_token")
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_MOST_PARAMETERS: Final = 20
_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_TOKEN_REQUEST: Final[TypeAdapter[CodeGrant | RefreshGrant]] = TypeAdapter(TokenRequest)
_REVOCATION: Final = TypeAdapter(RevocationRequest)
T = TypeVar("T")


class OAuthRoute(Route):
    """A route whose refusals are OAuth's own documents (RFC 6749, section 5.2)."""

    @override
    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response = await handle(request)
            except OAuthError as error:
                response = JSONResponse(error.body(), HTTPStatus.BAD_REQUEST)
            response.headers.update(_NO_STORE)
            return response

        return answer


routes = APIRouter(prefix="/oauth", tags=["sign-in"], route_class=OAuthRoute)


async def read_form(request: Request) -> dict[str, str]:
    """The parameters of a form body: each once, those without a value left out (RFC 6749, 3.2).

    Raises OAuthError.
    """
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise OAuthError(OAuthCode.INVALID_REQUEST, "The body is not a form.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError(OAuthCode.INVALID_REQUEST, "A parameter was given twice.")
    return {name: value for name, value in form.items() if value}


Form = Annotated[dict[str, str], Depends(read_form)]


async def read_token_request(form: Form) -> CodeGrant | RefreshGrant:
    """The grant of a token request; raises OAuthError (AUTH-01)."""
    if form.get("grant_type", GRANTS[0]) not in GRANTS:
        raise OAuthError(
            OAuthCode.UNSUPPORTED_GRANT_TYPE, f"The grants are {' and '.join(GRANTS)}."
        )
    return _validated(_TOKEN_REQUEST, form)


async def read_revocation(form: Form) -> RevocationRequest:
    """The token that is to be revoked; raises OAuthError."""
    return _validated(_REVOCATION, form)


def _validated(adapter: TypeAdapter[T], form: dict[str, str]) -> T:
    try:
        return adapter.validate_python(form)
    except ValidationError as error:
        places = (e["loc"] for e in error.errors(include_input=False, include_url=False))
        # The last part of a place is one of our own names: unknown parameters are ignored.
        names = sorted({str(place[-1]) for place in places if place}) or ["grant_type"]
        raise OAuthError(
            OAuthCode.INVALID_REQUEST, f"Missing or malformed: {', '.join(names)}."
        ) from None


def _form_of(*models: type[BaseModel]) -> dict[str, Any]:
    """A form body, as OpenAPI describes it."""
    schemas: Sequence[dict[str, Any]] = [model.model_json_schema() for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {"requestBody": {"required": True, "content": {_FORM_TYPE: {"schema": schema}}}}


_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": OAuthErrorRead, "description": "Refused, or a further step is wanted"}
}


@routes.post(
    "/challenge",
    dependencies=[Limited],
    responses={**_REFUSALS, **problems(TooManyRequests, ServiceBusy)},
)
async def answer_challenge(
    body: Annotated[ChallengeRequest, Body()], visitor: CurrentVisitor
) -> ChallengeRead:
    """Take a step of a sign-in.

    The first step names the application, the scope, a PKCE challenge and the user name; further
    ones name the `auth_session` and answer what `next` asked for. The last one brings the code.
    """
    if isinstance(body, ChallengeStep):
        return await authorization.answer_password(visitor, body.auth_session, body.password)
    return await authorization.begin(visitor, body)


@routes.post(
    "/token",
    dependencies=[Limited],
    responses={**_REFUSALS, **problems(ServiceBusy)},
    openapi_extra=_form_of(CodeGrant, RefreshGrant),
)
async def issue_token(
    grant: Annotated[CodeGrant | RefreshGrant, Depends(read_token_request)],
    visitor: CurrentVisitor,
) -> TokenRead:
    """Turn a code or a refresh token into a pair of tokens; both are good for one use."""
    if isinstance(grant, CodeGrant):
        return await authorization.exchange_code(visitor, grant)
    return await refresh.refresh(visitor, grant)


@routes.post(
    "/revoke",
    dependencies=[Limited],
    responses={**_REFUSALS, **problems(ServiceBusy)},
    openapi_extra=_form_of(RevocationRequest),
)
async def revoke_token(
    request: Annotated[RevocationRequest, Depends(read_revocation)], visitor: CurrentVisitor
) -> None:
    """End the sign-in that a token belongs to; a token that is unknown is no error (RFC 7009)."""
    await refresh.revoke(visitor, request)
