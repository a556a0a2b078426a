"""Work across tenants touches the one that it is for, and tells of none that was not asked for.

Two organizations of the same kind, each with something of everything. What comes due, comes due in
one of them; whatever the worker does then, not a row of the other changes (AUTHZ-27).
"""

import hashlib
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from app import events, notifications, worker
from app.core import clock, embedded
from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.jobs import alert_clocks, cleanup, horizon, measurement, sequencer
from app.jobs import notifications as sending
from app.jobs.workplace import Workplace
from app.models import Base
from app.models.accounts import Account, RefreshToken
from app.models.idempotency import StoredAnswer
from app.models.organizations import Organization
from app.models.rooms import RoomMember
from app.models.webhooks import EndpointState, WebhookEndpoint
from app.notifications import Template
from app.runtime import Runtime
from app.security import catalogue
from app.settings import Settings
from tests.factories import Make, Person
from tests.routers.assessing import answered, assigned
from tests.routers.scheduling import AUTUMN, an_evening, set_clock
from tests.webhooks.receivers import Receiver, receiver
from tests.working import courier, happenings, proves, work, workplace

TENANT_TABLES: Final = sorted(
    name for name, table in Base.metadata.tables.items() if "organization_id" in table.columns
)


@dataclass(repr=False)
class Tenant:
    """An organization with something of everything."""

    make: Make
    canary: str
    receiver: Receiver
    administrator: Person
    participant: Person

    @property
    def id(self) -> UUID:
        return self.make.organization_id


@dataclass(repr=False)
class Recorder:
    """A sender that keeps what it is given."""

    messages: list[sending.Message] = field(default_factory=list)

    async def send(self, message: sending.Message) -> None:
        self.messages.append(message)


@dataclass(repr=False)
class Scene:
    """Two tenants, whoever works for both, and somebody who sees every row."""

    quiet: Tenant
    busy: Tenant
    place: Workplace
    mail: Recorder
    superuser: asyncpg.Connection

    async def rows_of(self, tenant: Tenant) -> str:
        """Every row of a tenant, as text."""
        found = []
        for table in TENANT_TABLES:
            rows = await self.superuser.fetch(
                f"select t::text as row from stepwell.{table} t"  # noqa: S608 (our own names)
                " where organization_id = $1 order by 1",
                tenant.id,
            )
            found += [f"{table}: {row['row']}" for row in rows]
        return "\n".join(found)


async def _furnished(app: FastAPI, runtime: Runtime, listening: Receiver, canary: str) -> Tenant:
    """An organization on a Wednesday of 2027, before anything in it comes due."""
    make = await Make.organization(app, runtime)
    await an_evening(make)
    administrator, clinician = await make.staff(StaffRole.ADMINISTRATOR), await make.staff()
    participant = await make.participant(team=[clinician], given_name=canary, alias=canary)
    asked = await assigned(clinician, participant)
    await answered(participant, asked, {"q9": 2})  # an alert, whose clock runs
    expires_at = (AUTUMN + timedelta(days=2)).isoformat()
    await assigned(clinician, participant, "gad-7", expires_at=expires_at)
    tenant = Tenant(make, canary, listening, administrator, participant)
    body = {"url": "https://receiver.example.org/", "event_types": ["*"]}
    headers = {"Idempotency-Key": new_id().hex}
    registered = await administrator.post("/v1/webhooks", json=body, headers=headers)
    assert registered.status_code == HTTPStatus.CREATED, registered.text
    await _expect_created(participant, "/v1/realtime/tickets")
    hired = {"name": "Sam", "email": f"{new_id().hex}@example.org", "roles": ["clinician"]}
    await _expect_created(administrator, "/v1/staff", hired)
    async with make.transaction() as db:
        moved = {"url": listening.url, "state": EndpointState.ACTIVE}
        await db.execute(update(WebhookEndpoint).values(moved))
        db.add(
            RefreshToken(
                id=new_id(),
                sign_in_id=participant.sign_in_id,
                digest=new_id().bytes * 2,
                issued_at=clock.wall(),
            )
        )
    return tenant


async def _expect_created(person: Person, path: str, body: object = None) -> None:
    answer = await person.post(path) if body is None else await person.post(path, json=body)
    assert answer.status_code == HTTPStatus.CREATED, answer.text


@pytest.fixture(scope="module")
async def scene(
    app: FastAPI, runtime: Runtime, server: embedded.EmbeddedServer, settings: Settings
) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        listening = [await stack.enter_async_context(receiver(proves())) for _ in range(2)]
        place = await stack.enter_async_context(workplace(server, settings))
        superuser = await stack.enter_async_context(_connected(server, "postgres"))
        names = ("Wisteria", "Quillwort")
        quiet, busy = [
            await _furnished(app, runtime, one, name)
            for one, name in zip(listening, names, strict=True)
        ]
        scene = Scene(quiet, busy, place, Recorder(), superuser)
        await _settle(scene)
        yield scene
        for tenant in (quiet, busy):
            await tenant.make.close()


@asynccontextmanager
async def _connected(
    server: embedded.EmbeddedServer, role: str
) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        host=str(server.socket_dir),
        user=role,
        database="stepwell",
        server_settings={"search_path": "stepwell"},
    )
    try:
        yield connection
    finally:
        await connection.close()


async def _settle(scene: Scene) -> None:
    """Do whatever is due in both, until nothing is."""
    for job in JOBS.values():
        while await job.run(scene):
            pass


# What the worker does


async def _sequence(scene: Scene) -> bool:
    return await sequencer.sequence(scene.place)


async def _deliver(scene: Scene) -> bool:
    async with courier(scene.place) as carrier:
        await work(scene.place, carrier)
    return False


async def _keep_alert_clocks(scene: Scene) -> bool:
    return await scene.place.in_each(alert_clocks.run)


async def _keep_up(scene: Scene) -> bool:
    return await horizon.run(scene.place)


async def _measure(scene: Scene) -> bool:
    return await measurement.run(scene.place)


async def _clean(scene: Scene) -> bool:
    return await cleanup.clean(scene.place)


async def _send(scene: Scene) -> bool:
    return await sending.send_due(scene.place, scene.mail)


async def _later(tenant: Tenant) -> None:
    """Two weeks have gone by: sessions have been, forms have expired, alerts are overdue."""
    await set_clock(tenant.make, AUTUMN + timedelta(days=14))


async def _happen(tenant: Tenant) -> None:
    async with tenant.make.transaction() as db:
        participant_id = tenant.participant.participant_id
        await events.record(db, "plan.signed", new_id(), participant_id=participant_id)


async def _age(tenant: Tenant) -> None:
    """Their stored answers are two days old."""
    async with tenant.make.transaction() as db:
        account_id = tenant.administrator.account_id
        db.add(
            StoredAnswer(
                id=new_id(),
                account_id=account_id,
                key=new_id().bytes * 2,
                fingerprint=new_id().bytes * 2,
                participant_ids=[],
                status=201,
                headers={},
                created_at=clock.wall() - timedelta(days=2),
            )
        )


async def _queue(tenant: Tenant) -> None:
    async with tenant.make.transaction() as db:
        await notifications.queue(
            db, tenant.administrator.account_id, Template.INVITATION, secret=tenant.canary
        )


@dataclass(frozen=True)
class Job:
    """One of the worker's loops, and what gives it something to do."""

    run: Callable[[Scene], Awaitable[bool]]
    make_due: Callable[[Tenant], Awaitable[None]]


JOBS: Final[Mapping[str, Job]] = {
    "sequencer": Job(_sequence, _happen),
    "webhooks": Job(_deliver, _happen),
    "alert_clocks": Job(_keep_alert_clocks, _later),
    "horizon": Job(_keep_up, _later),
    "measurement": Job(_measure, _later),
    "cleanup": Job(_clean, _age),
    "notifications": Job(_send, _queue),
}


def test_authz_27_every_job_of_the_worker_is_looked_at() -> None:
    loops = set(re.findall(r'\bLoop\(\s*"(\w+)"', inspect.getsource(worker)))

    # These two reach no row: one listens, the other looks whether its parent is there.
    assert loops - {"listener", "parent"} == set(JOBS)


async def test_authz_27_no_job_changes_anything_of_whom_it_is_not_for(scene: Scene) -> None:
    idle, meddling = [], []
    for name, job in JOBS.items():
        await job.make_due(scene.busy)
        before = [_digest(await scene.rows_of(one)) for one in (scene.quiet, scene.busy)]
        await job.run(scene)
        after = [_digest(await scene.rows_of(one)) for one in (scene.quiet, scene.busy)]
        meddling += [name] if after[0] != before[0] else []
        idle += [name] if after[1] == before[1] else []

    assert meddling == []
    assert idle == []  # a job that did nothing has proven nothing


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_authz_27_what_leaves_for_one_tenant_tells_nothing_of_another(scene: Scene) -> None:
    for tenant in (scene.quiet, scene.busy):
        await _happen(tenant)
        await _queue(tenant)
    await _settle(scene)

    for one, other in ((scene.quiet, scene.busy), (scene.busy, scene.quiet)):
        await _expect_unknown(scene, one, other)


async def _expect_unknown(scene: Scene, one: Tenant, other: Tenant) -> None:
    """Nothing that was sent or stored for one is the other's."""
    async with other.make.transaction() as db:
        theirs = {str(each.hex) for each in await db.scalars(select(Account.id))}
    mine = [message for message in scene.mail.messages if one.canary in message.text]
    assert mine
    assert theirs.isdisjoint(message.to.partition("@")[0] for message in mine)
    sent = happenings(one.receiver)
    assert sent
    ids = (other.id, other.participant.participant_id, other.participant.account_id)
    written = await scene.rows_of(one)
    for known in map(str, ids):
        assert known not in written
        assert not [each for each in sent if known.encode() in each]


# What sees across tenants


Question = Callable[[asyncpg.Connection, Tenant, Tenant], Awaitable[list[Any]]]
"""Asked for one tenant about what is another's: what is told of it."""


async def _asked(connection: asyncpg.Connection, sql: str, *arguments: object) -> list[Any]:
    """Every value that a function gives."""
    rows = await connection.fetch(sql, *arguments)
    return [value for row in rows for value in row if value is not None]


async def _open_request(db: asyncpg.Connection, asker: Tenant, subject: Tenant) -> list[Any]:
    return await _asked(
        db,
        "select * from open_request($1, $2, 1, $3, 'a', 'b')",
        asker.id,
        subject.participant.sign_in_id,
        clock.wall(),
    )


async def _accounts_with_login(db: asyncpg.Connection, asker: Tenant, subject: Tenant) -> list[Any]:
    async with subject.make.transaction() as own:
        theirs = Account.id == subject.participant.account_id
        index = (await own.scalars(select(Account.login_index).where(theirs))).one()
    async with asker.make.transaction() as own:
        slug = (await own.scalars(select(Organization.slug))).one()
    return await _asked(db, "select * from accounts_with_login($1, $2)", index, slug)


async def _accesses(db: asyncpg.Connection, asker: Tenant, subject: Tenant) -> list[Any]:
    async with db.transaction():
        await db.execute("select enter_organization($1)", asker.id)
        return await _asked(
            db,
            "select id from accesses_to_participant($1, null, 10)",
            subject.participant.participant_id,
        )


async def _positions(db: asyncpg.Connection, asker: Tenant, subject: Tenant) -> list[Any]:
    rows = await db.fetch("select * from event_positions($1)", [asker.id])
    return [row["reached"] for row in rows if row["organization_id"] == subject.id]


async def _live_sign_ins(db: asyncpg.Connection, asker: Tenant, subject: Tenant) -> list[Any]:
    sign_ins = [subject.participant.sign_in_id]
    sql = "select * from live_sign_ins($1, $2, $3)"
    return await _asked(db, sql, [asker.id], sign_ins, clock.wall())


async def _room_heads(db: asyncpg.Connection, asker: Tenant, subject: Tenant) -> list[Any]:
    member = await _member_of(subject)
    return await _asked(db, "select * from room_heads($1, $2)", [asker.id], [member.room_id])


async def _standing_members(db: asyncpg.Connection, asker: Tenant, subject: Tenant) -> list[Any]:
    member = await _member_of(subject)
    return await _asked(db, "select * from standing_members($1, $2)", [asker.id], [member.id])


async def _member_of(tenant: Tenant) -> RoomMember:
    async with tenant.make.transaction() as db:
        query = select(RoomMember).where(RoomMember.left_at.is_(None)).limit(1)
        return (await db.scalars(query)).one()


QUESTIONS: Final[Mapping[str, Question]] = {
    "accesses_to_participant": _accesses,
    "accounts_with_login": _accounts_with_login,
    "event_positions": _positions,
    "live_sign_ins": _live_sign_ins,
    "open_request": _open_request,
    "room_heads": _room_heads,
    "standing_members": _standing_members,
}
"""Functions that are asked for one organization."""

_BY_ITS_SECRET: Final = {
    "organization_of_invitation": "invitation",
    "organization_of_realtime_ticket": "realtime_ticket",
    "organization_of_refresh_token": "refresh_token",
}
"""Functions that are asked by the digest of a secret, which names its organization."""

_FOR_THE_WORKER: Final = frozenset(
    {"worker_claim_deliveries", "worker_organizations", "worker_organizations_with_events"}
)
"""Functions that give names of organizations, and of what is due in each; no row of anything."""

_AGES: Final = frozenset({"longest_waits"})


def test_authz_27_every_function_that_sees_across_tenants_is_asked() -> None:
    asked = {*QUESTIONS, *_BY_ITS_SECRET, *_FOR_THE_WORKER, *_AGES}

    assert asked == catalogue.DEFINER_FUNCTIONS


@pytest.mark.parametrize("name", QUESTIONS)
async def test_authz_27_a_function_tells_of_the_tenant_that_it_was_asked_for_and_of_no_other(
    scene: Scene, server: embedded.EmbeddedServer, name: str
) -> None:
    await scene.quiet.participant.get(f"/v1/participants/{scene.quiet.participant.participant_id}")
    async with _connected(server, "stepwell_api") as connection:
        own = await QUESTIONS[name](connection, scene.quiet, scene.quiet)
        foreign = await QUESTIONS[name](connection, scene.busy, scene.quiet)

    assert own
    assert foreign == []


@pytest.mark.parametrize("name", _BY_ITS_SECRET)
async def test_authz_27_a_digest_names_its_own_organization_and_nothing_else_does(
    scene: Scene, server: embedded.EmbeddedServer, name: str
) -> None:
    found = await scene.superuser.fetch(
        f"select organization_id, digest from {_BY_ITS_SECRET[name]}"  # noqa: S608 (ours)
        " where organization_id = any($1)",
        [scene.quiet.id, scene.busy.id],
    )
    async with _connected(server, "stepwell_api") as connection:
        told = [await connection.fetchval(f"select {name}($1)", row["digest"]) for row in found]
        unknown = await connection.fetchval(f"select {name}($1)", new_id().bytes * 2)

    assert set(told) == {scene.quiet.id, scene.busy.id}
    assert told == [row["organization_id"] for row in found]
    assert unknown is None


async def test_authz_27_the_worker_is_given_names_and_no_rows(
    scene: Scene, server: embedded.EmbeddedServer
) -> None:
    await _settle(scene)
    await _happen(scene.busy)
    async with _connected(server, "stepwell_worker") as connection:
        everybody = await _asked(connection, "select worker_organizations()")
        waiting = await _asked(connection, "select worker_organizations_with_events()")
        await sequencer.sequence(scene.place)
        claimed = await connection.fetch(
            "select * from worker_claim_deliveries($1, interval '0 seconds', 100)", clock.wall()
        )
    owners = await scene.superuser.fetch(
        "select organization_id, id as delivery_id from webhook_delivery where id = any($1)",
        [row["delivery_id"] for row in claimed],
    )

    assert {scene.quiet.id, scene.busy.id} <= set(everybody)
    assert scene.busy.id in waiting
    assert scene.quiet.id not in waiting
    assert scene.busy.id in {row["organization_id"] for row in claimed}
    assert scene.quiet.id not in {row["organization_id"] for row in claimed}
    assert set(map(tuple, owners)) == set(map(tuple, claimed))
