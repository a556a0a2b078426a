"""What an application may do, in the grammar of SMART App Launch 2 (AUTH-31).

    (patient|user|system)/(Resource|*).(a subset of cruds, in that order)[?param=value]

and the two words `launch/patient` and `offline_access`. A scope set is kept in its smallest
form, so that two sets that mean the same are equal and read the same.

A scope with a query (`patient/Observation.rs?category=survey`) opens only the rows that match
it. Nothing here can look at rows, so such a scope answers no to `allows`; between two different
queries the intersection is empty, since no single scope could say "both".
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeAlias, cast

from typing_extensions import override

Context: TypeAlias = Literal["patient", "user", "system"]
Key: TypeAlias = tuple[Context, str, str | None]

CONTEXTS: Final[tuple[Context, ...]] = ("patient", "user", "system")
WORDS: Final = frozenset({"launch/patient", "offline_access"})
MAX_LENGTH: Final = 2_048
"""Longer than every resource in every context; an access token must fit in a header."""

_ACTIONS: Final = "cruds"
_BITS: Final = {action: 1 << place for place, action in enumerate(_ACTIONS)}
# Printable ASCII without the space, the quote and the backslash (RFC 6749, section 3.3). The
# ampersand would begin a second parameter.
_SCOPE: Final = re.compile(
    r"(?P<context>patient|user|system)"
    r"/(?P<resource>\*|[A-Z][A-Za-z]{0,63})"
    r"\.(?P<actions>(?=[cruds])c?r?u?d?s?)"
    r"(?:\?(?P<query>[a-z_][A-Za-z0-9_.:-]{0,63}=[!#-%'-\[\]-~]{1,256}))?",
    re.ASCII,
)


class InvalidScope(ValueError):
    """The text is not a scope of this grammar. It is not repeated: it may hold anything."""

    def __init__(self) -> None:
        super().__init__("invalid scope")


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """One permission of an application: a context, a resource, and some of `cruds`.

    `query` narrows it to the rows that match `param=value`.
    """

    context: Context
    resource: str
    actions: str
    query: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one scope; raises InvalidScope."""
        match = _SCOPE.fullmatch(text)
        if match is None:
            raise InvalidScope
        context = cast("Context", match["context"])  # the expression admits these three only
        return cls(context, match["resource"], match["actions"], match["query"])

    @override
    def __str__(self) -> str:
        text = f"{self.context}/{self.resource}.{self.actions}"
        return text if self.query is None else f"{text}?{self.query}"


class ScopeSet:
    """Everything that an application may do.

    Equal sets allow the same, and the text of a set parses to an equal one.
    """

    __slots__ = ("_masks", "_named", "_star", "words")

    def __init__(self, scopes: Iterable[Scope] = (), words: Iterable[str] = ()) -> None:
        self.words = frozenset(words)
        if not self.words <= WORDS:
            raise InvalidScope
        merged: dict[Key, int] = {}
        for scope in scopes:
            key = (scope.context, scope.resource, scope.query)
            merged[key] = merged.get(key, 0) | _mask(scope.actions)
        self._masks = _smallest(merged)
        self._star, self._named = _unrestricted(self._masks)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read scopes separated by single spaces; the empty text is the empty set.

        Raises InvalidScope when any of them is unknown, badly ordered or too long.
        """
        if len(text) > MAX_LENGTH:
            raise InvalidScope
        parts = text.split(" ") if text else []
        words = [part for part in parts if part in WORDS]
        return cls((Scope.parse(part) for part in parts if part not in WORDS), words)

    def allows(self, context: str, resource: str, action: str) -> bool:
        """Whether the application may do this to every such resource; runs on each request."""
        mask = self._named.get((context, resource))
        if mask is None:
            mask = self._star.get(context, 0)
        return mask & _BITS[action] != 0

    def covers(self, scope: Scope) -> bool:
        """Whether this set gives all that the scope gives."""
        wanted = _mask(scope.actions)
        key = (scope.context, scope.resource, scope.query)
        for wider in _wider_or_equal(key):
            wanted &= ~self._masks.get(wider, 0)
        return wanted == 0

    def limited_to(self, *contexts: Context) -> "ScopeSet":
        """What remains for a caller who has only these contexts; the words are kept."""
        return ScopeSet((scope for scope in self if scope.context in contexts), self.words)

    def __and__(self, other: "ScopeSet") -> "ScopeSet":
        """What both give; never more than either."""
        return ScopeSet(
            (
                shared
                for scope in self
                for other_scope in other
                if (shared := _shared(scope, other_scope)) is not None
            ),
            self.words & other.words,
        )

    def __or__(self, other: "ScopeSet") -> "ScopeSet":
        """What either gives."""
        return ScopeSet((*self, *other), self.words | other.words)

    def __iter__(self) -> Iterator[Scope]:
        """The scopes of the smallest form, in the order in which they are written."""
        return iter(sorted((_scope(key, mask) for key, mask in self._masks.items()), key=str))

    def __bool__(self) -> bool:
        return bool(self._masks or self.words)

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScopeSet):
            return NotImplemented
        return self._masks == other._masks and self.words == other.words

    @override
    def __hash__(self) -> int:
        return hash((frozenset(self._masks.items()), self.words))

    @override
    def __str__(self) -> str:
        return " ".join([*sorted(self.words), *map(str, self)])

    @override
    def __repr__(self) -> str:
        return f"ScopeSet({str(self)!r})"


def _mask(actions: str) -> int:
    return sum(_BITS[action] for action in actions)


def _scope(key: Key, mask: int) -> Scope:
    context, resource, query = key
    return Scope(context, resource, "".join(a for a in _ACTIONS if mask & _BITS[a]), query)


def _wider_or_equal(key: Key) -> set[Key]:
    """Every key whose scope gives what this one gives."""
    context, resource, query = key
    return {(context, r, q) for r in (resource, "*") for q in (query, None)}


def _smallest(merged: dict[Key, int]) -> dict[Key, int]:
    """Leave out of each scope what a wider one gives already."""
    smallest = {}
    for key, mask in merged.items():
        given = 0
        for wider in _wider_or_equal(key) - {key}:
            given |= merged.get(wider, 0)
        if mask & ~given:
            smallest[key] = mask & ~given
    return smallest


def _unrestricted(
    masks: dict[Key, int],
) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """The masks that `allows` reads: of `*`, and of each named resource with `*` included."""
    star: dict[str, int] = {
        context: mask for (context, r, query), mask in masks.items() if r == "*" and query is None
    }
    named: dict[tuple[str, str], int] = {
        (context, r): mask | star.get(context, 0)
        for (context, r, query), mask in masks.items()
        if r != "*" and query is None
    }
    return star, named


def _shared(one: Scope, other: Scope) -> Scope | None:
    """The widest scope that lies within both, if there is one."""
    mask = _mask(one.actions) & _mask(other.actions)
    if one.context != other.context or not mask:
        return None
    if one.resource != other.resource and "*" not in {one.resource, other.resource}:
        return None
    if one.query != other.query and None not in {one.query, other.query}:
        return None
    resource = other.resource if one.resource == "*" else one.resource
    query = one.query if other.query is None else other.query
    return _scope((one.context, resource, query), mask)
