"""Calls of the database's functions written out, for statements that travel with others.

PostgreSQL takes several statements in one round trip only when none has parameters. What is
written here stands between quotes whatever it holds: the pool's connections keep
`standard_conforming_strings` on, so a doubled quote is all the care that text needs.
"""

from uuid import UUID


def call(function: str, *arguments: object) -> str:
    """`select function(...)` with the arguments written into it."""
    return f"select {function}({', '.join(map(_literal, arguments))})"


def _literal(value: object) -> str:
    match value:
        case None:
            return "null"
        case bytes():
            return f"'\\x{value.hex()}'"
        case list():
            return "'{" + ",".join(str(UUID(str(each))) for each in value) + "}'"
        case _:
            return "'" + str(value).replace("'", "''") + "'"
