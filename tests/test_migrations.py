"""Models and history cannot drift apart, and history has one head."""

import asyncio

import asyncpg
from alembic import command
from alembic.script import ScriptDirectory

from app import migrate
from app.core.embedded import EmbeddedServer
from app.models import Base
from app.models.base import Word


async def test_the_models_are_what_the_migrations_make(server: EmbeddedServer) -> None:
    config = migrate.configuration(server.url(role="stepwell_migrate"))
    # Raises when a model says something that no migration has done.
    await asyncio.to_thread(command.check, config)


def test_history_has_one_head() -> None:
    script = ScriptDirectory.from_config(migrate.configuration(""))
    assert script.get_heads() == [migrate.head()]


async def test_running_the_migrations_again_changes_nothing(server: EmbeddedServer) -> None:
    await asyncio.to_thread(migrate.upgrade, server.url(role="stepwell_migrate"))


async def test_the_database_refuses_a_word_of_no_vocabulary(server: EmbeddedServer) -> None:
    promised = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Word)
    }
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    try:
        checks = await connection.fetch(
            "select c.conrelid::regclass::text as place, a.attname, pg_get_constraintdef(c.oid)"
            " from pg_constraint c join pg_attribute a"
            " on a.attrelid = c.conrelid and c.conkey = array[a.attnum]"
            " where c.contype = 'c' and pg_get_constraintdef(c.oid) like '%ARRAY[%'"
        )
    finally:
        await connection.close()

    kept = {f"{place.removeprefix('stepwell.')}.{column}" for place, column, _ in checks}
    assert promised
    assert promised <= kept
