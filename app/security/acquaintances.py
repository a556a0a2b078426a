"""Callers whom this process has met, so that the next request of theirs needs one trip less.

Nothing is believed from memory: the first statement of each request gives the database what is
remembered, and the database refuses when any of it has changed. What is saved is asking for it.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.security.principal import Principal

_CAPACITY: Final = 8_192


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """A caller, their organization's clock, and the database's own words for both."""

    principal: Principal
    clock_offset: timedelta
    known: str


class Acquaintances:
    """The callers whom a process has met last, by the id of their access token."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._met: OrderedDict[UUID, Acquaintance] = OrderedDict()

    def get(self, token_id: UUID) -> Acquaintance | None:
        """Whom this token belongs to, as far as remembered."""
        return self._met.get(token_id)

    def make(self, token_id: UUID, acquaintance: Acquaintance) -> None:
        """Remember a caller; the one met longest ago makes room."""
        self._met[token_id] = acquaintance
        if len(self._met) > self._capacity:
            self._met.popitem(last=False)

    def forget(self, token_id: UUID) -> None:
        """Forget a caller of whom something has changed."""
        self._met.pop(token_id, None)
