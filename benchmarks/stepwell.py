"""Stepwell itself, as the harness meets it: a clinician, the participants, and their records."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Final
from uuid import UUID, uuid5

import asyncpg
from typing_extensions import override

from app import migrate
from app.core import clock, embedded
from app.core.ids import new_id
from app.core.pagination import CursorCodec, Listing
from app.security import keys
from app.security.scopes import ScopeSet
from app.security.sealing import Cell, DataKey, OrganizationKey
from app.security.tokens import AccessClaims, Issuer
from app.settings import Settings
from benchmarks.floors.records import PAGE
from benchmarks.forms import fill_in_forms
from benchmarks.load import Exchange, request_bytes
from benchmarks.rooms import TEXT, Member, give_accounts, make_rooms, open_venue
from benchmarks.servers import Command, serving
from benchmarks.sockets import Venue
from benchmarks.subject import Operation, Site, Subject

_SCOPE: Final = "user/*.cruds"
_OWN: Final = 400
"""How many participants the clinician's day is about: their keys are warm, as they would be."""
_OWN_ROOMS: Final = 50
_WITH_ACCOUNT: Final = 1_200
_BATCH: Final = 5_000


class Stepwell(Subject):
    """The service with token, session check, tenant context, audit row and unsealing."""

    name = "Stepwell"
    scenarios = frozenset(
        {"read", "list", "create", "growth", "start", "fanout", "submit", "score"}
    )
    ready_path = "/readyz"
    ready_within = 2.5

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="stepwell-bench-keys-"))
        self._settings = Settings(data_dir=self._directory)
        self._material = keys.load(self._settings)
        self._organization_id = new_id()
        self._account_id, self._staff_member_id, self._sign_in_id = new_id(), new_id(), new_id()
        self._participants: list[UUID] = []
        self._middles: dict[str, UUID] = {}
        self._rooms: list[UUID] = []
        self._keys: dict[UUID, DataKey] = {}
        self._people: list[tuple[Member, UUID]] = []

    @override
    async def provision(self, site: Site) -> None:
        await asyncio.to_thread(embedded.bootstrap, site.server, site.database)
        await asyncio.to_thread(migrate.upgrade, site.url(role="stepwell_migrate"))
        async with _owner(site) as connection:
            await self._hire(connection)
            await self._enroll(connection, site.rows)
            self._middles[site.database] = self._participants[len(self._participants) // 2]
            self._people = await give_accounts(connection, self._organization_id, self._keys)
            self._rooms = await self._own_rooms(connection)
            await connection.execute("analyze")

    @override
    def command(self, site: Site) -> Command:
        return Command(
            (sys.executable, "-m", "app", "serve"),
            {
                "STEPWELL_DATABASE_URL": site.url(role="stepwell_api"),
                "STEPWELL_DATA_DIR": str(self._directory),
                "STEPWELL_PORT": str(site.port),
                "STEPWELL_POOL_SIZE": "16",
                # One account asks more in a turn than anybody may in a minute.
                "STEPWELL_ACCOUNT_REQUESTS": str(10**9),
            },
        )

    @override
    async def exchanges(self, site: Site) -> Mapping[Operation, Exchange]:
        bearer = {"Authorization": f"Bearer {self._token()}"}
        own = self._participants[:_OWN]

        def read(number: int) -> bytes:
            path = f"/v1/participants/{own[number * 7919 % len(own)]}"
            return request_bytes("GET", path, headers=bearer)

        listing = Listing("/v1/participants", self._organization_id)
        cursor = CursorCodec(self._material.cursor_key).encode(
            listing, (self._middles[site.database],)
        )

        def say(number: int) -> bytes:
            path = f"/v1/rooms/{self._rooms[number % len(self._rooms)]}/entries"
            message_id = uuid5(self._organization_id, str(number))
            body = {"client_message_id": str(message_id), "kind": "message", "body": TEXT}
            once = {**bearer, "Idempotency-Key": str(message_id)}
            return request_bytes("POST", path, headers=once, body=json.dumps(body).encode())

        return {
            Operation.CREATE: Exchange(
                say, HTTPStatus.CREATED, lambda body: not json.loads(body)["duplicate"]
            ),
            Operation.READ: Exchange(read, HTTPStatus.OK, lambda body: len(body) >= 350),
            Operation.LIST: _page(f"/v1/participants?limit={PAGE}", bearer),
            Operation.PAGE: _page(f"/v1/participants?limit={PAGE}&cursor={cursor}", bearer),
        }

    @override
    async def venue(self, site: Site, *, rooms: int, seats: int) -> Venue:
        async with _owner(site) as connection:
            return await open_venue(
                connection, self._organization_id, self._people, rooms=rooms, seats=seats
            )

    @override
    async def forms(self, site: Site, *, count: int) -> Exchange:
        bearer = {"Authorization": f"Bearer {self._token()}"}
        owners = [(each, self._keys[each]) for each in self._participants[:_OWN]]
        async with _owner(site) as connection:
            ids = await fill_in_forms(
                connection, self._organization_id, self._account_id, owners, count
            )

        def submit(number: int) -> bytes:
            return request_bytes("POST", f"/v1/assessments/{ids[number]}/submit", headers=bearer)

        return Exchange(submit, HTTPStatus.OK, lambda body: bool(json.loads(body)["scores"]))

    def _token(self) -> str:
        now = clock.wall()
        claims = AccessClaims(
            sub=self._account_id,
            organization_id=self._organization_id,
            sign_in_id=self._sign_in_id,
            version=1,
            client_id="stepwell-spa",
            scope=ScopeSet.parse(_SCOPE),
            auth_time=now,
            acr="iop:1",
            amr=("pwd",),
            jti=new_id(),
            iat=now,
            exp=now + timedelta(minutes=15),
        )
        issuer = self._settings.issuer
        return Issuer(self._material.ring, issuer, issuer).issue(claims, now)

    async def _hire(self, connection: asyncpg.Connection) -> None:
        """An organization with one clinician who is signed in."""
        now = clock.wall()
        ids = (self._organization_id, self._account_id)
        await connection.execute(
            "insert into organization (organization_id, slug, name, environment, region,"
            " clock_offset, created_at)"
            " values ($1, 'bench', 'Bench', 'development', 'US', interval '0', $2)",
            self._organization_id,
            now,
        )
        await connection.execute(
            "insert into account (organization_id, id, kind, login_index, email, password_hash,"
            " state, created_at) values ($1, $2, 'staff', 'i', 'e', 'h', 'active', $3)",
            *ids,
            now,
        )
        await connection.execute(
            "insert into staff_member (organization_id, id, account_id, name, roles,"
            " is_independently_licensed, version, created_at, updated_at)"
            " values ($1, $3, $2, 'n', '{clinician}', true, 1, $4, $4)",
            *ids,
            self._staff_member_id,
            now,
        )
        await connection.execute(
            "insert into sign_in (organization_id, id, account_id, client_id, scope, version, acr,"
            " amr, authenticated_at, last_seen_at, idle_seconds, expires_at)"
            " values ($1, $3, $2, 'stepwell-spa', $4, 1, 'iop:1', '{pwd}', $5, $5, 86400, $6)",
            *ids,
            self._sign_in_id,
            _SCOPE,
            now,
            now + timedelta(days=1),
        )

    async def _enroll(self, connection: asyncpg.Connection, rows: int) -> None:
        """Participants under keys of their own, all in the clinician's care team."""
        secret, key_id = os.urandom(32), new_id()
        wrapped = await self._material.root.wrap(self._organization_id, key_id, secret)
        await connection.execute(
            "insert into organization_key (organization_id, id, wrapped, root_key_id, state)"
            " values ($1, $2, $3, $4, 'active')",
            self._organization_id,
            key_id,
            wrapped,
            self._material.root.wrapping_id,
        )
        organization_key = OrganizationKey(self._organization_id, key_id, secret)
        self._participants, self._keys = [], {}
        for start in range(0, rows, _BATCH):
            people = [self._person(organization_key) for _ in range(min(_BATCH, rows - start))]
            for table, columns in _TABLES.items():
                await connection.copy_records_to_table(
                    table, records=[person[table] for person in people], columns=columns
                )

    async def _own_rooms(self, connection: asyncpg.Connection) -> list[UUID]:
        """The rooms that the clinician leads; a key of anybody's hides the alias of nobody."""
        key = next(iter(self._keys.values()))
        host = Member(self._account_id, None, self._staff_member_id, key)
        return await make_rooms(connection, self._organization_id, [[host]] * _OWN_ROOMS)

    def _person(self, organization_key: OrganizationKey) -> dict[str, tuple[object, ...]]:
        participant_id, key_id, secret = new_id(), new_id(), os.urandom(32)
        self._participants.append(participant_id)
        key = DataKey(self._organization_id, key_id, secret)
        if len(self._keys) < _WITH_ACCOUNT:
            self._keys[participant_id] = key
        now = clock.wall()
        organization_id = self._organization_id

        def cell(column: str, text: str) -> bytes:
            return key.seal(Cell("participant", column, participant_id), text)

        return {
            "data_key": (
                *(organization_id, key_id, participant_id, "participant"),
                *(organization_key.key_id, organization_key.wrap(key_id, secret)),
                *("active", 0, now),
            ),
            "participant": (
                *(organization_id, participant_id),
                *(cell("given_name", "Jordan"), cell("family_name", "Reed")),
                *(cell("alias", "Blue Heron"), cell("email", "jordan@example.org")),
                *("America/Denver", "US-CO", [], 1, now, now),
            ),
            "care_team_member": (
                *(organization_id, new_id(), participant_id, self._staff_member_id),
                *("clinician", now),
            ),
        }


class StepwellAlone(Subject):
    """`stepwell serve` without a database: it brings its own up, as a newcomer's machine does.

    What is measured is the second start and those after it: the first has laid the schema and
    seeded the demonstration.
    """

    name = "Stepwell, database included"
    scenarios = frozenset({"start"})
    ready_path = "/readyz"
    ready_within = 5.0

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="stepwell-bench-alone-"))

    @override
    async def provision(self, site: Site) -> None:
        processor = min(os.sched_getaffinity(0))
        async with serving(
            self.command(site), port=site.port, processor=processor, ready_path=self.ready_path
        ):
            pass

    @override
    def command(self, site: Site) -> Command:
        return Command(
            (sys.executable, "-m", "app", "serve"),
            {"STEPWELL_DATA_DIR": str(self._directory), "STEPWELL_PORT": str(site.port)},
        )


@asynccontextmanager
async def _owner(site: Site) -> AsyncIterator[asyncpg.Connection]:
    """The database as its owner sees it: no policy stands between."""
    connection = await asyncpg.connect(
        host=str(site.server.socket_dir),
        user="postgres",
        database=site.database,
        server_settings={"search_path": "stepwell"},
    )
    try:
        yield connection
    finally:
        await connection.close()


_TABLES: Final = {
    "data_key": (
        *("organization_id", "id", "participant_id", "purpose", "organization_key_id"),
        *("wrapped", "state", "seals_reserved", "created_at"),
    ),
    "participant": (
        *("organization_id", "id", "given_name", "family_name", "alias", "email"),
        *("time_zone", "home_state", "sensitivity", "version", "created_at", "updated_at"),
    ),
    "care_team_member": (
        *("organization_id", "id", "participant_id", "staff_member_id", "role", "started_at"),
    ),
}


def _page(path: str, bearer: Mapping[str, str]) -> Exchange:
    request = request_bytes("GET", path, headers=bearer)
    return Exchange(
        lambda _number: request,
        HTTPStatus.OK,
        lambda body: len(json.loads(body)["items"]) == PAGE,
    )
