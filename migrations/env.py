"""Runs migrations as `stepwell_migrate`, acting as the owner of the schema."""

import asyncio
from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, Text, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.models import Base
from app.models.base import Word


def _render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """A word is text in history: its vocabulary is kept by a check constraint."""
    return "sa.Text()" if kind == "type" and isinstance(item, Word) else False


def _compare_type(
    _context: Any, _inspected: Any, _column: Any, found: Any, meant: Any
) -> bool | None:
    return False if isinstance(meant, Word) and isinstance(found, Text) else None


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=_compare_type,
        compare_server_default=False,
        render_item=_render_item,
        transaction_per_migration=True,
    )
    # Waiting for a lock behind a long query would make every later request wait as well.
    connection.execute(text("set lock_timeout = '2s'"))
    connection.execute(text("set role stepwell_owner"))
    connection.commit()
    with context.begin_transaction():
        context.run_migrations()


async def _main() -> None:
    engine = create_async_engine(
        context.config.get_main_option("sqlalchemy.url") or "",
        hide_parameters=True,
        connect_args={"server_settings": {"search_path": "stepwell"}},
    )
    async with engine.connect() as connection:
        await connection.run_sync(_run)
    await engine.dispose()


asyncio.run(_main())
