"""Floor: FastAPI and SQLAlchemy Core, one autocommitted statement that knows token and tenant.

This is the floor of the goals: what a careful newcomer would write with the same libraries, with
response models, and without session check, tenant context, audit of reads or sealing.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from fastapi import FastAPI, Header, HTTPException
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
    bindparam,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.ext.asyncio import create_async_engine

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


# Composed once: only the first request of each kind pays for compiling.
_is_caller: Final = (_sign_in.c.digest == bindparam("digest")) & (
    _sign_in.c.expires_at > func.now()
)
# A scalar subquery, so that the planner walks the tenant's part of the index in its order.
_own_records: Final = select(_record).where(
    _record.c.tenant_id == select(_sign_in.c.tenant_id).where(_is_caller).scalar_subquery()
)
_READ: Final = _own_records.where(_record.c.id == bindparam("record_id"))
_LIST: Final = (
    _own_records.where(_record.c.id > bindparam("after")).order_by(_record.c.id).limit(PAGE)
)

# The record and its audit row are one statement, so that autocommit keeps them together.
_caller: Final = select(_sign_in.c.tenant_id, _sign_in.c.person_id).where(_is_caller).cte("caller")
_created: Final = (
    insert(_record)
    .from_select(
        ["tenant_id", "kind", "state", "title", "body"],
        select(
            _caller.c.tenant_id,
            bindparam("kind", type_=Text),
            literal("draft"),
            bindparam("title", type_=Text),
            bindparam("body", type_=Text),
        ),
    )
    .returning(*_record.c)
    .cte("created")
)
_audited: Final = (
    insert(_audit)
    .from_select(
        ["tenant_id", "person_id", "record_id", "action"],
        select(_caller.c.tenant_id, _caller.c.person_id, _created.c.id, literal("create")).join(
            _created, _caller.c.tenant_id == _created.c.tenant_id
        ),
    )
    .cte("audited")
)
_CREATE: Final = select(_created).add_cte(_audited)

_engine: Final = create_async_engine(
    os.environ[DATABASE_URL], isolation_level="AUTOCOMMIT", pool_size=16, max_overflow=0
)


@asynccontextmanager
async def _dispose(_app: FastAPI) -> AsyncIterator[None]:
    yield
    await _engine.dispose()


Authorization = Annotated[str, Header()]

app = FastAPI(lifespan=_dispose)


@app.get("/")
async def ready() -> dict[str, str]:
    """Say that it listens."""
    return {}


@app.get("/records/{record_id}")
async def read(record_id: UUID, authorization: Authorization) -> RecordRead:
    """Read one record of the caller's tenant."""
    values = {"digest": digest_of(authorization), "record_id": record_id}
    async with _engine.connect() as connection:
        row = (await connection.execute(_READ, values)).mappings().one_or_none()
    if row is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return RecordRead.model_validate(row)


@app.get("/records")
async def page(authorization: Authorization, after: UUID = _FIRST) -> RecordPage:
    """List records of the caller's tenant after one of them."""
    values = {"digest": digest_of(authorization), "after": after}
    async with _engine.connect() as connection:
        rows = (await connection.execute(_LIST, values)).mappings().all()
    return RecordPage(items=[RecordRead.model_validate(row) for row in rows])


@app.post("/records", status_code=HTTPStatus.CREATED)
async def create(body: RecordCreate, authorization: Authorization) -> RecordRead:
    """Create a record in the caller's tenant, and its audit row."""
    values = {"digest": digest_of(authorization), **body.model_dump()}
    async with _engine.connect() as connection:
        row = (await connection.execute(_CREATE, values)).mappings().one_or_none()
    if row is None:
        raise HTTPException(HTTPStatus.UNAUTHORIZED)
    return RecordRead.model_validate(row)
