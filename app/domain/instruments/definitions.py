"""What an instrument is made of: items, response sets, scores, change figures and flags.

The objects are immutable. Any change of wording or scoring is a new version of
the definition, and a stored score keeps the version that made it (clinical
reference, sections 0.1 and 1.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum, unique
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from app.domain.alerts import Tier
from app.domain.instruments.expressions import STRICT, AnswerValue, Expression, Number, Operator

__all__ = ["AnswerValue"]

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=64)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Semver = Annotated[str, Field(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$")]
Duration = Annotated[str, Field(pattern=r"^P(\d+[DWM]|T\d+[HM])$")]
"""An ISO 8601 look-back of one unit, such as P14D."""


@unique
class ItemType(StrEnum):
    """What an answer is: an option's value, a number, text, an ISO date or yes and no."""

    CHOICE = "choice"
    INTEGER = "integer"
    DECIMAL = "decimal"
    TEXT = "text"
    DATE = "date"
    BOOLEAN = "boolean"


@unique
class Method(StrEnum):
    """How item values become one score."""

    SUM = "sum"
    MEAN = "mean"
    MAX = "max"
    COUNT_AT_LEAST = "count_ge"


@unique
class MissingPolicy(StrEnum):
    """What a tolerated number of blank items does to a score.

    `prorate` scales the answered part up to the whole (for a mean: averages
    what was answered), `invalid` allows none, `zero` counts a blank as 0.
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


@unique
class FlagKind(StrEnum):
    """Why someone should look: a person's safety, their course, or the record's quality."""

    SAFETY = "safety"
    CLINICAL = "clinical"
    DATA_QUALITY = "data_quality"


@unique
class GateKind(StrEnum):
    """`hard` blocks admission until resolved; `soft` asks for support."""

    HARD = "hard"
    SOFT = "soft"


@unique
class Informant(StrEnum):
    """Who answers."""

    SELF = "self"
    CLINICIAN = "clinician"
    CAREGIVER = "caregiver"
    FACILITATOR = "facilitator"


@dataclass(frozen=True, slots=True)
class Option:
    """One answer that a response set offers."""

    __pydantic_config__: ClassVar = STRICT
    value: int | str
    label: str
    loinc: str | None = None


@dataclass(frozen=True, slots=True)
class Numeric:
    """The range of a number, ends included, and its UCUM unit."""

    __pydantic_config__: ClassVar = STRICT
    min: Number
    max: Number
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition of virtual care that one item decides."""

    __pydantic_config__: ClassVar = STRICT
    kind: GateKind
    code: Name
    passes_when: Expression


@dataclass(frozen=True, slots=True)
class Item:
    """One question. `safety` items raise their flags as they are answered."""

    __pydantic_config__: ClassVar = STRICT
    id: Name
    text: str
    type: ItemType = ItemType.CHOICE
    set: str | None = None
    numeric: Numeric | None = None
    max_length: Annotated[int, Field(gt=0, le=10_000)] = 2_000
    pattern: str | None = None
    reverse: bool = False
    scored: bool = True
    required: bool = True
    safety: bool = False
    answered_by: Informant | None = None
    visible_when: Expression | None = None
    gate: Gate | None = None
    loinc: str | None = None


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
class ScoreRule:
    """How one score is computed and read."""

    __pydantic_config__: ClassVar = STRICT
    id: Name
    items: Annotated[tuple[str, ...], Field(min_length=1)]
    range: tuple[Number, Number]
    method: Method = Method.SUM
    direction: Direction = Direction.HIGHER_WORSE
    multiply: Annotated[int, Field(gt=0)] = 1
    threshold: Number | None = None
    round: Rounding = Rounding.HALF_UP
    missing: MissingRule = MissingRule()
    bands: tuple[Band, ...] = ()
    cutoffs: tuple[Cutoff, ...] = ()
    loinc: str | None = None

    def band(self, value: Number) -> Band | None:
        """Give the band that a displayed value falls into, or None when there are none."""
        reached = [band for band in self.bands if band.min <= value]
        return reached[-1] if reached else None


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


@dataclass(frozen=True, slots=True)
class FlagRule:
    """When someone should look, how soon, and under which code."""

    __pydantic_config__: ClassVar = STRICT
    id: Name
    when: Expression
    kind: FlagKind
    tier: Tier
    code: Name
    text: str = ""


@dataclass(frozen=True, slots=True)
class License:
    """On what terms the wording may be used, and the line that must be shown with it."""

    __pydantic_config__: ClassVar = STRICT
    position: str
    holder: str
    attribution: str
    notices: tuple[str, ...] = ()
    evidence_file: str | None = None
    expires_on: date | None = None


@dataclass(frozen=True, slots=True)
class Age:
    """Whom the instrument is for, in years, ends included; an open end is None."""

    __pydantic_config__: ClassVar = STRICT
    min: int | None = None
    max: int | None = None


@dataclass(frozen=True, slots=True)
class Cadence:
    """When the instrument is given by default."""

    __pydantic_config__: ClassVar = STRICT
    at: tuple[Name, ...] = ()
    every: Duration | None = None


@dataclass(frozen=True, slots=True)
class Instrument:
    """One version of a questionnaire, whole and consistent (`load` makes sure of it)."""

    __pydantic_config__: ClassVar = STRICT
    key: Slug
    version: Semver
    title: str
    language: str
    license: License
    items: Annotated[tuple[Item, ...], Field(min_length=1)]
    ship: Literal["yes", "conditional", "no"] = "no"
    is_validated: bool = True
    informant: Informant = Informant.SELF
    audience_result: Literal[
        "clinician_only", "participant_after_review", "participant_immediate"
    ] = "clinician_only"
    age: Age = Age()
    time_frame: Duration | None = None
    default_cadence: Cadence = Cadence()
    instruction: str = ""
    stem: str = ""
    response_sets: Mapping[str, tuple[Option, ...]] = field(default_factory=dict)
    scores: tuple[ScoreRule, ...] = ()
    change: ChangeRule | None = None
    flags: tuple[FlagRule, ...] = ()
    loinc: str | None = None
    loinc_display: Mapping[str, str] = field(default_factory=dict)

    def item(self, item_id: str) -> Item | None:
        """Give an item by its id."""
        return next((item for item in self.items if item.id == item_id), None)

    def options(self, item: Item) -> tuple[Option, ...]:
        """Give the options that a choice item offers; other items offer none."""
        return () if item.set is None else self.response_sets[item.set]

    def bounds(self, item: Item) -> tuple[Number, Number] | None:
        """Give the least and the greatest number that an item can be worth, if it is a number."""
        match item.type:
            case ItemType.CHOICE:
                values = [o.value for o in self.options(item) if isinstance(o.value, int)]
                return (min(values), max(values)) if values else None
            case ItemType.INTEGER | ItemType.DECIMAL:
                return None if item.numeric is None else (item.numeric.min, item.numeric.max)
            case ItemType.BOOLEAN:
                return (0, 1)
            case ItemType.TEXT | ItemType.DATE:
                return None

    def worth(self, item: Item, value: AnswerValue | None) -> Decimal | None:
        """Give what an answer adds to a score; reverse-worded items count from the other end."""
        bounds = self.bounds(item)
        if value is None or isinstance(value, str) or bounds is None:
            return None
        raw = Decimal(value)
        return bounds[0] + bounds[1] - raw if item.reverse else raw
