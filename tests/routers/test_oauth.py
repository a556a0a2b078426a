"""Signing in over HTTP: the challenge, the code, the tokens and the metadata."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from uuid import UUID

import asyncpg
import jwt
import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from passlib.context import CryptContext  # type: ignore[import-untyped]  # libpass ships no types
from sqlalchemy import event, func, select, update

from app.core.database import Connections
from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.main import create_app
from app.models.accounts import Account, AccountState, SignIn
from app.models.events import Event
from app.routers.oauth import GRANTS
from app.runtime import Runtime
from app.security.scopes import ScopeSet
from app.services.development import NoDevelopmentToken, issue_development_token
from app.settings import Mode
from tests.factories import Make, Person, problem_of
from tests.routers.signing_in import (
    FORM,
    PASSWORD,
    Device,
    Tokens,
    audited,
    device,
    email_of,
    give_password,
    later,
)

WRONG = "eight loud herons at dawn"


@pytest.fixture
async def phone(app: FastAPI) -> AsyncIterator[Device]:
    async with device(app) as phone:
        yield phone


@pytest.fixture
async def clinician(make: Make) -> Person:
    clinician = await make.staff(StaffRole.CLINICIAN)
    await give_password(make, clinician)
    return clinician


def oauth_error(response: Response) -> str:
    assert response.status_code == HTTPStatus.BAD_REQUEST, response.text
    assert response.headers["content-type"] == "application/json"
    return str(response.json()["error"])


# Grants and steps


@pytest.mark.parametrize("grant", ["password", "implicit", "foo", "client_credentials"])
async def test_auth_01_no_other_grant_exists(phone: Device, grant: str) -> None:
    response = await phone.token(grant_type=grant, username="a@example.org", password=PASSWORD)

    assert oauth_error(response) == "unsupported_grant_type"


async def test_auth_02_a_sign_in_walks_from_the_name_to_the_tokens(
    phone: Device, clinician: Person
) -> None:
    first = await phone.begin(email_of(clinician), scope="user/*.cruds")
    assert oauth_error(first) == "insufficient_authorization"
    assert first.json()["next"] == ["password"]

    second = await phone.answer(first.json()["auth_session"], PASSWORD)
    assert second.status_code == HTTPStatus.OK
    tokens = Tokens.of(await phone.exchange(second.json()["authorization_code"]))

    me = await phone.http.get("/v1/me", headers=tokens.header)
    assert me.json()["account_id"] == str(clinician.account_id)
    assert me.json()["sign_in_id"] != str(clinician.sign_in_id)


async def test_auth_02_a_sign_in_records_that_it_happened(
    make: Make, server: EmbeddedServer, phone: Device, clinician: Person
) -> None:
    await phone.sign_in(email_of(clinician))

    async with make.transaction() as db:
        types = (await db.scalars(select(Event.type))).all()
    assert "sign_in.created" in types
    trail = await audited(server, make.organization_id)
    assert trail[:2] == ["sign_in:password success", "sign_in:create success"]


async def test_auth_02_a_step_without_its_sign_in_is_refused(phone: Device) -> None:
    for auth_session in ("x", "A" * 43):
        assert oauth_error(await phone.answer(auth_session, PASSWORD)) == "invalid_session"


async def test_auth_02_a_sign_in_gives_one_code(phone: Device, clinician: Person) -> None:
    auth_session = (await phone.begin(email_of(clinician))).json()["auth_session"]
    assert (await phone.answer(auth_session, PASSWORD)).status_code == HTTPStatus.OK

    assert oauth_error(await phone.answer(auth_session, PASSWORD)) == "invalid_session"


async def test_auth_02_a_step_counts_for_its_own_sign_in_only(
    make: Make, phone: Device, clinician: Person
) -> None:
    other = await make.staff()
    await give_password(make, other, "a password of somebody else")
    auth_session = (await phone.begin(email_of(clinician))).json()["auth_session"]
    await phone.begin(email_of(other))

    response = await phone.answer(auth_session, "a password of somebody else")

    assert oauth_error(response) == "insufficient_authorization"


async def test_auth_03_a_sign_in_under_way_ends_after_ten_minutes(
    phone: Device, clinician: Person
) -> None:
    auth_session = (await phone.begin(email_of(clinician))).json()["auth_session"]

    async with later(timedelta(minutes=10)):
        response = await phone.answer(auth_session, PASSWORD)

    assert oauth_error(response) == "invalid_session"


async def test_auth_03_a_sign_in_takes_ten_steps_at_most(phone: Device) -> None:
    auth_session = (await phone.begin("nobody@example.org")).json()["auth_session"]
    for step in range(10):
        async with later(timedelta(seconds=40 * step)):
            response = await phone.answer(auth_session, WRONG)
        assert oauth_error(response) == "insufficient_authorization"

    async with later(timedelta(seconds=440)):
        assert oauth_error(await phone.answer(auth_session, WRONG)) == "invalid_session"


async def test_auth_03_the_tenth_step_may_be_the_right_one(
    phone: Device, clinician: Person
) -> None:
    auth_session = (await phone.begin(email_of(clinician))).json()["auth_session"]
    for step in range(9):
        async with later(timedelta(seconds=40 * step)):
            await phone.answer(auth_session, WRONG)

    async with later(timedelta(seconds=400)):
        assert (await phone.answer(auth_session, PASSWORD)).status_code == HTTPStatus.OK


async def test_auth_03_a_code_lives_for_a_minute(phone: Device, clinician: Person) -> None:
    code = await phone.code(email_of(clinician))

    async with later(timedelta(seconds=60)):
        assert oauth_error(await phone.exchange(code)) == "invalid_grant"
    assert (await phone.exchange(code)).status_code == HTTPStatus.OK


async def test_auth_03_a_code_that_comes_twice_ends_what_it_opened(
    phone: Device, clinician: Person
) -> None:
    code = await phone.code(email_of(clinician))
    tokens = Tokens.of(await phone.exchange(code))
    assert await phone.status_of(tokens) == HTTPStatus.OK

    assert oauth_error(await phone.exchange(code)) == "invalid_grant"

    assert await phone.status_of(tokens) == HTTPStatus.UNAUTHORIZED
    assert oauth_error(await phone.refresh(tokens.refresh)) == "invalid_grant"


async def test_auth_03_a_code_that_comes_twice_at_once_opens_nothing(
    phone: Device, clinician: Person
) -> None:
    code = await phone.code(email_of(clinician))

    answers = await asyncio.gather(phone.exchange(code), phone.exchange(code))

    [won] = [answer for answer in answers if answer.status_code == HTTPStatus.OK]
    assert await phone.status_of(Tokens.of(won)) == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    "change",
    [
        {"code_challenge": None},
        {"code_challenge": "short"},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
    ],
)
async def test_auth_04_a_sign_in_without_s256_is_refused(
    phone: Device, change: dict[str, str | None]
) -> None:
    response = await phone.begin("a@example.org", **change)

    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert problem_of(response) == "invalid"


async def test_auth_04_a_code_needs_its_own_verifier_and_client(
    app: FastAPI, phone: Device, clinician: Person
) -> None:
    code = await phone.code(email_of(clinician))
    async with device(app) as other:
        await other.code(email_of(clinician))
        assert oauth_error(await phone.exchange(code, other.verifier)) == "invalid_grant"
    assert oauth_error(await phone.exchange(code, "v" * 43)) == "invalid_grant"
    stolen = await phone.token(
        grant_type="authorization_code",
        client_id="stepwell-mobile",
        code=code,
        code_verifier=phone.verifier,
    )
    assert oauth_error(stolen) == "invalid_grant"

    assert (await phone.exchange(code)).status_code == HTTPStatus.OK


async def test_auth_04_an_unregistered_client_is_refused(phone: Device) -> None:
    phone.client_id = "somebodys-app"

    assert oauth_error(await phone.begin("a@example.org")) == "invalid_client"
    assert oauth_error(await phone.exchange("c" * 43)) == "invalid_client"
    assert oauth_error(await phone.refresh("r" * 43)) == "invalid_client"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "grant_type=refresh_token",
        "grant_type=refresh_token&refresh_token=&client_id=stepwell-spa",
        "grant_type=refresh_token&refresh_token=a&refresh_token=b&client_id=stepwell-spa",
        "grant_type=refresh_token&refresh_token=%ff&client_id=stepwell-spa",
        "grant_type=refresh_token&refresh_token=a&client_id=%00",
        "grant_type=authorization_code&code=a&client_id=stepwell-spa&code_verifier=short",
        "refresh_token",
        "&".join(f"p{n}=1" for n in range(99)),
        "grant_type=refresh_token&refresh_token=\N{SNOWMAN}&client_id=stepwell-spa",
    ],
)
async def test_auth_01_a_malformed_token_request_is_an_oauth_error(
    phone: Device, body: str
) -> None:
    response = await phone.http.post("/oauth/token", content=body.encode(), headers=FORM)

    assert oauth_error(response) == "invalid_request"
    assert "x-request-id" in response.headers


async def test_auth_01_a_token_request_is_a_form(phone: Device) -> None:
    response = await phone.http.post("/oauth/token", json={"grant_type": "refresh_token"})

    assert problem_of(response) == "unsupported-media-type"


# Metadata


async def test_auth_05_the_metadata_lists_what_works(phone: Device, runtime: Runtime) -> None:
    metadata = (await phone.http.get("/.well-known/oauth-authorization-server")).json()

    assert metadata["issuer"] == runtime.settings.issuer
    assert metadata["grant_types_supported"] == list(GRANTS)
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    for name in ("authorization_challenge", "token", "revocation"):
        path = metadata[f"{name}_endpoint"].removeprefix(metadata["issuer"])
        answer = await phone.http.post(path)
        assert answer.status_code in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
    assert ScopeSet.parse(" ".join(metadata["scopes_supported"]))


async def test_auth_05_smart_clients_find_the_same(phone: Device) -> None:
    oauth = (await phone.http.get("/.well-known/oauth-authorization-server")).json()
    smart = (await phone.http.get("/.well-known/smart-configuration")).json()

    shared = smart.keys() & oauth.keys()
    assert {name: smart[name] for name in shared} == {name: oauth[name] for name in shared}
    assert "permission-v2" in smart["capabilities"]


async def test_auth_05_the_published_keys_verify_a_token(
    phone: Device, clinician: Person, runtime: Runtime
) -> None:
    tokens = await phone.sign_in(email_of(clinician))

    answer = await phone.http.get("/.well-known/jwks.json")

    assert answer.headers["cache-control"] == "public, max-age=300"
    kid = jwt.get_unverified_header(tokens.access)["kid"]
    [key] = [key for key in answer.json()["keys"] if key["kid"] == kid]
    assert "d" not in key
    claims = jwt.decode(
        tokens.access,
        jwt.PyJWK(key),
        algorithms=["ES256"],
        audience=runtime.settings.issuer,
        issuer=runtime.settings.issuer,
    )
    assert claims["sub"] == str(clinician.account_id)


async def test_auth_06_tokens_and_their_refusals_are_never_stored(
    phone: Device, clinician: Person
) -> None:
    code = await phone.code(email_of(clinician))

    for response in (await phone.exchange(code), await phone.exchange(code)):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["pragma"] == "no-cache"
        assert "x-content-type-options" in response.headers
    assert code not in (await phone.exchange(code)).text


async def test_auth_08_a_token_says_who_and_nothing_of_them(make: Make, phone: Device) -> None:
    participant = await make.participant(given_name="Canary")
    await give_password(make, participant)
    tokens = await phone.sign_in(email_of(participant), scope="patient/Patient.r")

    header, payload, _ = (_decoded(part) for part in tokens.access.split("."))

    assert json.loads(header).keys() == {"alg", "typ", "kid"}
    claims = json.loads(payload)
    assert claims.keys() == {
        "iss", "aud", "sub", "org", "sid", "sv", "client_id", "scope",
        "auth_time", "acr", "amr", "jti", "iat", "exp",
    }  # fmt: skip
    assert claims["exp"] - claims["iat"] == 300
    assert (claims["acr"], claims["amr"]) == ("iop:1", ["pwd"])
    assert claims["scope"] == "patient/Patient.r"
    assert b"canary" not in payload.lower()


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


# Limits of a sign-in


async def test_auth_14_an_idle_sign_in_ends(phone: Device, clinician: Person) -> None:
    tokens = await phone.sign_in(email_of(clinician))

    async with later(timedelta(minutes=15)):
        assert oauth_error(await phone.refresh(tokens.refresh)) == "invalid_grant"


async def test_auth_14_use_keeps_a_sign_in_alive_until_its_absolute_end(
    phone: Device, clinician: Person
) -> None:
    tokens = await phone.sign_in(email_of(clinician))
    for tenth in range(1, 72):
        async with later(timedelta(minutes=10 * tenth)):
            tokens = Tokens.of(await phone.refresh(tokens.refresh))

    async with later(timedelta(hours=12)):
        assert await phone.status_of(tokens) == HTTPStatus.UNAUTHORIZED
        assert oauth_error(await phone.refresh(tokens.refresh)) == "invalid_grant"


async def test_auth_14_an_eleventh_device_ends_the_oldest(
    make: Make, phone: Device, clinician: Person
) -> None:
    first = await phone.sign_in(email_of(clinician))
    for _ in range(9):
        await phone.sign_in(email_of(clinician))
    # The factory's own sign-in was the oldest.
    assert (await clinician.get("/v1/me")).status_code == HTTPStatus.UNAUTHORIZED
    assert await phone.status_of(first) == HTTPStatus.OK

    await phone.sign_in(email_of(clinician))

    assert await phone.status_of(first) == HTTPStatus.UNAUTHORIZED
    async with make.transaction() as db:
        live = await db.scalar(select(func.count()).where(SignIn.revoked_at.is_(None)))
    assert live == 10


# Passwords


async def test_auth_18_a_weaker_hash_is_replaced_at_sign_in(
    make: Make, phone: Device, clinician: Person
) -> None:
    weak = CryptContext(
        ["argon2"], argon2__type="ID", argon2__memory_cost=32, argon2__time_cost=1
    ).hash(PASSWORD)
    async with make.transaction() as db:
        await db.execute(
            update(Account).where(Account.id == clinician.account_id).values(password_hash=weak)
        )

    await phone.sign_in(email_of(clinician))

    async with make.transaction() as db:
        kept = await db.scalar(
            select(Account.password_hash).where(Account.id == clinician.account_id)
        )
    assert kept is not None
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    await phone.sign_in(email_of(clinician))


@pytest.mark.parametrize(
    ("kept", "typed"),
    [
        ("\N{DESERT ISLAND}" * 15, "\N{DESERT ISLAND}" * 15),
        ("é" * 128, "e\N{COMBINING ACUTE ACCENT}" * 128),
        ("  leading and trailing  ", "  leading and trailing  "),
    ],
)
async def test_auth_20_every_character_counts(
    make: Make, phone: Device, kept: str, typed: str
) -> None:
    person = await make.staff()
    username = await give_password(make, person, kept)

    await phone.sign_in(username, typed)

    trimmed = await phone.begin(username, password=kept[1:])
    assert oauth_error(trimmed) == "insufficient_authorization"


@pytest.mark.parametrize("tail", ["\\u0000", "\\ud800"])
async def test_auth_20_what_is_no_text_is_refused(
    phone: Device, clinician: Person, tail: str
) -> None:
    body = {
        "client_id": phone.client_id,
        "code_challenge": phone.code_challenge,
        "code_challenge_method": "S256",
        "username": email_of(clinician),
        "password": "@",
    }
    text = json.dumps(body).replace('"@"', f'"{PASSWORD}{tail}"')

    response = await phone.http.post(
        "/oauth/challenge", content=text, headers={"Content-Type": "application/json"}
    )

    assert response.status_code in {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.BAD_REQUEST}
    assert PASSWORD not in response.text


# What is not told


async def test_auth_22_a_failed_sign_in_tells_nothing(
    make: Make, app: FastAPI, clinician: Person
) -> None:
    disabled = await make.staff()
    await give_password(make, disabled)
    invited = await make.staff()
    await _set_state(make, disabled, AccountState.DISABLED)
    await _set_state(make, invited, AccountState.INVITED)
    usernames = [
        email_of(clinician),
        email_of(disabled),
        email_of(invited),
        f"{new_id().hex}@example.org",
    ]

    answers = [await _failed(app, username) for username in usernames]

    assert all(answer == answers[0] for answer in answers), answers


async def _set_state(make: Make, person: Person, state: AccountState) -> None:
    async with make.transaction() as db:
        await db.execute(update(Account).where(Account.id == person.account_id).values(state=state))


async def _failed(app: FastAPI, username: str) -> object:
    """Everything that a wrong password's answers say, but for what is drawn anew each time."""
    async with device(app) as phone:
        first = await phone.begin(username)
        second = await phone.answer(first.json()["auth_session"], WRONG)
        at_once = await phone.begin(username, password=WRONG)
    return [_said(response) for response in (first, second, at_once)]


def _said(response: Response) -> object:
    text = response.text.replace(response.json()["auth_session"], "-")
    headers = {name: v for name, v in response.headers.items() if name != "x-request-id"}
    return response.status_code, text, headers


async def test_auth_22_an_unknown_login_takes_the_same_statements(
    app: FastAPI, runtime: Runtime, clinician: Person
) -> None:
    async with _statements(runtime) as known:
        await _failed(app, email_of(clinician))
    async with _statements(runtime) as unknown:
        await _failed(app, f"{new_id().hex}@example.org")

    assert len(known) > 20
    assert known == unknown


@asynccontextmanager
async def _statements(runtime: Runtime) -> AsyncIterator[list[str]]:
    """Everything that the application asks the database in the meantime."""
    seen: list[str] = []

    def note(*call: object) -> None:
        seen.append(str(call[2]))

    engine = runtime.connections.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_auth_22_a_name_in_two_organizations_needs_the_organization(
    make: Make, app: FastAPI, runtime: Runtime, phone: Device, clinician: Person
) -> None:
    elsewhere = await Make.organization(app, runtime)
    twin = await elsewhere.staff()
    await give_password(elsewhere, twin, "another password elsewhere")
    async with make.transaction() as db:
        login_index = await db.scalar(
            select(Account.login_index).where(Account.id == clinician.account_id)
        )
    async with elsewhere.transaction() as db:
        await db.execute(
            update(Account).where(Account.id == twin.account_id).values(login_index=login_index)
        )

    ambiguous = await phone.begin(email_of(clinician), password=PASSWORD)
    slug = f"org-{make.organization_id.hex}"
    named = await phone.sign_in(email_of(clinician), organization=slug)

    assert oauth_error(ambiguous) == "insufficient_authorization"
    me = (await phone.http.get("/v1/me", headers=named.header)).json()
    assert me["organization"]["slug"] == slug
    await elsewhere.close()


async def test_auth_22_a_disabled_account_opens_nothing(
    make: Make, phone: Device, clinician: Person
) -> None:
    code = await phone.code(email_of(clinician))
    tokens = await phone.sign_in(email_of(clinician))
    await _set_state(make, clinician, AccountState.DISABLED)

    assert oauth_error(await phone.exchange(code)) == "invalid_grant"
    assert oauth_error(await phone.refresh(tokens.refresh)) == "invalid_grant"
    assert await phone.status_of(tokens) == HTTPStatus.UNAUTHORIZED


# Scopes


async def test_auth_31_a_token_gets_no_more_than_the_role_gives(make: Make, phone: Device) -> None:
    peer = await make.staff(StaffRole.PEER_SPECIALIST)
    await give_password(make, peer)

    tokens = await phone.sign_in(email_of(peer), scope="user/*.cruds patient/*.cruds")

    granted = ScopeSet.parse(tokens.scope)
    assert granted.allows("user", "Communication", "c")
    assert not granted.allows("user", "Patient", "r")
    assert not granted.allows("user", "Practitioner", "u")
    assert not granted.limited_to("patient")


async def test_auth_31_a_token_gets_no_more_than_was_asked(
    phone: Device, clinician: Person
) -> None:
    tokens = await phone.sign_in(email_of(clinician), scope="user/Patient.rs user/Person.r")

    assert tokens.scope == "user/Patient.rs user/Person.r"
    response = await phone.http.get("/v1/staff", headers=tokens.header)
    assert problem_of(response) == "insufficient-scope"
    needed = "user/Practitioner.r"
    assert needed in response.json()["detail"]
    assert response.headers["WWW-Authenticate"] == (
        f'Bearer error="insufficient_scope", scope="{needed}"'
    )


async def test_auth_31_a_refresh_for_what_the_role_does_not_give_is_refused(
    make: Make, phone: Device
) -> None:
    """What was asked at the beginning is not what was granted."""
    peer = await make.staff(StaffRole.PEER_SPECIALIST)
    await give_password(make, peer)
    tokens = await phone.sign_in(email_of(peer), scope="user/*.cruds")

    refused = await phone.refresh(tokens.refresh, scope="user/Patient.r")
    narrowed = await phone.refresh(tokens.refresh, scope="user/Communication.r")

    assert oauth_error(refused) == "invalid_scope"
    assert narrowed.json()["scope"] == "user/Communication.r"


@pytest.mark.parametrize("scope", ["user/Patient.sr", "everything", "patient/Pat ient.r", ""])
async def test_auth_31_a_scope_out_of_the_grammar_is_refused(phone: Device, scope: str) -> None:
    assert oauth_error(await phone.begin("a@example.org", scope=scope)) == "invalid_scope"


async def test_auth_31_a_scope_for_somebody_else_is_refused_after_the_password(
    phone: Device, clinician: Person
) -> None:
    scope = "patient/Patient.r"
    before = await phone.begin(email_of(clinician), scope=scope, password=WRONG)
    after = await phone.begin(email_of(clinician), scope=scope, password=PASSWORD)

    assert oauth_error(before) == "insufficient_authorization"
    assert oauth_error(after) == "invalid_scope"


# Revocation


async def test_auth_13_revoking_either_token_ends_the_sign_in(
    phone: Device, clinician: Person
) -> None:
    for which in ("access", "refresh"):
        tokens = await phone.sign_in(email_of(clinician))
        form = {"client_id": phone.client_id, "token": getattr(tokens, which)}
        assert (await phone.http.post("/oauth/revoke", data=form)).status_code == HTTPStatus.OK

        assert await phone.status_of(tokens) == HTTPStatus.UNAUTHORIZED
        assert oauth_error(await phone.refresh(tokens.refresh)) == "invalid_grant"


async def test_auth_13_an_unknown_token_is_revoked_without_complaint(
    phone: Device, clinician: Person
) -> None:
    tokens = await phone.sign_in(email_of(clinician))
    for client_id, token in (
        (phone.client_id, "unknown"),
        (phone.client_id, "not.a.token"),
        ("stepwell-mobile", tokens.refresh),
    ):
        response = await phone.http.post(
            "/oauth/revoke", data={"client_id": client_id, "token": token}
        )
        assert response.status_code == HTTPStatus.OK

    assert await phone.status_of(tokens) == HTTPStatus.OK


# What is left behind


async def test_aud_09_a_failed_sign_in_leaves_its_trace(
    make: Make, server: EmbeddedServer, phone: Device, clinician: Person
) -> None:
    for _ in range(5):
        await phone.begin(email_of(clinician), password=WRONG)

    trail = await audited(server, make.organization_id)

    assert trail == ["sign_in:password failed"] * 5 + ["sign_in:throttled refused"]


# Tokens for developers


async def test_a_developer_gets_tokens_of_a_real_sign_in(
    runtime: Runtime, phone: Device, clinician: Person
) -> None:
    made = await issue_development_token(runtime, email_of(clinician))

    header = {"Authorization": f"Bearer {made.access_token}"}
    sign_ins = (await phone.http.get("/v1/me/sign-ins", headers=header)).json()["items"]
    assert [s["amr"] for s in sign_ins if s["is_current"]] == [["dev"]]


async def test_no_token_is_made_for_a_stranger_or_in_production(
    runtime: Runtime, clinician: Person
) -> None:
    with pytest.raises(NoDevelopmentToken):
        await issue_development_token(runtime, "nobody@example.org")
    settings = runtime.settings.model_copy(update={"mode": Mode.PRODUCTION})
    with pytest.raises(NoDevelopmentToken):
        await issue_development_token(replace(runtime, settings=settings), email_of(clinician))


async def test_auth_01_the_challenge_needs_no_token(client: AsyncClient) -> None:
    response = await client.post("/oauth/challenge", json={})

    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_rel_14_signing_in_survives_connections_that_died_in_the_pool(
    server: EmbeddedServer, runtime: Runtime, clinician: Person
) -> None:
    url = server.url(role="stepwell_api")
    own = replace(runtime, connections=Connections(url, size=2, application_name="dying"))
    async with device(create_app(own)) as phone:
        await phone.begin(email_of(clinician))
        await asyncio.gather(*(phone.begin(email_of(clinician)) for _ in range(2)))
        await _kill_connections(server, "dying")

        await phone.sign_in(email_of(clinician))
    await own.connections.close()


async def _kill_connections(server: EmbeddedServer, application_name: str) -> None:
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    try:
        killed = await connection.fetch(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where application_name = $1",
            application_name,
        )
    finally:
        await connection.close()
    assert killed


# Whose record it is


async def _revoke(phone: Device, tokens: Tokens, _code: str) -> None:
    await phone.http.post(
        "/oauth/revoke", data={"client_id": phone.client_id, "token": tokens.access}
    )


async def _reuse(phone: Device, tokens: Tokens, _code: str) -> None:
    second = Tokens.of(await phone.refresh(tokens.refresh))
    await phone.refresh(second.refresh)
    await phone.refresh(tokens.refresh)


async def _replay(phone: Device, _tokens: Tokens, code: str) -> None:
    await phone.exchange(code)


async def _change_password(phone: Device, tokens: Tokens, _code: str) -> None:
    other = await phone.sign_in(await _login_of(phone, tokens))
    await phone.http.post(
        "/v1/me/password",
        json={"current_password": PASSWORD, "new_password": "nine calm egrets before rain"},
        headers=other.header,
    )


async def _login_of(phone: Device, tokens: Tokens) -> str:
    me = (await phone.http.get("/v1/me", headers=tokens.header)).json()
    return f"{UUID(me['account_id']).hex}@example.org"


@pytest.mark.parametrize("end", [_revoke, _reuse, _replay, _change_password])
async def test_wh_15_whatever_ends_a_participants_sign_in_the_event_is_of_their_record(
    make: Make,
    server: EmbeddedServer,
    phone: Device,
    end: Callable[[Device, Tokens, str], Awaitable[None]],
) -> None:
    jordan = await make.participant()
    username = await give_password(make, jordan)
    await phone.begin(username, password=WRONG)
    code = await phone.code(username)
    tokens = Tokens.of(await phone.exchange(code))

    await end(phone, tokens, code)

    async with make.transaction() as db:
        found = await db.execute(
            select(Event.type, Event.participant_id).where(Event.type.like("sign_in.%"))
        )
        told = found.all()
    assert "sign_in.ended" in {type_ for type_, _ in told}
    assert {participant_id for _, participant_id in told} == {jordan.participant_id}
    trail = await trail_of_accounts(server, make)
    assert {"sign_in:create", "sign_in:password"} < {row["subtype"] for row in trail}
    assert {row["participant_id"] for row in trail} == {jordan.participant_id}


async def trail_of_accounts(server: EmbeddedServer, make: Make) -> list[asyncpg.Record]:
    """What an auditor reads of an organization's accounts and sign-ins."""
    auditor = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    try:
        return await auditor.fetch(
            "select subtype, participant_id from stepwell.audit_event"
            " where organization_id = $1 and resource in ('account', 'sign_in')",
            make.organization_id,
        )
    finally:
        await auditor.close()
