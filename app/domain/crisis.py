"""Whom a person can reach at once, by where they are.

The card is shown on every safety alert and beside every composer (clinical
reference, section 5.1). It is for the person themselves; staff call the local
numbers stored for the confirmed address, because an emergency number reaches
the caller's own area.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from functools import cache
from typing import ClassVar

from app.domain.policies import STRICT, Dated, shipped_policy


@unique
class ContactMode(StrEnum):
    """How a resource is reached."""

    CALL = "call"
    TEXT = "text"
    CHAT = "chat"


@dataclass(frozen=True, slots=True)
class Contact:
    """One way to reach a resource; `body` is what to write in a text."""

    __pydantic_config__: ClassVar = STRICT
    mode: ContactMode
    to: str
    body: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class CrisisResource:
    """A service that answers."""

    __pydantic_config__: ClassVar = STRICT
    key: str
    name: str
    contacts: tuple[Contact, ...]
    is_always_open: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CrisisPolicy(Dated):
    """Resources by ISO 3166 region; `elsewhere` is for every region without a list."""

    regions: Mapping[str, tuple[CrisisResource, ...]]
    elsewhere: tuple[CrisisResource, ...]


@cache
def default_crisis_policy() -> CrisisPolicy:
    """Give the resources that ship."""
    return shipped_policy(CrisisPolicy, "crisis-resources")


def resources(policy: CrisisPolicy, region: str | None) -> tuple[CrisisResource, ...]:
    """Give the card for a region such as `US-NY`: its own list, its country's, or the general one.

    The card is never empty; an unknown place gets the advice that holds
    anywhere.
    """
    wanted = (region or "").upper()
    country = wanted.partition("-")[0]
    return policy.regions.get(wanted) or policy.regions.get(country) or policy.elsewhere
