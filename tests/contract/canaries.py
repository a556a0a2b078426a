"""Canaries: texts that nobody else would write, one for each place in which something is written.

What a participant or somebody about them writes is a canary. What an organization calls its own
programs and groups is a banner: it stands in the clear in the database, and nowhere else.
"""

import copy
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from app.security.permissions import Permission
from tests.contract.operations import Operation

Json = dict[str, Any]

CANARY: Final = "zqcanary"
BANNER: Final = "zqbanner"
BOTH: Final = re.compile(rb"zq(?:canary|banner)[0-9]{6}")

_ORGANIZATIONAL: Final = frozenset(
    {
        Permission.GROUP_MANAGE,
        Permission.INSTRUMENT_MANAGE,
        Permission.PROGRAM_MANAGE,
        Permission.SESSION_MANAGE,
    }
)
_FORMAL: Final = frozenset({"format", "pattern", "enum", "const"})
_OWN_RULES: Final = frozenset({"at", "payload", "rule", "time_zone", "token", "url"})
"""Fields that hold text of a form that their type checks by itself."""


def is_banner(operation: Operation) -> bool:
    """Whether an operation's texts are what an organization calls its own things."""
    return operation.permission in _ORGANIZATIONAL


@dataclass
class Aviary:
    """Where canaries come from: each is given once, for one owner."""

    owners: dict[str, str] = field(default_factory=dict)
    """Whose each canary is: the name of a circle."""

    places: set[str] = field(default_factory=set)
    """Where canaries were put: `operation: path.of.field`."""

    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def hatch(self, owner: str, *, kind: str = CANARY) -> str:
        """A new canary."""
        canary = f"{kind}{next(self._numbers):06d}"
        self.owners[canary] = owner
        return canary

    def phone(self, owner: str) -> str:
        """A number that is as good as a canary."""
        number = f"+1303{next(self._numbers):07d}"
        self.owners[number] = owner
        return number

    def seen_in(self, octets: bytes) -> set[str]:
        """Which canaries and numbers stand in something."""
        numbers = {one for one in self.owners if one.startswith("+")}
        return {one.decode() for one in BOTH.findall(octets)} | {
            number for number in numbers if number.encode() in octets
        }

    def plant(self, operation: Operation, body: Any, owner: str) -> Any:  # noqa: ANN401 (JSON)
        """The body with a canary of its own in every field of free text that it has."""
        planted = copy.deepcopy(body)
        kind = BANNER if is_banner(operation) else CANARY
        for place, holder, key in _texts(operation, planted):
            canary = self.hatch(owner, kind=kind)
            holder[key] = _SHAPES.get(str(key), "{}").format(canary)
            self.places.add(f"{operation.id}: {place}")
        return planted


def filled(operation: Operation, body: Any, *, lists: bool = True) -> Any:  # noqa: ANN401 (JSON)
    """The body with every text that the schema allows, and that the example left out.

    Where a list may hold texts and holds nothing, one item is made up, as plain as the schema
    lets it be: rules may refuse it, and then it was a refusal.
    """
    body = copy.deepcopy(body)

    def fill(schema: Json, value: Any) -> None:  # noqa: ANN401 (JSON)
        kind = _kind(operation, schema)
        if isinstance(value, dict):
            for name, known in kind.get("properties", {}).items():
                if value.get(name) is None and _is_text(operation, name, known):
                    value[name] = "?"
                    continue
                if lists and not value.get(name) and _has_texts(operation, known):
                    value[name] = _minimal(operation, known)
                if name in value:
                    fill(known, value[name])
        elif isinstance(value, list):
            for one in value:
                fill(kind.get("items", {}), one)

    fill(operation.body_schema or {}, body)
    return body


def _has_texts(operation: Operation, schema: Json) -> bool:
    """Whether it is a list whose items hold texts."""
    kind = _kind(operation, schema)
    return "items" in kind and any(_places(operation, kind["items"]))


def _minimal(operation: Operation, schema: Json) -> Any:  # noqa: ANN401 (JSON)
    """Something that a schema may let pass."""
    kind = _kind(operation, schema)
    if "items" in kind:
        return [_minimal(operation, kind["items"])]
    if "properties" in kind:
        required = kind.get("required", ())
        return {name: _minimal(operation, kind["properties"][name]) for name in required}
    words = kind.get("enum") or kind.get("examples") or ([kind["const"]] if "const" in kind else [])
    plain = {"boolean": False, "integer": 1, "number": 1, "string": "a"}
    return words[0] if words else plain.get(kind.get("type", ""))


def places_of(operation: Operation) -> set[str]:
    """Every field of free text that an operation's body has, by its schema."""
    return {f"{operation.id}: {place}" for place in _places(operation, operation.body_schema or {})}


def too_long(operation: Operation, body: Json, aviary: Aviary, owner: str) -> Iterator[Json]:
    """The body, each time with another of its texts longer than any may be (PHI-14)."""
    for number, _ in enumerate(_texts(operation, body)):
        broken = copy.deepcopy(body)
        _, holder, key = list(_texts(operation, broken))[number]
        holder[key] = aviary.hatch(owner) * 1_000
        yield broken


Text = tuple[str, Any, Any]
"""The path of a text, what holds it, and under which key."""


def _texts(operation: Operation, body: Any) -> Iterator[Text]:  # noqa: ANN401 (JSON)
    def walk(schema: Json, value: Any, place: str) -> Iterator[Text]:  # noqa: ANN401 (JSON)
        kind = _kind(operation, schema)
        if isinstance(value, dict):
            for name, one in list(value.items()):
                known = kind.get("properties", {}).get(name)
                if known is None:
                    continue
                inner = f"{place}.{name}" if place else name
                if isinstance(one, str) and _is_text(operation, name, known):
                    yield inner, value, name
                else:
                    yield from walk(known, one, inner)
        elif isinstance(value, list):
            item = kind.get("items", {})
            for number, one in enumerate(value):
                if isinstance(one, str) and _is_text(operation, "", item):
                    yield f"{place}[]", value, number
                else:
                    yield from walk(item, one, f"{place}[]")

    yield from walk(operation.body_schema or {}, body, "")


def _places(operation: Operation, schema: Json, place: str = "") -> Iterator[str]:
    kind = _kind(operation, schema)
    for name, known in kind.get("properties", {}).items():
        inner = f"{place}.{name}" if place else name
        if _is_text(operation, name, known):
            yield inner
        else:
            yield from _places(operation, known, inner)
    if "items" in kind:
        yield from (
            [f"{place}[]"]
            if _is_text(operation, "", kind["items"])
            else _places(operation, kind["items"], f"{place}[]")
        )


def _kind(operation: Operation, schema: Json) -> Json:
    """A schema without references and without null."""
    kinds = [operation.resolve(one) for one in schema.get("anyOf", [schema])]
    return next((one for one in kinds if one.get("type") != "null"), {})


def _is_text(operation: Operation, name: str, schema: Json) -> bool:
    kind = _kind(operation, schema)
    if kind.get("type") != "string" or name in _OWN_RULES:
        return False
    return name in _SHAPES or not kind.keys() & _FORMAL


_SHAPES: Final[Mapping[str, str]] = {
    "email": "{}@example.org",
    "new_password": "{} is long enough",
    "password": "{} is long enough",
}
"""Fields of a form into which a canary fits, by their names."""
