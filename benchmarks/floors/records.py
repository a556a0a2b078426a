"""What the record floors share: the table, its contents, and the token that opens it."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final
from uuid import UUID

from benchmarks.driver import connect

TENANTS: Final = 4
PAGE: Final = 20
TOKEN: Final = "a-token-that-opens-only-synthetic-records"  # noqa: S105  # opens only what is seeded here
DATABASE_URL: Final = "FLOOR_DATABASE_URL"
FILLING: Final = "x" * 180

SCHEMA: Final = """
create table sign_in (
    digest bytea primary key,
    person_id uuid not null,
    tenant_id uuid not null,
    expires_at timestamptz not null
);
create table record (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null,
    kind text not null,
    state text not null,
    title text not null,
    body text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create table audit (
    id bigint generated always as identity primary key,
    tenant_id uuid not null,
    person_id uuid not null,
    record_id uuid not null,
    action text not null,
    at timestamptz not null default now()
);
"""

# The index comes last: a million rows are inserted faster without it.
_FILL: Final = """
insert into record (id, tenant_id, kind, state, title, body)
select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       ('00000000-0000-7000-9000-' || lpad(to_hex(n % $2), 12, '0'))::uuid,
       'note', 'draft', 'Record ' || n, $3
from generate_series(0, $1::bigint - 1) n
"""
_INDEX: Final = "create index record_tenant_idx on record (tenant_id, id)"


def record_id(number: int) -> UUID:
    """The id of the record `number`; it belongs to tenant `number % TENANTS`."""
    return UUID(f"00000000-0000-7000-8000-{number:012x}")


def tenant_id(number: int) -> UUID:
    """The id of a tenant; the token belongs to tenant 0."""
    return UUID(f"00000000-0000-7000-9000-{number:012x}")


def digest_of(authorization: str) -> bytes:
    """What the database keeps instead of the token in an Authorization header."""
    return sha256(authorization.removeprefix("Bearer ").encode()).digest()


def plain_record() -> Mapping[str, str]:
    """A record without a database, of the same size."""
    return {
        "id": str(record_id(0)),
        "tenant_id": str(tenant_id(0)),
        "kind": "note",
        "state": "draft",
        "title": "Record 0",
        "body": FILLING,
        "created_at": "2026-11-23T09:00:00.000000Z",
        "updated_at": "2026-11-23T09:00:00.000000Z",
    }


async def fill(url: str, rows: int) -> None:
    """Make the tables with `rows` records, shared by the tenants in turn, and one sign-in."""
    db = await connect(url)
    try:
        await db.execute(SCHEMA)
        await db.execute(_FILL, rows, TENANTS, FILLING, timeout=300)
        await db.execute(_INDEX, timeout=300)
        await db.execute(
            "insert into sign_in values ($1, gen_random_uuid(), $2, now() + interval '1 day')",
            digest_of(TOKEN),
            tenant_id(0),
        )
    finally:
        await db.close()
