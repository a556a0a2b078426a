"""Floor: Starlette and asyncpg, one statement a request that knows the token and the tenant."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final
from uuid import UUID

import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.driver import driver_url
from benchmarks.floors.records import DATABASE_URL, PAGE, digest_of

_COLUMNS: Final = "id, tenant_id, kind, state, title, body, created_at, updated_at"
_READ: Final = """
select * from record
where tenant_id = (select tenant_id from sign_in where digest = $1 and expires_at > now())
  and id = $2
"""
_LIST: Final = """
select * from record
where tenant_id = (select tenant_id from sign_in where digest = $1 and expires_at > now())
  and id > $2
order by id limit $3
"""
_CREATE: Final = f"""
with caller as (
    select tenant_id, person_id from sign_in where digest = $1 and expires_at > now()
), created as (
    insert into record (tenant_id, kind, state, title, body)
    select tenant_id, $2, 'draft', $3, $4 from caller returning {_COLUMNS}
), audited as (
    insert into audit (tenant_id, person_id, record_id, action)
    select caller.tenant_id, caller.person_id, created.id, 'create' from caller, created
)
select * from created
"""  # noqa: S608  # only our own column names are put in
_FIRST: Final = UUID(int=0)


@asynccontextmanager
async def _pool(app: Starlette) -> AsyncIterator[None]:
    async with asyncpg.create_pool(
        driver_url(os.environ[DATABASE_URL]), min_size=1, max_size=16
    ) as pool:
        app.state.pool = pool
        yield


def _digest(request: Request) -> bytes:
    return digest_of(request.headers.get("authorization", ""))


def _plain(row: asyncpg.Record) -> dict[str, str]:
    return {
        name: value.isoformat() if name.endswith("_at") else str(value)
        for name, value in row.items()
    }


async def ready(_request: Request) -> JSONResponse:
    """Say that it listens."""
    return JSONResponse({})


async def read(request: Request) -> JSONResponse:
    """Read one record of the caller's tenant."""
    record_id = UUID(request.path_params["record_id"])
    row = await request.app.state.pool.fetchrow(_READ, _digest(request), record_id)
    if row is None:
        return JSONResponse({}, HTTPStatus.NOT_FOUND)
    return JSONResponse(_plain(row))


async def page(request: Request) -> JSONResponse:
    """List records of the caller's tenant after one of them."""
    after = UUID(request.query_params["after"]) if "after" in request.query_params else _FIRST
    rows = await request.app.state.pool.fetch(_LIST, _digest(request), after, PAGE)
    return JSONResponse({"items": [_plain(row) for row in rows]})


async def create(request: Request) -> JSONResponse:
    """Create a record in the caller's tenant, and its audit row."""
    body = json.loads(await request.body())
    row = await request.app.state.pool.fetchrow(
        _CREATE, _digest(request), body["kind"], body["title"], body["body"]
    )
    if row is None:
        return JSONResponse({}, HTTPStatus.UNAUTHORIZED)
    return JSONResponse(_plain(row), HTTPStatus.CREATED)


app = Starlette(
    lifespan=_pool,
    routes=[
        Route("/", ready),
        Route("/records/{record_id}", read),
        Route("/records", page),
        Route("/records", create, methods=["POST"]),
    ],
)
