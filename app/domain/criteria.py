"""How a verdict explains itself: criterion by criterion, met, not met or unknown.

Unknown is never treated as met (clinical reference, section 0.1, rule 4).
"""

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Self

from app.domain.roles import LevelOfCare


@unique
class Outcome(StrEnum):
    """What is known about a criterion."""

    MET = "met"
    NOT_MET = "not_met"
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, holds: bool | None) -> Self:  # noqa: FBT001 - the value is the subject
        """Name what a true, false or unknown statement means for a criterion."""
        if holds is None:
            return cls.UNKNOWN
        return cls.MET if holds else cls.NOT_MET


@unique
class Axis(StrEnum):
    """The three questions of an intake."""

    SEVERITY = "severity"
    COMMITMENT = "commitment"
    VIRTUAL_ABILITY = "virtual_ability"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One reason of a verdict.

    `is_required` tells what the verdict rests on from what is only shown.
    `evidence` holds the ids of the records that it was judged by, never their
    content, `reason` is a fixed sentence of the policy, and `source` says on
    whose authority it asks. What `is_exclusion` speaks against care here at
    all, and `refers_to` is the level that it points to when it is not met.
    """

    code: str
    axis: Axis
    outcome: Outcome
    reason: str
    is_required: bool = True
    is_overridable: bool = True
    evidence: tuple[str, ...] = ()
    source: str = ""
    is_exclusion: bool = False
    refers_to: LevelOfCare | None = None
