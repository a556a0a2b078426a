"""The small language in which flags, gates and visibility are written.

`{item, op, value}`, `{item, op: "in", value: […]}`, `{score, op, value}`,
`{delta, vs, op, value}`, `{answered}`, `{all}`, `{any}`, `{not}` (clinical
reference, section 1.1) and `{at_least, of}`, which counts the parts that hold.
With `at`, an item's answer is that of an earlier administration.

An expression is true, false or unknown (`None`), by Kleene's three-valued
logic: an unanswered item makes a comparison unknown, never false, so that
`not` cannot turn silence into a fact.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum, unique
from typing import Annotated, ClassVar, Final, Literal, Self, TypeAlias, assert_never

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

RECENT: Final = 3
"""How many administrations make a rolling mean (clinical reference, section 1.15)."""

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
    """What a change is measured against: an earlier form, or the mean of the last three."""

    BASELINE = "baseline"
    PREVIOUS = "previous"
    RECENT_MEAN = "recent_mean"


@unique
class Earlier(StrEnum):
    """Which earlier administration an answer is taken from."""

    BASELINE = "baseline"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class ItemIs:
    """The answer to an item compares so with a value."""

    __pydantic_config__: ClassVar = STRICT
    item: str
    op: Operator
    value: AnswerValue
    at: Earlier | None = None


@dataclass(frozen=True, slots=True)
class ItemIn:
    """The answer to an item is one of these."""

    __pydantic_config__: ClassVar = STRICT
    item: str
    op: Literal["in"]
    value: Annotated[tuple[AnswerValue, ...], Field(min_length=1)]
    at: Earlier | None = None


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


@dataclass(frozen=True, slots=True)
class AtLeast:
    """So many of the parts hold: the counting rule of a diagnosis by symptoms."""

    __pydantic_config__: ClassVar = STRICT
    at_least: Annotated[int, Field(ge=1)]
    of: Annotated[tuple["Expression", ...], Field(min_length=1)]


_FORMS: Mapping[str, type[object]] = {
    "item": ItemIs,
    "score": ScoreIs,
    "delta": DeltaIs,
    "answered": Answered,
    "all": AllOf,
    "any": AnyOf,
    "not": Not,
    "at_least": AtLeast,
}
FORM_MARK: Final = "form:"
"""How a form's name begins in the path of an error, where it is no key of the document."""


def _form(value: object) -> str | None:
    """Name the form of an expression: by the one key that only it has, or by its type."""
    if type(value) is ItemIn:
        return f"{FORM_MARK}in"
    if isinstance(value, Mapping):
        found = [form for form in _FORMS if form in value]
        if found == ["item"] and value.get("op") == "in":
            return f"{FORM_MARK}in"
    else:
        found = [form for form, kind in _FORMS.items() if type(value) is kind]
    return f"{FORM_MARK}{found[0]}" if len(found) == 1 else None


Expression: TypeAlias = Annotated[
    Annotated[ItemIs, Tag("form:item")]
    | Annotated[ItemIn, Tag("form:in")]
    | Annotated[ScoreIs, Tag("form:score")]
    | Annotated[DeltaIs, Tag("form:delta")]
    | Annotated[Answered, Tag("form:answered")]
    | Annotated[AllOf, Tag("form:all")]
    | Annotated[AnyOf, Tag("form:any")]
    | Annotated[Not, Tag("form:not")]
    | Annotated[AtLeast, Tag("form:at_least")],
    Discriminator(_form),
]
Atom: TypeAlias = ItemIs | ItemIn | ScoreIs | DeltaIs | Answered


@dataclass(frozen=True, slots=True)
class Facts:
    """What an expression is judged by: one administration, and those it may be held against.

    `displayed` are the rounded scores that bands and thresholds speak of;
    `exact` the unrounded ones that changes are measured with. A score that
    could not be computed is absent or `None` in both. What a form did not ask
    is `hidden`: no comparison with it holds, because nobody said it.
    """

    answers: Mapping[str, AnswerValue | None]
    displayed: Mapping[str, Number | None] = field(default_factory=dict)
    exact: Mapping[str, Number | None] = field(default_factory=dict)
    previous: Self | None = None
    baseline: Self | None = None
    recent: tuple[Self, ...] = ()
    hidden: frozenset[str] = frozenset()

    def answer(self, item: str, at: Earlier | None) -> AnswerValue | None:
        """Give the answer to an item, of this administration or of an earlier one."""
        facts = self if at is None else self.previous if at is Earlier.PREVIOUS else self.baseline
        return None if facts is None else facts.answers.get(item)

    def measure(self, name: str) -> Number | None:
        """Give an unrounded score or a numeric answer by its name."""
        value = self.exact[name] if name in self.exact else self.answers.get(name)
        return None if isinstance(value, str) else value


def holds(  # noqa: PLR0911 - one return for each form of the language
    expression: Expression, facts: Facts
) -> bool | None:
    """Say whether an expression is true, false or unknown by the facts."""
    match expression:
        case ItemIs() | ItemIn():
            return _of_item(expression, facts)
        case ScoreIs(score, op, value):
            return _compare(op, facts.displayed.get(score), value)
        case DeltaIs(delta, vs, op, value):
            return _compare(op, _moved(facts, delta, vs), value)
        case Answered(item):
            return facts.answers.get(item) is not None
        case AllOf(parts):
            return _at_least(len(parts), parts, facts)
        case AnyOf(parts):
            return _at_least(1, parts, facts)
        case AtLeast(number, parts):
            return _at_least(number, parts, facts)
        case Not(part):
            outcome = holds(part, facts)
            return None if outcome is None else not outcome
        case _:
            assert_never(expression)


def atoms(expression: Expression) -> Iterator[Atom]:
    """Walk the comparisons of an expression, so that the names it uses can be checked."""
    match expression:
        case AllOf(parts) | AnyOf(parts) | AtLeast(of=parts):
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
            case ItemIs(item) | ItemIn(item) | Answered(item):
                names.add(item)
            case DeltaIs(delta):
                names.add(delta)
            case ScoreIs():
                continue
            case _:
                assert_never(atom)
    return frozenset(names)


def _of_item(expression: ItemIs | ItemIn, facts: Facts) -> bool | None:
    if expression.at is None and expression.item in facts.hidden:
        return False
    answer = facts.answer(expression.item, expression.at)
    if isinstance(expression, ItemIs):
        return _compare(expression.op, answer, expression.value)
    return _among(answer, expression.value)


def _compare(op: Operator, left: AnswerValue | None, right: AnswerValue) -> bool | None:
    return None if left is None else op.compare(left, right)


def _among(answer: AnswerValue | None, values: Iterable[AnswerValue]) -> bool | None:
    if answer is None:
        return None
    return any(Operator.EQUAL.compare(answer, value) for value in values)


def _moved(facts: Facts, name: str, vs: Versus) -> Number | None:
    before, now = _before(facts, name, vs), facts.measure(name)
    return None if before is None or now is None else now - before


def _before(facts: Facts, name: str, vs: Versus) -> Number | None:
    match vs:
        case Versus.PREVIOUS:
            return None if facts.previous is None else facts.previous.measure(name)
        case Versus.BASELINE:
            return None if facts.baseline is None else facts.baseline.measure(name)
        case Versus.RECENT_MEAN:
            return _recent_mean(facts, name)
        case _:
            assert_never(vs)


def _recent_mean(facts: Facts, name: str) -> Number | None:
    """Average the last three; fewer than three known ones make no mean."""
    known = [value for each in facts.recent if (value := each.measure(name)) is not None]
    last = known[:RECENT]
    return Decimal(sum(last)) / RECENT if len(last) == RECENT else None


def _at_least(number: int, parts: Iterable[Expression], facts: Facts) -> bool | None:
    """Say whether so many parts hold, whatever those are that nobody knows."""
    outcomes = [holds(part, facts) for part in parts]
    if outcomes.count(True) >= number:
        return True
    return None if outcomes.count(True) + outcomes.count(None) >= number else False
