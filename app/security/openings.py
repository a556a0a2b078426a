"""The access check of a caller whom the process knows, and reads that make it by themselves.

The database is given what the process remembers of the caller, and raises when any of it has
changed (`open_known_request`). It can do so together with BEGIN, or inside a read that is all a
request asks: one round trip then checks, reads, leaves the audit row and commits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CTE,
    Boolean,
    Integer,
    Select,
    Text,
    Uuid,
    bindparam,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from app.core.literals import call

Arguments = tuple[UUID, UUID, int, datetime, str, str]
"""Organization, sign-in and its version, now, request id and source network."""

_PARAMETERS: Final = (
    bindparam("opening_organization", type_=Uuid),
    bindparam("opening_sign_in", type_=Uuid),
    bindparam("opening_version", type_=Integer),
    bindparam("opening_now", type_=TIMESTAMP(timezone=True)),
    bindparam("opening_request", type_=Text),
    bindparam("opening_source", type_=Text),
    bindparam("opening_known", type_=Text),
)
_NAMES: Final = tuple(parameter.key for parameter in _PARAMETERS)


@dataclass(frozen=True, slots=True)
class KnownOpening:
    """How a transaction of somebody known begins."""

    arguments: Arguments
    known: str

    def statement(self) -> str:
        """BEGIN and the access check in one round trip, which takes no parameters."""
        return f"begin; {call('open_known_request', *self.arguments, self.known)}"

    def parameters(self) -> Mapping[str, object]:
        """The values that an `opening` statement names."""
        return dict(zip(_NAMES, (*self.arguments, self.known), strict=True))


def opening(statement: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Let a read check its caller's access before it looks at the first row.

    The read depends on the check's answer and stands behind a fence (`offset 0`), so that the
    database cannot begin with it. If it ever did, row-level security would know of no tenant
    yet, and show nothing.
    """
    checked = _checked()
    fenced = statement.where(checked.c.is_open).offset(literal_column("0"))
    read = fenced.correlate(checked).lateral("read")
    return select(read).select_from(checked.join(read, true()))


def _checked() -> CTE:
    is_open = func.open_known_request(*_PARAMETERS, type_=Boolean).label("is_open")
    # A volatile function keeps a common table expression from being folded into the rest.
    return select(is_open).cte("checked")
