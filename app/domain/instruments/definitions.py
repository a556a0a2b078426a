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
from app.domain.instruments.expressions import STRICT, AnswerValue, Expression, Number
from app.domain.instruments.measures import ChangeRule, Name, ScoreRule

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=64)]
Semver = Annotated[str, Field(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$", max_length=32)]
Pattern = Annotated[str, Field(min_length=1, max_length=200)]
"""What a text must match as a whole, in a syntax that is matched in linear time."""
Duration = Annotated[str, Field(pattern=r"^P(\d+[DWMY]|T\d+[HM])$")]
"""An ISO 8601 look-back of one unit, such as P14D."""


@unique
class ItemType(StrEnum):
    """What an answer is: an option's value, a number, text, an ISO date or yes and no.

    `vas` is a mark on a line, read as a number.
    """

    CHOICE = "choice"
    INTEGER = "integer"
    DECIMAL = "decimal"
    VAS = "vas"
    TEXT = "text"
    DATE = "date"
    BOOLEAN = "boolean"


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
    """One answer that a response set offers.

    A whole number counts as itself unless `worth` says otherwise; a word counts
    only with a `worth`.
    """

    __pydantic_config__: ClassVar = STRICT
    value: int | str
    label: str
    worth: Number | None = None
    loinc: str | None = None

    @property
    def counts_as(self) -> Number | None:
        """What the option adds to a score; None for one that is not scored, such as a refusal."""
        if self.worth is not None:
            return self.worth
        return self.value if isinstance(self.value, int) else None


@dataclass(frozen=True, slots=True)
class Numeric:
    """The range of a number, ends included, its steps, its UCUM unit and what its ends mean."""

    __pydantic_config__: ClassVar = STRICT
    min: Number
    max: Number
    unit: str | None = None
    step: Annotated[Number, Field(gt=0)] | None = None
    min_label: str = ""
    max_label: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition of virtual care that one item decides."""

    __pydantic_config__: ClassVar = STRICT
    kind: GateKind
    code: Name
    passes_when: Expression


@dataclass(frozen=True, slots=True)
class Item:
    """One question. `safety` items raise their flags as they are answered.

    `visible_when` decides whether it is asked; a scored item that may be hidden
    says in `hidden_worth` what it counts as when it was not asked.
    """

    __pydantic_config__: ClassVar = STRICT
    id: Name
    text: str
    no: int | str | None = None
    stem: str = ""
    type: ItemType = ItemType.CHOICE
    set: str | None = None
    numeric: Numeric | None = None
    max_length: Annotated[int, Field(gt=0, le=10_000)] = 2_000
    pattern: Pattern | None = None
    reverse: bool = False
    scored: bool = True
    required: bool = True
    safety: bool = False
    answered_by: Informant | None = None
    visible_when: Expression | None = None
    hidden_worth: Number | None = None
    gate: Gate | None = None
    loinc: str | None = None


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
    """On what terms the wording may be used, and the line that must be shown with it.

    `condition` must be accepted before a conditional instrument is used.
    """

    __pydantic_config__: ClassVar = STRICT
    position: str
    holder: str
    attribution: str
    notices: tuple[str, ...] = ()
    condition: str | None = None
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
class Setting:
    """A figure or a text that no source settles: it ships as a default, and the operator decides.

    `at` is its JSON pointer in the definition; `note` says what is doubtful.
    """

    __pydantic_config__: ClassVar = STRICT
    at: Annotated[str, Field(pattern=r"^(/[^/~]+)+$", max_length=200)]
    note: str


@dataclass(frozen=True, slots=True)
class Instrument:
    """One version of a questionnaire, whole and consistent (`load` makes sure of it)."""

    __pydantic_config__: ClassVar = STRICT
    key: Slug
    version: Semver
    title: str
    language: str
    license: License
    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=200)]
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
    placeholders: tuple[Name, ...] = ()
    response_sets: Mapping[str, Annotated[tuple[Option, ...], Field(max_length=100)]] = field(
        default_factory=dict
    )
    scores: Annotated[tuple[ScoreRule, ...], Field(max_length=50)] = ()
    change: ChangeRule | None = None
    flags: Annotated[tuple[FlagRule, ...], Field(max_length=50)] = ()
    settings: tuple[Setting, ...] = ()
    loinc: str | None = None
    loinc_display: Mapping[str, str] = field(default_factory=dict)

    def item(self, item_id: str) -> Item | None:
        """Give an item by its id."""
        return next((item for item in self.items if item.id == item_id), None)

    def options(self, item: Item) -> tuple[Option, ...]:
        """Give the options that a choice item offers; other items offer none."""
        return self.response_sets.get(item.set, ()) if item.set is not None else ()

    def bounds(self, item: Item) -> tuple[Number, Number] | None:
        """Give the least and the greatest number that an answer can be worth, if it is a number."""
        match item.type:
            case ItemType.CHOICE:
                worths = [w for o in self.options(item) if (w := o.counts_as) is not None]
                return (min(worths), max(worths)) if worths else None
            case ItemType.INTEGER | ItemType.DECIMAL | ItemType.VAS:
                return None if item.numeric is None else (item.numeric.min, item.numeric.max)
            case ItemType.BOOLEAN:
                return (0, 1)
            case ItemType.TEXT | ItemType.DATE:
                return None

    def worth(self, item: Item, value: AnswerValue | None) -> Decimal | None:
        """Give what an answer adds to a score; reverse-worded items count from the other end."""
        bounds = self.bounds(item)
        raw = self._raw(item, value)
        if raw is None or bounds is None:
            return None
        return bounds[0] + bounds[1] - raw if item.reverse else raw

    def _raw(self, item: Item, value: AnswerValue | None) -> Decimal | None:
        if item.type is ItemType.CHOICE:
            chosen = next((o for o in self.options(item) if o.value == value), None)
            worth = None if chosen is None else chosen.counts_as
            return None if worth is None else Decimal(worth)
        return None if value is None or isinstance(value, str) else Decimal(value)
