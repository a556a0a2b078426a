"""The caller's own account, password and sign-ins."""

from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Request, Response

from app.core.problems import (
    NotFound,
    ServiceBusy,
    TooManyRequests,
    problem_response,
    problems,
)
from app.routers.route import router
from app.schemas.accounts import MeRead, PasswordChange, SignInPage
from app.security.guards import Database, Requires, request_id_of
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import accounts, sign_ins

routes = router("/v1/me", "me")

Oneself = Annotated[Principal, Depends(Requires(Permission.OWN_ACCOUNT))]
AccountChange = Annotated[Principal, Depends(Requires(Permission.ACCOUNT_CHANGE))]

_FORGET: Final = {"Clear-Site-Data": '"cache", "storage"'}
"""What a browser still holds of somebody's care goes when they leave (PHI-13)."""


@routes.get("")
async def read_me(db: Database, principal: Oneself) -> MeRead:
    """Read who is signed in, as what, and what the application may do."""
    return await accounts.read_me(db, principal)


@routes.get("/sign-ins")
async def list_sign_ins(db: Database, principal: Oneself) -> SignInPage:
    """List the devices on which you are signed in."""
    items = await sign_ins.list_sign_ins(db, principal)
    return SignInPage(items=list(items), next_cursor=None)


@routes.post(
    "/sign-ins/{sign_in_id}/end",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(NotFound),
)
async def end_sign_in(sign_in_id: UUID, db: Database, principal: Oneself) -> None:
    """Sign one of your devices out."""
    await sign_ins.end_sign_in(db, principal, sign_in_id)


@routes.post("/sign-out", status_code=HTTPStatus.NO_CONTENT)
async def sign_out(response: Response, db: Database, principal: Oneself) -> None:
    """Sign this device out."""
    await sign_ins.sign_out(db, principal)
    response.headers.update(_FORGET)


@routes.post("/sign-out-everywhere", status_code=HTTPStatus.NO_CONTENT)
async def sign_out_everywhere(response: Response, db: Database, principal: Oneself) -> None:
    """Sign every device out, this one included."""
    await sign_ins.sign_out_everywhere(db, principal)
    response.headers.update(_FORGET)


@routes.post(
    "/password",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(
        accounts.WrongPassword, accounts.PasswordRefused, TooManyRequests, ServiceBusy
    ),
)
async def change_password(
    body: PasswordChange, request: Request, db: Database, principal: AccountChange
) -> Response:
    """Change your password; your other devices are signed out."""
    refusal = await accounts.change_password(db, principal, body)
    if refusal is not None:
        # Answered, not raised: the attempt must stay counted.
        return problem_response(refusal, request_id_of(request))
    return Response(status_code=HTTPStatus.NO_CONTENT)
