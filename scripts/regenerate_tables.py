"""Writes `migrations/versions/0002_tables.py` anew from the models.

Until the first release there is one set of tables, not a history of drafts: after a change of a
model, run this. From the first release on, history only grows, and this script goes away.
"""

import sys
from pathlib import Path

from alembic import command

from app.core import embedded
from app.migrate import configuration

TABLES = Path(__file__).resolve().parent.parent / "migrations" / "versions" / "0002_tables.py"
GUARDS = TABLES.with_name("0003_guards.py")


def main() -> None:
    """Create an empty database at revision 0001, and let Alembic say what is missing."""
    before = TABLES.read_text()
    for path in TABLES.parent.glob("0002*.py"):
        path.unlink()
    hidden = GUARDS.rename(GUARDS.with_suffix(".hidden"))
    try:
        with embedded.temporary() as server:
            config = configuration(server.url(role="stepwell_migrate"))
            command.upgrade(config, "0001")
            command.revision(config, "tables", autogenerate=True, rev_id="0002")
    except BaseException:
        TABLES.write_text(before)
        raise
    finally:
        hidden.rename(GUARDS)
    text = TABLES.read_text()
    docstring = '"""The tables, as the models describe them."""'
    TABLES.write_text(text.replace('"""tables"""', docstring))
    sys.stdout.write(f"{TABLES.name} is written\n")


if __name__ == "__main__":
    main()
