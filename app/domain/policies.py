"""Policies as dated data: read, checked, and kept with the version that decided.

Every policy of `app/rules` says since when and until when it holds, and on
whose authority. A verdict stores the policy's version, so that a later policy
never changes what was decided under an earlier one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Annotated, ClassVar, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

STRICT = ConfigDict(extra="forbid")
Version = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]


class InvalidPolicy(ValueError):
    """A policy contradicts its format; `place` is a dotted path, `reason` a stable code."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """What every policy says about itself. `effective_to` is the last day, None while it holds."""

    __pydantic_config__: ClassVar = STRICT
    key: str
    version: Version
    effective_from: date
    effective_to: date | None
    source: str

    def applies_on(self, day: date) -> bool:
        """Say whether the policy holds on a day."""
        return self.effective_from <= day and (
            self.effective_to is None or day <= self.effective_to
        )


P = TypeVar("P", bound=Dated)


def load_policy(kind: type[P], raw: Mapping[str, object]) -> P:
    """Read one policy of the given kind. Raises InvalidPolicy."""
    try:
        # By way of JSON, because strict reading of JSON still makes tuples of arrays.
        policy = TypeAdapter(kind).validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as refused:
        first = refused.errors(include_url=False, include_input=False)[0]
        raise InvalidPolicy(".".join(map(str, first["loc"])), first["type"]) from None
    if policy.effective_to is not None and policy.effective_to < policy.effective_from:
        raise InvalidPolicy("effective_to", "ends_before_it_begins")
    return policy


def shipped_policy(kind: type[P], name: str) -> P:
    """Read a policy that ships in `app/rules`, by its file name without the suffix."""
    file = resources.files("app") / "rules" / f"{name}.json"
    return load_policy(kind, json.loads(file.read_text(encoding="utf-8")))
