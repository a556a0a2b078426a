"""Brings a database to the schema that this code was written for."""

from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

ROOT: Final = Path(__file__).resolve().parent.parent


def configuration(url: str) -> Config:
    """Alembic's configuration for a database, as the role `stepwell_migrate`."""
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str) -> None:
    """Run every migration that is missing."""
    command.upgrade(configuration(url), "head")


@cache
def head() -> str:
    """The revision that this code was written for."""
    revision = ScriptDirectory.from_config(configuration("")).get_current_head()
    if revision is None:
        raise RuntimeError("there are no migrations")
    return revision


@cache
def known() -> frozenset[str]:
    """Every revision up to the head; one that is not among them comes after it."""
    scripts = ScriptDirectory.from_config(configuration(""))
    return frozenset(script.revision for script in scripts.walk_revisions())
