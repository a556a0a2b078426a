"""A shortcut that only a development service has: tokens without a password."""

from typing import Final

from app.core import clock
from app.core.ids import new_id
from app.models.organizations import Environment
from app.runtime import Runtime
from app.schemas.oauth import TokenRead
from app.security import seals
from app.security.sealing import normalize_email
from app.services import authorization, sign_ins
from app.services.visitors import Visitor, enter, find_account

CLIENT: Final = "stepwell-spa"


class NoDevelopmentToken(Exception):
    """No token is made; the sentence says why."""


async def issue_development_token(
    runtime: Runtime, email: str, *, organization: str | None = None, client_id: str = CLIENT
) -> TokenRead:
    """Sign somebody in without a password, for a developer at the command line.

    The sign-in is a real one: it is listed, audited and can be ended. Raises NoDevelopmentToken
    in production, for an organization that treats real people, and for an unknown account.
    """
    if runtime.settings.is_production:
        raise NoDevelopmentToken("Tokens without a password exist in development only.")
    visitor = Visitor(runtime, request_id=new_id().hex, source="local")
    async with visitor.transaction() as db:
        login_index = seals.login_index(db, normalize_email(email))
        found = await find_account(db, login_index, organization)
        if found is None:
            raise NoDevelopmentToken(
                "No account has this address, or several organizations have one: name one."
            )
        entered = await enter(db, *found)
        holder = await sign_ins.get_holder(db, found[1], lock=True)
        if entered.environment is not Environment.DEVELOPMENT or holder is None:
            raise NoDevelopmentToken("The account is not active in a development organization.")
        client = await authorization.get_client(db, client_id)
        proof = sign_ins.Proof(authorization.ONE_FACTOR, ["dev"], clock.wall())
        sign_in = await sign_ins.open_sign_in(
            db, runtime, holder, client, scope=client.scope, proof=proof
        )
        return await sign_ins.issue_tokens(db, runtime, holder, sign_in, client)
