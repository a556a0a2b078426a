"""The small language in which flags, gates and visibility are written.

`{item, op, value}`, `{score, op, value}`, `{delta, vs, op, value}`,
`{answered}`, `{all}`, `{any}`, `{not}` (clinical reference, section 1.1).

An expression is true, false or unknown (`None`), by Kleene's three-valued
logic: an unanswered item makes a comparison unknown, never false, so that
`not` cannot turn silence into a fact.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum, unique
from typing import Annotated, ClassVar, Self, TypeAlias, assert_never

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, PlainSerializer, Tag


def _exact(value: object) -> object:
    """Take a decimal from a JSON number only: the text "2" is an option's value, not a number."""
    if isinstance(value, str):
        raise ValueError("a number is not text")  # noqa: TRY004 - Pydantic catches ValueError
    return Decimal(repr(value)) if isinstance(value, float) else value


Exact = Annotated[
    Decimal, BeforeValidator(_exact), PlainSerializer(float, return_type=float, when_used="json")
]
Number: TypeAlias = int | Exact
# Text comes before decimals: Pydantic writes a value by the first member that will take it.
AnswerValue: TypeAlias = bool | int | str | Exact
"""One answer. A date is its ISO 8601 text; an option of a response set is its value."""

STRICT = ConfigDict(extra="forbid")
"""How definitions are read: a key that nobody knows is a mistake, not a comment."""


@unique
class Operator(StrEnum):
    """How two values are compared."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    AT_LEAST = ">="
    ABOVE = ">"
    AT_MOST = "<="
    BELOW = "<"

    @property
    def is_ordering(self) -> bool:
        """Whether both sides must be numbers."""
        return self not in {Operator.EQUAL, Operator.NOT_EQUAL}

    def compare(self, left: AnswerValue, right: AnswerValue) -> bool:
        """Compare two values; an ordering of anything but two numbers does not hold."""
        if self.is_ordering:
            if isinstance(left, str) or isinstance(right, str):
                return False
            return _ORDERINGS[self](left, right)
        return (left == right) is (self is Operator.EQUAL)


_ORDERINGS: Mapping[Operator, Callable[[Number, Number], bool]] = {
    Operator.AT_LEAST: operator.ge,
    Operator.ABOVE: operator.gt,
    Operator.AT_MOST: operator.le,
    Operator.BELOW: operator.lt,
}


@unique
class Versus(StrEnum):
    """What a change is measured against."""

    BASELINE = "baseline"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class ItemIs:
    """The answer to an item compares so with a value."""

    __pydantic_config__: ClassVar = STRICT
    item: str
    op: Operator
    value: AnswerValue


@dataclass(frozen=True, slots=True)
class ScoreIs:
    """A score, as displayed, compares so with a value."""

    __pydantic_config__: ClassVar = STRICT
    score: str
    op: Operator
    value: Number


@dataclass(frozen=True, slots=True)
class DeltaIs:
    """A score (unrounded) or an item has moved so far since an earlier administration."""

    __pydantic_config__: ClassVar = STRICT
    delta: str
    vs: Versus
    op: Operator
    value: Number


@dataclass(frozen=True, slots=True)
class Answered:
    """The item has an answer. The one expression that is never unknown."""

    __pydantic_config__: ClassVar = STRICT
    answered: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds."""

    __pydantic_config__: ClassVar = STRICT
    parts: Annotated[tuple["Expression", ...], Field(alias="all", min_length=1)]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    __pydantic_config__: ClassVar = STRICT
    parts: Annotated[tuple["Expression", ...], Field(alias="any", min_length=1)]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    __pydantic_config__: ClassVar = STRICT
    part: Annotated["Expression", Field(alias="not")]


_FORMS: Mapping[str, type[object]] = {
    "item": ItemIs,
    "score": ScoreIs,
    "delta": DeltaIs,
    "answered": Answered,
    "all": AllOf,
    "any": AnyOf,
    "not": Not,
}


def _form(value: object) -> str | None:
    """Name the form of an expression: by the one key that only it has, or by its type."""
    if isinstance(value, Mapping):
        found = [form for form in _FORMS if form in value]
    else:
        found = [form for form, kind in _FORMS.items() if type(value) is kind]
    return found[0] if len(found) == 1 else None


Expression: TypeAlias = Annotated[
    Annotated[ItemIs, Tag("item")]
    | Annotated[ScoreIs, Tag("score")]
    | Annotated[DeltaIs, Tag("delta")]
    | Annotated[Answered, Tag("answered")]
    | Annotated[AllOf, Tag("all")]
    | Annotated[AnyOf, Tag("any")]
    | Annotated[Not, Tag("not")],
    Discriminator(_form),
]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an expression is judged by: one administration, and the two it may be held against.

    `displayed` are the rounded scores that bands and thresholds speak of;
    `exact` the unrounded ones that changes are measured with. A score that
    could not be computed is absent or `None` in both.
    """

    answers: Mapping[str, AnswerValue | None]
    displayed: Mapping[str, Number | None] = field(default_factory=dict)
    exact: Mapping[str, Number | None] = field(default_factory=dict)
    previous: Self | None = None
    baseline: Self | None = None

    def measure(self, name: str) -> Number | None:
        """Give an unrounded score or a numeric answer by its name."""
        value = self.exact[name] if name in self.exact else self.answers.get(name)
        return None if isinstance(value, str) else value


def holds(  # noqa: PLR0911 - one return for each form of the language
    expression: Expression, facts: Facts
) -> bool | None:
    """Say whether an expression is true, false or unknown by the facts."""
    match expression:
        case ItemIs(item, op, value):
            return _compare(op, facts.answers.get(item), value)
        case ScoreIs(score, op, value):
            return _compare(op, facts.displayed.get(score), value)
        case DeltaIs(delta, vs, op, value):
            return _compare(op, _moved(facts, delta, vs), value)
        case Answered(item):
            return facts.answers.get(item) is not None
        case AllOf(parts):
            return _all(holds(part, facts) for part in parts)
        case AnyOf(parts):
            return _negate(_all(_negate(holds(part, facts)) for part in parts))
        case Not(part):
            return _negate(holds(part, facts))
        case _:
            assert_never(expression)


def atoms(expression: Expression) -> Iterator[ItemIs | ScoreIs | DeltaIs | Answered]:
    """Walk the comparisons of an expression, so that the names it uses can be checked."""
    match expression:
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from atoms(part)
        case Not(part):
            yield from atoms(part)
        case _:
            yield expression


def items_of(expression: Expression) -> frozenset[str]:
    """Name the items whose answers the expression compares or asks for."""
    names: set[str] = set()
    for atom in atoms(expression):
        match atom:
            case ItemIs(item) | Answered(item):
                names.add(item)
            case DeltaIs(delta):
                names.add(delta)
            case ScoreIs():
                continue
            case _:
                assert_never(atom)
    return frozenset(names)


def _compare(op: Operator, left: AnswerValue | None, right: AnswerValue) -> bool | None:
    return None if left is None else op.compare(left, right)


def _moved(facts: Facts, name: str, vs: Versus) -> Number | None:
    earlier = facts.previous if vs is Versus.PREVIOUS else facts.baseline
    before = None if earlier is None else earlier.measure(name)
    now = facts.measure(name)
    return None if before is None or now is None else now - before


def _all(outcomes: Iterator[bool | None]) -> bool | None:
    seen = set(outcomes)
    if False in seen:
        return False
    return None if None in seen else True


def _negate(outcome: bool | None) -> bool | None:  # noqa: FBT001 - the value is the subject
    return None if outcome is None else not outcome
