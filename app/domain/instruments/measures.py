"""How answers become figures: scores, their bands and cut-offs, and what counts as change.

Every published figure stands beside its source (clinical reference, section 1.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Annotated, ClassVar

from pydantic import Field

from app.domain.instruments.expressions import STRICT, Expression, Number, Operator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
UNKNOWN = "unknown"
"""How a score is read when nobody knows the attribute that its reading depends on."""


@unique
class Method(StrEnum):
    """How item values become one score.

    `weighted` sums each item times its weight. `lookup` sums and reads the sum
    off a table (T-scores). `algorithm` takes the value of the first case that
    holds; its value names a class and is no amount.
    """

    SUM = "sum"
    MEAN = "mean"
    MAX = "max"
    COUNT_AT_LEAST = "count_ge"
    WEIGHTED = "weighted"
    LOOKUP = "lookup"
    ALGORITHM = "algorithm"


@unique
class MissingPolicy(StrEnum):
    """What a tolerated number of blank items does to a score.

    `prorate` scales the answered part up to the whole (for a mean: averages
    what was answered; for a weighted sum: by the answered share of the weights),
    `invalid` allows none, `zero` counts a blank as 0.
    """

    PRORATE = "prorate"
    INVALID = "invalid"
    ZERO = "zero"


@unique
class Rounding(StrEnum):
    """How a score is displayed; the unrounded value is kept beside it."""

    HALF_UP = "half_up"
    NONE = "none"


@unique
class Direction(StrEnum):
    """Which way is worse."""

    HIGHER_WORSE = "higher_worse"
    HIGHER_BETTER = "higher_better"


@dataclass(frozen=True, slots=True)
class Band:
    """A named stretch of a score."""

    __pydantic_config__: ClassVar = STRICT
    min: Number
    max: Number
    code: Name
    label: str


@dataclass(frozen=True, slots=True)
class Cutoff:
    """A published threshold and what crossing it means."""

    __pydantic_config__: ClassVar = STRICT
    op: Operator
    value: Number
    meaning: Name
    source: str


@dataclass(frozen=True, slots=True)
class MissingRule:
    """How many blank items a score bears, and what it does about them."""

    __pydantic_config__: ClassVar = STRICT
    max: Annotated[int, Field(ge=0)] = 0
    policy: MissingPolicy = MissingPolicy.INVALID


@dataclass(frozen=True, slots=True)
class Case:
    """One branch of an algorithm: when it holds, the score is its value."""

    __pydantic_config__: ClassVar = STRICT
    when: Expression
    value: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The bands and cut-offs of a score for some of the people."""

    __pydantic_config__: ClassVar = STRICT
    bands: tuple[Band, ...] = ()
    cutoffs: tuple[Cutoff, ...] = ()

    def band(self, value: Number) -> Band | None:
        """Give the band that a displayed value falls into, or None when there are none."""
        reached = [band for band in self.bands if band.min <= value]
        return reached[-1] if reached else None


@dataclass(frozen=True, slots=True)
class ReadBy:
    """Bands and cut-offs that depend on an attribute of the person, such as `sex_at_birth`.

    The reading `unknown` is for whoever's attribute nobody knows; it must not
    be the permissive one (clinical reference, section 0.1, rule 4).
    """

    __pydantic_config__: ClassVar = STRICT
    attribute: Name
    of: Mapping[Name, Reading]


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """How one score is computed and read.

    The value is multiplied, then added to. A blank `optional` item leaves the
    score as though it had no such item, and is not prorated.
    """

    __pydantic_config__: ClassVar = STRICT
    id: Name
    items: Annotated[tuple[str, ...], Field(min_length=1)]
    range: tuple[Number, Number]
    label: str = ""
    method: Method = Method.SUM
    direction: Direction = Direction.HIGHER_WORSE
    multiply: Annotated[Number, Field(gt=0)] = 1
    add: Number = 0
    threshold: Number | None = None
    weights: Mapping[str, Number] = field(default_factory=dict)
    table: tuple[tuple[int, Number], ...] = ()
    cases: tuple[Case, ...] = ()
    otherwise: int | None = None
    optional: tuple[str, ...] = ()
    round: Rounding = Rounding.HALF_UP
    missing: MissingRule = MissingRule()
    bands: tuple[Band, ...] = ()
    cutoffs: tuple[Cutoff, ...] = ()
    by: ReadBy | None = None
    loinc: str | None = None

    def reading(self, attributes: Mapping[str, str]) -> Reading:
        """Give the bands and cut-offs for a person; what nobody knows is read as unknown."""
        if self.by is None:
            return Reading(self.bands, self.cutoffs)
        known = attributes.get(self.by.attribute, UNKNOWN)
        return self.by.of.get(known, self.by.of[UNKNOWN])

    def readings(self) -> Mapping[str, Reading]:
        """Give every reading by its place in the rule."""
        if self.by is None:
            return {"": Reading(self.bands, self.cutoffs)}
        return {f"/by/of/{value}": reading for value, reading in self.by.of.items()}


@dataclass(frozen=True, slots=True)
class Threshold:
    """A comparison with a figure, such as remission below 5."""

    __pydantic_config__: ClassVar = STRICT
    op: Operator
    value: Number

    def holds(self, score: Number) -> bool:
        """Say whether a score is on the named side of the figure."""
        return self.op.compare(score, self.value)


@dataclass(frozen=True, slots=True)
class ChangeRule:
    """What counts as change in one score, in points, with the source of every figure."""

    __pydantic_config__: ClassVar = STRICT
    reliable: Annotated[Number, Field(gt=0)]
    source: Mapping[str, str]
    score: str = "total"
    mcid: Annotated[Number, Field(gt=0)] | None = None
    response_pct: Annotated[int, Field(gt=0, le=100)] = 50
    remission: Threshold | None = None
    caseness: Threshold | None = None
