"""An empty database for the journey, with the roles and the schema that an operator lays."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy.engine import URL, make_url

from app.core import embedded

_ROLES: Final = Path(__file__).resolve().parents[2] / "deploy" / "roles.sql"
_LOGINS: Final = ("stepwell_migrate", "stepwell_api", "stepwell_worker")


@dataclass(frozen=True, slots=True)
class Database:
    """Where each role connects, and what runs there."""

    name: str
    urls: dict[str, str]

    def url(self, role: str) -> str:
        """The URL of one role."""
        return self.urls[role]


@contextmanager
def embedded_database(major: int) -> Iterator[Database]:
    """The embedded PostgreSQL of one major version, which goes away with its data."""
    with embedded.temporary(major=major) as server:
        yield Database(
            f"an embedded PostgreSQL {major}", {role: server.url(role=role) for role in _LOGINS}
        )


@contextmanager
def external_database(admin_url: str) -> Iterator[Database]:
    """A fresh database on a server that runs already, dropped at the end.

    `admin_url` is of a superuser there. If it has a password, the roles of Stepwell get it too;
    if not, the server must trust them as it trusts the superuser.
    """
    admin = make_url(admin_url)
    fresh = admin.set(database=f"stepwell_journey_{secrets.token_hex(4)}")
    version = asyncio.run(_create(admin, fresh))
    try:
        urls = {
            role: fresh.set(username=role).render_as_string(hide_password=False) for role in _LOGINS
        }
        yield Database(f"a PostgreSQL {version} that runs already", urls)
    finally:
        asyncio.run(_execute(admin, f'drop database if exists "{fresh.database}" with (force)'))


async def _create(admin: URL, fresh: URL) -> int:
    await _execute(admin, f'create database "{fresh.database}"')
    await _execute(fresh, _ROLES.read_text(encoding="utf-8"))
    connection = await _connect(fresh)
    try:
        for role in _LOGINS if fresh.password else ():
            quoted = await connection.fetchval("select quote_literal($1::text)", fresh.password)
            await connection.execute(f"alter role {role} password {quoted}")
        return connection.get_server_version().major
    finally:
        await connection.close()


async def _execute(url: URL, script: str) -> None:
    connection = await _connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def _connect(url: URL) -> asyncpg.Connection:
    return await asyncpg.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False)
    )
