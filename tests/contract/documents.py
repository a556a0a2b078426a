"""The pages of the documentation that are made from the code, so that neither can lie.

`python -m tests.contract.documents` writes them; a test compares.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Boolean, Column, Date, DateTime, Integer, Interval, Numeric, Table, Uuid
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

import app.models as models  # noqa: PLR0402 (its import fills the registry)
from app.domain.roles import StaffRole
from app.security.permissions import POLICY
from app.security.principal import Reach

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"

CLASSES: Final[Mapping[str, str]] = {
    "phi-text": "Text about a person. Sealed before it reaches the database; never in the clear.",
    "secret": "A wrapped key, a sealed secret or a password's hash.",
    "digest": "SHA-256 of a secret of 256 random bits, or of a document.",
    "blind-index": "HMAC of a normalized identifier, by which it can be found and not read.",
    "organization-text": "What an organization calls its own things. Never about a person.",
    "code": "A word of a closed or technical vocabulary.",
    "id": "A random identifier.",
    "instant": "A point or a length of time.",
    "number": "A number: a version, a sequence, a count, a score.",
    "flag": "True or false.",
}
SEALED: Final = frozenset({"phi-text", "digest", "blind-index"})
"""Classes whose columns hold bytes that nobody can read."""

_BY_TYPE: Final[Sequence[tuple[type[TypeEngine[Any]], str]]] = (
    (Uuid, "id"),
    (Boolean, "flag"),
    (DateTime, "instant"),
    (Date, "instant"),
    (Interval, "instant"),
    (Integer, "number"),
    (Numeric, "number"),
)
_REACHES: Final[Mapping[Reach, str]] = {
    Reach.SELF: "own",
    Reach.CARE_TEAM: "care team",
    Reach.ROSTER: "roster",
    Reach.SUPERVISEES: "supervisees",
    Reach.MEMBER: "member",
    Reach.ORGANIZATION: "all",
    Reach.UNATTENDED: "unattended",
    Reach.UNWATCHED: "unwatched",
}


_ACCESS: Final = (
    "Made from `app/security/permissions.py` by `python -m tests.contract.documents`; a test"
    " compares. A request passes three gates: the scope of the app, the role of the person, and"
    " the reach: for whom."
)
_NOTES: Final = (
    "Permissions marked *license* need a clinician who may practice independently. What is outside"
    " of a reach answers as if it did not exist."
)
_CLASSIFICATION: Final = (
    "Every column of the database has a class. Made from `app/models` by"
    " `python -m tests.contract.documents`; a test compares."
)


def class_of(column: Column[object]) -> str | None:
    """How sensitive a column is: as its model says, or as its type implies; None is a mistake."""
    stated = column.info.get("class")
    if stated is not None:
        return str(stated)
    kind = column.type.item_type if isinstance(column.type, ARRAY) else column.type
    return next((name for type_, name in _BY_TYPE if isinstance(kind, type_)), None)


def access() -> str:
    """`docs/access.md`: the policy table, for people."""
    roles = list(StaffRole)
    header = [
        "permission",
        "scope",
        "participant",
        *(role.value.replace("_", " ") for role in roles),
    ]
    rows = [
        [
            f"`{permission.value}`" + (" (license)" if rule.needs_license else ""),
            f"`{rule.scope}`",
            _reach(rule.participant),
            *(_reach(rule.staff.get(role, Reach.NONE)) for role in roles),
        ]
        for permission, rule in POLICY.items()
    ]
    return "\n".join(
        [
            "# Who may do what, for whom",
            "",
            _ACCESS,
            "",
            *(f"- **{name}**: {_MEANINGS[name]}" for name in _REACHES.values()),
            "- **no**: not at all.",
            "",
            _NOTES,
            "",
            *_table(header, rows),
            "",
        ]
    )


_MEANINGS: Final[Mapping[str, str]] = {
    "own": "what is their own.",
    "care team": "participants in whose care team they are now.",
    "roster": "participants who are now in a group that they lead.",
    "supervisees": "participants in whose care team they, or somebody they supervise, are now.",
    "member": "groups, sessions and rooms that they lead or belong to now.",
    "all": "everything of the organization.",
    "unattended": "participants in whose care team nobody is now who can sign in and see them.",
    "unwatched": "participants in whose care team nobody is now who can sign in and answer alerts.",
}


def _reach(reach: Reach) -> str:
    return ", ".join(_REACHES[part] for part in reach) if reach else "no"


def data_classification() -> str:
    """`docs/data-classification.md`: every column and how sensitive it is (PHI-03)."""
    lines = [
        "# Data classification",
        "",
        _CLASSIFICATION,
        "",
        *_table(["class", "holds"], [[f"`{name}`", text] for name, text in CLASSES.items()]),
    ]
    for table in sorted(models.Base.metadata.tables.values(), key=lambda one: one.name):
        lines += ["", f"## {table.name}", "", *_table(["column", "class"], list(_columns(table)))]
    return "\n".join([*lines, ""])


def _columns(table: Table) -> Iterator[list[str]]:
    for column in table.columns:
        yield [f"`{column.name}`", class_of(column) or "?"]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"| {' | '.join('---' for _ in header)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


PAGES: Final = {"access.md": access, "data-classification.md": data_classification}


def write() -> None:
    """Write every page."""
    DOCS.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
