"""Floor: FastAPI and SQLAlchemy Core, one autocommitted statement that knows token and tenant.

This is the floor of the goals: what a careful newcomer would write with the same libraries, with
response models, and without session check, tenant context, audit of reads or sealing.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.sql.elements import ColumnElement

from benchmarks.floors.records import DATABASE_URL, PAGE, digest_of

_metadata: Final = MetaData()
_sign_in: Final = Table(
    "sign_in",
    _metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("person_id", Uuid),
    Column("tenant_id", Uuid),
    Column("expires_at", DateTime(timezone=True)),
)
_record: Final = Table(
    "record",
    _metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid),
    Column("kind", Text),
    Column("state", Text),
    Column("title", Text),
    Column("body", Text),
    Column("created_at", DateTime(timezone=True)),
    Column("updated_at", DateTime(timezone=True)),
)
_audit: Final = Table(
    "audit",
    _metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("tenant_id", Uuid),
    Column("person_id", Uuid),
    Column("record_id", Uuid),
    Column("action", Text),
)
_FIRST: Final = UUID(int=0)


class RecordCreate(BaseModel):
    kind: str
    title: str
    body: str


class RecordRead(BaseModel):
    id: UUID
    tenant_id: UUID
    kind: str
    state: str
    title: str
    body: str
    created_at: datetime
    updated_at: datetime


class RecordPage(BaseModel):
    items: list[RecordRead]


_engine: Final = create_async_engine(
    os.environ[DATABASE_URL], isolation_level="AUTOCOMMIT", pool_size=8, max_overflow=0
)


@asynccontextmanager
async def _dispose(_app: FastAPI) -> AsyncIterator[None]:
    yield
    await _engine.dispose()


async def _connection() -> AsyncIterator[AsyncConnection]:
    async with _engine.connect() as connection:
        yield connection


Connection = Annotated[AsyncConnection, Depends(_connection)]
Authorization = Annotated[str, Header()]

app = FastAPI(lifespan=_dispose)


def _is_caller(authorization: str) -> ColumnElement[bool]:
    return (_sign_in.c.digest == digest_of(authorization)) & (_sign_in.c.expires_at > func.now())


@app.get("/")
async def ready() -> dict[str, str]:
    return {}


@app.get("/records/{record_id}")
async def read(record_id: UUID, connection: Connection, authorization: Authorization) -> RecordRead:
    statement = (
        select(_record)
        .join(_sign_in, _sign_in.c.tenant_id == _record.c.tenant_id)
        .where(_is_caller(authorization), _record.c.id == record_id)
    )
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return RecordRead.model_validate(row)


@app.get("/records")
async def page(
    connection: Connection, authorization: Authorization, after: UUID = _FIRST
) -> RecordPage:
    statement = (
        select(_record)
        .join(_sign_in, _sign_in.c.tenant_id == _record.c.tenant_id)
        .where(_is_caller(authorization), _record.c.id > after)
        .order_by(_record.c.id)
        .limit(PAGE)
    )
    rows = (await connection.execute(statement)).mappings()
    return RecordPage(items=[RecordRead.model_validate(row) for row in rows])


@app.post("/records", status_code=HTTPStatus.CREATED)
async def create(
    body: RecordCreate, connection: Connection, authorization: Authorization
) -> RecordRead:
    row = (await connection.execute(_creation(authorization, body))).mappings().one_or_none()
    if row is None:
        raise HTTPException(HTTPStatus.UNAUTHORIZED)
    return RecordRead.model_validate(row)


def _creation(authorization: str, body: RecordCreate) -> Any:
    """The record and its audit row in one statement, so that autocommit keeps them together."""
    caller = (
        select(_sign_in.c.tenant_id, _sign_in.c.person_id)
        .where(_is_caller(authorization))
        .cte("caller")
    )
    created = (
        insert(_record)
        .from_select(
            ["tenant_id", "kind", "state", "title", "body"],
            select(
                caller.c.tenant_id,
                literal(body.kind),
                literal("draft"),
                literal(body.title),
                literal(body.body),
            ),
            include_defaults=False,
        )
        .returning(*_record.c)
        .cte("created")
    )
    audited = (
        insert(_audit)
        .from_select(
            ["tenant_id", "person_id", "record_id", "action"],
            select(caller.c.tenant_id, caller.c.person_id, created.c.id, literal("create")).join(
                created, caller.c.tenant_id == created.c.tenant_id
            ),
            include_defaults=False,
        )
        .cte("audited")
    )
    return select(created).add_cte(audited)
