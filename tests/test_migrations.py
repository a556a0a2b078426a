"""Models and history cannot drift apart, and history has one head."""

import asyncio

from alembic import command
from alembic.script import ScriptDirectory

from app import migrate
from app.core.embedded import EmbeddedServer


async def test_the_models_are_what_the_migrations_make(server: EmbeddedServer) -> None:
    config = migrate.configuration(server.url(role="stepwell_migrate"))
    # Raises when a model says something that no migration has done.
    await asyncio.to_thread(command.check, config)


def test_history_has_one_head() -> None:
    script = ScriptDirectory.from_config(migrate.configuration(""))
    assert script.get_heads() == [migrate.head()]


async def test_running_the_migrations_again_changes_nothing(server: EmbeddedServer) -> None:
    await asyncio.to_thread(migrate.upgrade, server.url(role="stepwell_migrate"))
