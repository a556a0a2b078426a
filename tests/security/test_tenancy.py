"""Tenants are kept apart by the database, whatever the code above it forgets (AUTHZ-20 to 27).

Roles, policies, keys and grants are looked at where they are; what must be refused is tried.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Final
from uuid import UUID

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app import migrate
from app.core import embedded
from app.core.database import Connections
from app.core.ids import new_id
from app.main import create_app, make_runtime
from app.models import Base
from app.runtime import Runtime
from app.security import catalogue
from app.settings import Misconfigured, Settings
from tests.factories import Make, Person

SCRATCH: Final = "tenancy"
TENANT_TABLES: Final = sorted(
    name for name, table in Base.metadata.tables.items() if "organization_id" in table.columns
)
ROLES: Final = ("stepwell_api", "stepwell_worker", "stepwell_backup")


@pytest.fixture(scope="module")
def scratch(server: embedded.EmbeddedServer) -> str:
    """A migrated database of its own, to break."""
    embedded.bootstrap(server, SCRATCH)
    migrate.upgrade(server.url(role="stepwell_migrate", database=SCRATCH))
    return SCRATCH


@asynccontextmanager
async def connected(
    server: embedded.EmbeddedServer, role: str, database: str = "stepwell"
) -> AsyncIterator[asyncpg.Connection]:
    """A connection of a role."""
    connection = await asyncpg.connect(
        host=str(server.socket_dir),
        user=role,
        database=database,
        server_settings={"search_path": "stepwell"},
    )
    try:
        yield connection
    finally:
        await connection.close()


# AUTHZ-20: who connects


async def _starts(settings: Settings, url: str) -> None:
    runtime = make_runtime(settings, url)
    app = create_app(runtime)
    try:
        async with app.router.lifespan_context(app):
            pass
    finally:
        await runtime.connections.close()


async def test_authz_20_the_api_starts_as_its_own_role(
    server: embedded.EmbeddedServer, settings: Settings
) -> None:
    await _starts(settings, server.url(role="stepwell_api"))


@pytest.mark.parametrize(
    ("role", "making"),
    [
        ("bad_superuser", ["create role bad_superuser login superuser"]),
        (
            "bad_bypasser",
            ["create role bad_bypasser login bypassrls", "grant stepwell_api to bad_bypasser"],
        ),
        (
            "bad_owner",
            [
                "create role bad_owner login",
                "grant stepwell_api to bad_owner",
                "create table public.mine ()",
                "alter table public.mine owner to bad_owner",
            ],
        ),
    ],
)
async def test_authz_20_the_api_does_not_start_as_a_role_that_can_do_more(
    server: embedded.EmbeddedServer,
    settings: Settings,
    scratch: str,
    role: str,
    making: Sequence[str],
) -> None:
    async with connected(server, "postgres", scratch) as superuser:
        for statement in making:
            await superuser.execute(statement)
        await superuser.execute(f"alter role {role} set search_path = stepwell")
    try:
        with pytest.raises(Misconfigured) as refusal:
            await _starts(settings, server.url(role=role, database=scratch))
    finally:
        async with connected(server, "postgres", scratch) as superuser:
            await superuser.execute(f"drop owned by {role}")
            await superuser.execute(f"drop role {role}")
    assert f"The role {role} is a superuser" in str(refusal.value)


# AUTHZ-21, 22: the tenant of a transaction


# A connection whose making is cancelled is left by the driver to the garbage collector.
_unfinished = pytest.mark.filterwarnings(
    "ignore:unclosed connection:ResourceWarning",
    "ignore:Exception ignored in. <function Connection.__del__"
    ":pytest.PytestUnraisableExceptionWarning",
)


@_unfinished
async def test_authz_21_pooled_connections_never_carry_a_tenant_over(
    server: embedded.EmbeddedServer, runtime: Runtime
) -> None:
    await _interleave(server, runtime, tenants=12, rounds=400)


@_unfinished
@pytest.mark.long
async def test_authz_21_ten_thousand_interleaved_requests_of_fifty_tenants(
    server: embedded.EmbeddedServer, runtime: Runtime
) -> None:
    await _interleave(server, runtime, tenants=50, rounds=10_000)


async def _interleave(
    server: embedded.EmbeddedServer, runtime: Runtime, *, tenants: int, rounds: int
) -> None:
    """Requests of many tenants over two connections, some of them cancelled under way."""
    connections = Connections(server.url(role="stepwell_api"), size=2)
    app = create_app(replace(runtime, connections=connections))
    people = [await _tenant(app, runtime) for _ in range(tenants)]
    chance = random.Random(20)  # noqa: S311 (a schedule, no secret)
    told: list[tuple[UUID, str]] = []
    try:
        for _ in range(rounds // 8):
            tasks = [asyncio.create_task(_ask(*chance.choice(people), told)) for _ in range(8)]
            for task in tasks:
                if chance.random() < 0.2:
                    for _ in range(chance.randrange(12)):
                        await asyncio.sleep(0)
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await connections.close()
        for make, _ in people:
            await make.close()
    known = {make.organization_id: str(person.participant_id) for make, person in people}
    assert len(told) > rounds // 2
    assert {found for owner, found in told if known[owner] != found} == set()


async def _tenant(app: FastAPI, runtime: Runtime) -> tuple[Make, Person]:
    make = await Make.organization(app, runtime)
    clinician = await make.staff()
    participant = await make.participant(team=[clinician])
    clinician.participant_id = participant.participant_id
    return make, clinician


async def _ask(make: Make, person: Person, told: list[tuple[UUID, str]]) -> None:
    """Both lanes: everybody whom a list shows, and the organization that the caller is in."""
    listed = await person.get("/v1/participants")
    if listed.status_code == HTTPStatus.OK:
        told.extend((make.organization_id, one["id"]) for one in listed.json()["items"])
    me = await person.get("/v1/me")
    if me.status_code == HTTPStatus.OK:
        assert me.json()["organization"]["id"] == str(make.organization_id)


@pytest.mark.parametrize("role", ["stepwell_api", "stepwell_worker"])
async def test_authz_22_without_a_tenant_nothing_is_visible(
    server: embedded.EmbeddedServer, make: Make, role: str
) -> None:
    await make.participant()
    async with connected(server, role) as connection:
        for _ in range(2):  # the second time, the setting has been used: it reads '', not null
            for table in TENANT_TABLES:
                if await _may(connection, role, table, "select"):
                    found = await connection.fetchval(f'select count(*) from "{table}"')  # noqa: S608
                    assert found == 0, table
            async with connection.transaction():
                await connection.execute("select enter_organization($1)", make.organization_id)
                assert await connection.fetchval("select count(*) from participant") == 1


async def test_authz_22_nothing_is_written_into_another_tenant(
    server: embedded.EmbeddedServer, make: Make
) -> None:
    async with connected(server, "stepwell_api") as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("select enter_organization($1)", make.organization_id)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute(
                "insert into event (organization_id, id, type, subject, subject_id, at)"
                " values ($1, $2, 'plan.signed', 'plan', $2, now())",
                new_id(),
                new_id(),
            )
        await transaction.rollback()


async def test_authz_23_a_row_cannot_refer_to_another_tenants_row(
    server: embedded.EmbeddedServer, app: FastAPI, runtime: Runtime, make: Make
) -> None:
    elsewhere = await Make.organization(app, runtime)
    stranger = await elsewhere.staff()
    participant = await make.participant()
    await elsewhere.close()
    async with connected(server, "stepwell_api") as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("select enter_organization($1)", make.organization_id)
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await connection.execute(
                "insert into care_team_member"
                " (id, participant_id, staff_member_id, role, started_at)"
                " values ($1, $2, $3, 'clinician', now())",
                new_id(),
                participant.participant_id,
                stranger.staff_member_id,
            )
        await transaction.rollback()


# AUTHZ-24: rights


_ORDINARY: Final = frozenset({"select", "insert", "update"})
_READ: Final = frozenset({"select"})
_APPEND: Final = frozenset({"select", "insert"})
_INSERT_ONLY: Final = dict.fromkeys(
    (
        "admission_policy",
        "alert_step",
        "decision",
        "instrument_version",
        "intake_transition",
        "level_authorization",
        "plan_signature",
        "program_measurement",
        "recommendation",
        "referral",
        "room_entry",
        "score",
        "webhook_attempt",
    ),
    _APPEND,
)
_EXPECTED: Final = {
    "stepwell_api": {
        **_INSERT_ONLY,
        "audit_event": frozenset({"insert"}),
        "stored_answer": _APPEND,
        "presence": _ORDINARY | {"delete"},
        "client": _READ,
        "alembic_version": _READ,
    },
    "stepwell_worker": {
        **_INSERT_ONLY,
        "audit_event": frozenset({"insert"}),
        "stored_answer": frozenset({"select", "delete"}),
        "realtime_ticket": frozenset({"select", "delete"}),
        "presence": frozenset({"select", "delete"}),
        "known_device": _ORDINARY | {"delete"},
        "notification": _ORDINARY | {"delete"},
        "refresh_token": _ORDINARY | {"delete"},
        "sign_in": _ORDINARY | {"delete"},
        "webhook_delivery": _ORDINARY | {"delete"},
        "webhook_attempt": frozenset({"select", "insert", "delete"}),
        "authorization_session": frozenset({"select", "delete"}),
        "authorization_code": frozenset({"select", "delete"}),
        "throttle": frozenset({"select", "delete"}),
        "rate_window": frozenset({"select", "delete"}),
        "client": _READ,
        "alembic_version": _READ,
    },
    "stepwell_backup": {},
}
"""Where a role has other rights than to read, insert and update; the backup reads only."""

_PRIVILEGES: Final = (
    "select", "insert", "update", "delete", "truncate", "references", "trigger",
)  # fmt: skip


async def _may(connection: asyncpg.Connection, role: str, table: str, privilege: str) -> bool:
    found: bool = await connection.fetchval(
        "select has_table_privilege($1, $2, $3)", role, f'stepwell."{table}"', privilege
    )
    return found


@pytest.mark.parametrize("role", ROLES)
async def test_authz_24_each_role_has_exactly_its_rights(
    server: embedded.EmbeddedServer, role: str
) -> None:
    usual = _READ if role == "stepwell_backup" else _ORDINARY
    async with connected(server, "postgres") as connection:
        for table in (*Base.metadata.tables, "alembic_version"):
            found = {p for p in _PRIVILEGES if await _may(connection, role, table, p)}
            assert found == _EXPECTED[role].get(table, usual), table


# AUTHZ-26: the catalogue check


_BAD: Final = {
    "a bare table": (
        "create table bare (organization_id uuid not null, id uuid, primary key (id))",
        ["The table bare has no forced row-level security.",
         "The table bare has no policy for every command.",
         "No unique index of bare begins with organization_id."],
    ),
    "row-level security that its owner passes": (
        "alter table event no force row level security",
        ["The table event has no forced row-level security."],
    ),
    "a policy for reading only": (
        "drop policy organization on event;"  # noqa: ISC004 (one statement of several)
        " create policy organization on event for select using (true)",
        ["The table event has no policy for every command."],
    ),
    "a plain foreign key": (
        "create unique index plain_target on plan (id);"  # noqa: ISC004 (as above)
        " alter table plan_signature add constraint plain foreign key (plan_id)"
        " references plan (id)",
        ["The foreign key plain does not include organization_id."],
    ),
    "a view of its owner": (
        "create view everybody as select * from participant",
        ["The view everybody is not security_invoker."],
    ),
    "a materialized view": (
        "create materialized view kept as select organization_id from participant",
        ["The view kept is not security_invoker."],
    ),
    "a definer function of nobody's": (
        "create function across() returns bigint language sql security definer"  # noqa: ISC004
        " set search_path = stepwell as 'select count(*) from participant'",
        ["The function across may not be SECURITY DEFINER."],
    ),
    "a definer function without a search path": (
        "alter function worker_organizations() reset search_path",
        ["The function worker_organizations does not set its search_path."],
    ),
    "a right that steps around policies": (
        "grant truncate on event to stepwell_api",
        ["This role holds a right that steps around row-level security: event (truncate)."],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", _BAD)
async def test_authz_26_what_breaks_the_walls_is_reported(
    server: embedded.EmbeddedServer, scratch: str, kind: str
) -> None:
    statement, findings = _BAD[kind]
    async with connected(server, "postgres", scratch) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(statement)
        await connection.execute("set local role stepwell_api")
        assert await catalogue.check(connection) == findings
        await transaction.rollback()


async def test_authz_26_a_migrated_database_has_nothing_to_report(
    server: embedded.EmbeddedServer, scratch: str
) -> None:
    async with connected(server, "stepwell_api", scratch) as connection:
        assert await catalogue.check(connection) == []


# AUTHZ-27: work across tenants


async def test_authz_27_only_its_own_role_may_execute_what_sees_across_tenants(
    server: embedded.EmbeddedServer,
) -> None:
    async with connected(server, "postgres") as connection:
        rows = await connection.fetch(
            "select p.proname::text as name,"
            " has_function_privilege('stepwell_api', p.oid, 'execute') as api,"
            " has_function_privilege('stepwell_worker', p.oid, 'execute') as worker,"
            " has_function_privilege('stepwell_backup', p.oid, 'execute') as backup,"
            " r.rolname::text as owner"
            " from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
            " join pg_roles r on r.oid = p.proowner"
            " where n.nspname = 'stepwell' and p.prosecdef"
        )
    assert {row["name"] for row in rows} == catalogue.DEFINER_FUNCTIONS
    for row in rows:
        is_workers = row["name"].startswith("worker_")
        is_both = row["name"] == "longest_waits"  # two ages, and nothing of anybody
        assert row["api"] == (is_both or not is_workers), row["name"]
        assert row["worker"] == (is_both or is_workers), row["name"]
        assert not row["backup"]
        assert row["owner"] == "stepwell_auth"


# AUD-01, 08, 09: the trail


@pytest.mark.parametrize(
    "role",
    [*ROLES, "stepwell_audit_reader", "stepwell_auth", "stepwell_owner", "postgres"],
)
@pytest.mark.parametrize(
    "statement",
    [
        "update audit_event set count = 2",
        "delete from audit_event",
        "truncate audit_event",
    ],
)
async def test_aud_01_no_role_changes_the_trail(
    server: embedded.EmbeddedServer, make: Make, role: str, statement: str
) -> None:
    participant = await make.participant()
    await participant.get(f"/v1/participants/{participant.participant_id}")
    async with connected(server, "postgres") as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("select enter_organization($1)", make.organization_id)
        await connection.execute(f"set local role {role}")
        refused = (asyncpg.InsufficientPrivilegeError, asyncpg.RestrictViolationError)
        with pytest.raises(refused):
            await connection.execute(statement)
        await transaction.rollback()


_FAILURES: Final = {
    "a full disk": (
        """
        create function fill_disk() returns trigger language plpgsql
        as $$ begin raise exception 'no space left' using errcode = 'disk_full'; end $$;
        create trigger fill_disk before insert on audit_event
        for each row execute function fill_disk()
        """,
        "drop trigger fill_disk on audit_event; drop function fill_disk()",
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    # Rights that are gone are our mistake, and no passing one: an operator has to look.
    "a right that is gone": (
        "revoke insert on audit_event from stepwell_api",
        "grant insert on audit_event to stepwell_api",
        HTTPStatus.INTERNAL_SERVER_ERROR,
    ),
}


@pytest.mark.parametrize("failure", _FAILURES)
async def test_aud_01_what_cannot_be_put_on_record_does_not_happen(
    server: embedded.EmbeddedServer, settings: Settings, scratch: str, failure: str
) -> None:
    breaking, mending, status = _FAILURES[failure]
    runtime = make_runtime(settings, server.url(role="stepwell_api", database=scratch))
    make = await Make.organization(create_app(runtime), runtime)
    clinician = await make.staff()
    participant = await make.participant(team=[clinician], given_name="Wisteria")
    path = f"/v1/participants/{participant.participant_id}"
    before = await clinician.get(path)
    async with connected(server, "postgres", scratch) as superuser:
        await superuser.execute(breaking)
        try:
            read = await clinician.get(path)
            change = {"If-Match": before.headers["ETag"]}
            written = await clinician.patch(path, json={"pronouns": "she/her"}, headers=change)
        finally:
            await superuser.execute(mending)
    after = await clinician.get(path)
    await make.close()
    await runtime.connections.close()

    assert "Wisteria" in before.text
    assert (read.status_code, written.status_code) == (status, status)
    assert "Wisteria" not in read.text + written.text
    assert after.json() == before.json()


_FIELDS: Final = {
    "organization_id", "id", "recorded_at", "transaction_id", "actor_id", "actor_role",
    "client_id", "sign_in_id", "request_id", "source", "action", "subtype", "outcome",
    "participant_id", "participant_ids", "resource", "resource_id", "resource_version",
    "purpose", "sensitivity", "count",
}  # fmt: skip


async def _trail(server: embedded.EmbeddedServer, make: Make) -> list[asyncpg.Record]:
    async with connected(server, "postgres") as connection:
        return await connection.fetch(
            "select * from audit_event where organization_id = $1 order by id",
            make.organization_id,
        )


async def test_aud_08_an_audit_row_says_who_what_and_when_and_nothing_of_the_content(
    server: embedded.EmbeddedServer, make: Make
) -> None:
    clinician = await make.staff()
    participant = await make.participant(team=[clinician], given_name="Wisteria")

    answer = await clinician.get(f"/v1/participants/{participant.participant_id}")

    (row,) = await _trail(server, make)
    assert set(row.keys()) == _FIELDS
    assert row["actor_id"] == clinician.account_id
    assert row["sign_in_id"] == clinician.sign_in_id
    assert row["request_id"] == answer.headers["X-Request-Id"]
    assert (row["actor_role"], row["client_id"]) == ("clinician", "stepwell-spa")
    assert (row["action"], row["subtype"], row["outcome"]) == ("R", "participant:read", "success")
    assert (row["resource"], row["resource_id"]) == ("participant", participant.participant_id)
    assert row["participant_id"] == participant.participant_id
    assert (row["resource_version"], row["count"]) == (1, 1)
    assert row["source"] == "127.0.0.0/24"
    assert "Wisteria" not in repr(tuple(row))


async def test_aud_09_a_list_is_one_event_that_names_everybody_in_it(
    server: embedded.EmbeddedServer, make: Make
) -> None:
    clinician = await make.staff()
    seen = {(await make.participant(team=[clinician])).participant_id for _ in range(3)}

    await clinician.get("/v1/participants")

    (row,) = await _trail(server, make)
    assert (row["action"], row["subtype"], row["count"]) == ("R", "participant:list", 3)
    assert set(row["participant_ids"]) == seen
    assert row["participant_id"] is None


@pytest.mark.parametrize("what", ["out of reach", "not for this role"])
async def test_aud_09_a_refusal_is_recorded_although_its_transaction_was_undone(
    server: embedded.EmbeddedServer, make: Make, what: str
) -> None:
    participant = await make.participant()
    caller: AsyncClient = await make.staff()
    path = f"/v1/participants/{participant.participant_id}"
    if what == "not for this role":
        caller, path = participant, "/v1/participants"

    answer = await caller.get(path)

    (row,) = await _trail(server, make)
    assert answer.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN}
    assert row["outcome"] == "refused"
    assert row["subtype"] in {"participant:read", "participant:list"}
    assert row["request_id"] == answer.headers["X-Request-Id"]
