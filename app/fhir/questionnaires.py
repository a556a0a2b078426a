"""A FHIR R4 Questionnaire as a definition of ours.

A Questionnaire says what is asked, not how it is scored: scores, flags, the license and the rest
come beside it, in a supplement in our own format. What we cannot ask faithfully is refused with
its place in the Questionnaire; nothing is guessed (clinical reference, section 8).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from app.domain.instruments import Fault, InvalidDefinition
from app.fhir.options import Options, coded, codings_of, extension, number_of

Json: TypeAlias = dict[str, Any]

LOINC: Final = "http://loinc.org"
LOINC_NOTICE: Final = (
    "This material contains content from LOINC (loinc.org). LOINC is copyright Regenstrief"
    " Institute, Inc. and the LOINC Committee and is available at no cost under the license at"
    " loinc.org/license. LOINC is a registered US trademark of Regenstrief Institute, Inc."
)
_TYPES: Final[Mapping[str, str]] = {
    "boolean": "boolean",
    "decimal": "decimal",
    "integer": "integer",
    "date": "date",
    "string": "text",
    "text": "text",
    "url": "text",
    "choice": "choice",
}
_OPERATORS: Final[Mapping[str, str]] = {
    "=": "==",
    "!=": "!=",
    ">": ">",
    "<": "<",
    ">=": ">=",
    "<=": "<=",
}
_STRUCTURE: Final = "http://hl7.org/fhir/StructureDefinition"
_CALCULATED: Final = (
    "http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-calculatedExpression"
)
_SUPPLEMENTED: Final = frozenset({"scores", "flags", "change", "license", "settings"})


@dataclass(frozen=True, slots=True)
class Translated:
    """A definition in our format, and where each of its items stands in the Questionnaire."""

    definition: Json
    places: Mapping[int, str]
    supplement: Mapping[str, object]

    def place(self, ours: str) -> str:
        """Give the pointer into the request of a pointer into our definition."""
        parts = ours.split("/")
        if len(parts) > 2 and parts[1] == "items" and parts[2].isdecimal():
            return f"/definition{self.places.get(int(parts[2]), '/item')}"
        if parts[1] in _SUPPLEMENTED or parts[1] in self.supplement:
            return f"/supplement{ours}"
        return "/definition"


def translate(questionnaire: Json, supplement: Json) -> Translated:
    """Read a Questionnaire; raises InvalidDefinition with pointers into it."""
    reading = _Reading(questionnaire)
    reading.read()
    if reading.faults:
        raise InvalidDefinition(reading.faults)
    definition = _about(questionnaire) | {
        "instruction": reading.instruction,
        "items": _supplemented(reading.items, supplement.get("items")),
        "response_sets": reading.options.sets,
    }
    definition |= {
        key: value for key, value in supplement.items() if key not in {"items", "license"}
    }
    definition["license"] = _license(questionnaire, supplement, is_coded=reading.is_coded)
    return Translated(definition, dict(enumerate(reading.places)), supplement)


def _about(questionnaire: Json) -> Json:
    """What the head of a Questionnaire says of the whole."""
    found: Json = {}
    name = str(questionnaire.get("name") or questionnaire.get("id") or "")
    # CamelCase names are the rule in FHIR.
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
    if key := re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-"):
        found["key"] = key
    numbers = str(questionnaire.get("version") or "").split(".")
    if all(number.isascii() and number.isdecimal() for number in numbers) and len(numbers) <= 3:
        found["version"] = ".".join([*map(str, map(int, numbers)), "0", "0"][:3])
    for ours, theirs in (("title", "title"), ("language", "language")):
        if theirs in questionnaire:
            found[ours] = questionnaire[theirs]
    if loinc := coded(questionnaire.get("code"), LOINC):
        found["loinc"] = loinc
    return found


def _license(questionnaire: Json, supplement: Json, *, is_coded: bool) -> Json:
    given = supplement.get("license")
    terms = {
        "position": questionnaire.get("copyright"),
        "holder": questionnaire.get("publisher"),
        "attribution": questionnaire.get("copyright"),
    }
    stated = {name: text for name, text in terms.items() if text is not None}
    license_ = stated | (dict(given) if isinstance(given, Mapping) else {})
    notices = license_.get("notices", [])
    if is_coded and isinstance(notices, list) and LOINC_NOTICE not in notices:
        license_["notices"] = [*notices, LOINC_NOTICE]
    return license_


def _supplemented(items: Sequence[Json], supplement: object) -> list[Json]:
    """Add to each item what the supplement says of it, by our id."""
    more = {
        str(each["id"]): each
        for each in (supplement if isinstance(supplement, list) else ())
        if isinstance(each, Mapping) and "id" in each
    }
    return [{**item, **more.get(item["id"], {})} for item in items]


@dataclass(slots=True)
class _Around:
    """What an item inherits from the groups and questions around it."""

    stem: str = ""
    conditions: tuple[Json, ...] = ()


@dataclass(slots=True)
class _Reading:
    """One pass over a Questionnaire."""

    questionnaire: Json
    instruction: str = ""
    items: list[Json] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    is_coded: bool = False

    def read(self) -> None:
        if self.questionnaire.get("resourceType") != "Questionnaire":
            self._refuse("/resourceType", "not_a_questionnaire")
            return
        if self.questionnaire.get("modifierExtension"):
            self._refuse("/modifierExtension", "modifier_extension")
        self.options.contained = _contained(self.questionnaire)
        self._name(self.questionnaire, "")
        if not self.faults:
            self._walk(self.questionnaire, "", _Around())
        self.is_coded = self.is_coded or bool(coded(self.questionnaire.get("code"), LOINC))
        self.is_coded = self.is_coded or self.options.is_coded

    def _name(self, parent: Json, place: str) -> None:
        """Give every question an id before any condition speaks of it."""
        for where, item in self._children(parent, place):
            link = item.get("linkId")
            if not isinstance(link, str) or not link:
                self._refuse(f"{where}/linkId", "missing")
            elif link in self.ids:
                self._refuse(f"{where}/linkId", "duplicate_id")
            else:
                self.ids[link] = _item_id(link, set(self.ids.values()))
            self._name(item, where)

    def _children(self, parent: Json, place: str) -> Iterator[tuple[str, Json]]:
        children = parent.get("item", [])
        if not isinstance(children, list):
            self._refuse(f"{place}/item", "list_type")
            return
        for number, item in enumerate(children):
            where = f"{place}/item/{number}"
            if isinstance(item, dict):
                yield where, item
            else:
                self._refuse(where, "dict_type")

    def _walk(self, parent: Json, place: str, around: _Around) -> None:
        said = ""
        for where, item in self._children(parent, place):
            kind = str(item.get("type"))
            conditions = around.conditions + self._conditions(item, where)
            text = item.get("text", "")
            if not isinstance(text, str):
                self._refuse(f"{where}/text", "string_type")
                continue
            if kind == "display":
                if not place and not self.items:
                    self.instruction = _joined(self.instruction, text)
                else:
                    said = _joined(said, text)
            elif kind == "group":
                stem = _joined(_joined(around.stem, said), text)
                self._walk(item, where, _Around(stem, conditions))
            elif extension(item, _CALCULATED) is None:
                # A calculated item is a score, and how we score is said in the supplement.
                self._question(item, where, _Around(_joined(around.stem, said), conditions))
                self._walk(item, where, _Around(around.stem, conditions))

    def _question(self, item: Json, where: str, around: _Around) -> None:
        kind = str(item.get("type"))
        if kind not in _TYPES:
            self._refuse(f"{where}/type", "type_not_supported")
            return
        if item.get("repeats") is True:
            self._refuse(f"{where}/repeats", "repeats_not_supported")
        if item.get("modifierExtension"):
            self._refuse(f"{where}/modifierExtension", "modifier_extension")
        found: Json = {
            "id": self.ids[item["linkId"]],
            "text": item.get("text", ""),
            "type": _TYPES[kind],
            "stem": around.stem,
            "required": item.get("required") is True,
            "scored": kind not in {"string", "text", "url", "date"},
        }
        if prefix := item.get("prefix"):
            found["no"] = prefix
        if loinc := coded(item.get("code"), LOINC):
            found["loinc"], self.is_coded = loinc, True
        if isinstance(length := item.get("maxLength"), int):
            found["max_length"] = length
        if (pattern := extension(item, f"{_STRUCTURE}/regex")) is not None:
            found["pattern"] = pattern.get("valueString")
        found |= self._answers(item, found["type"], where)
        if around.conditions:
            found["visible_when"] = _all(around.conditions)
        self.items.append(found)
        self.places.append(where)

    def _answers(self, item: Json, kind: str, where: str) -> Json:
        if kind in {"integer", "decimal"}:
            return _numeric(item, kind)
        if kind != "choice":
            return {}
        name = self.options.name_of(item, where)
        if isinstance(name, Fault):
            self.faults.append(name)
            return {}
        return {"set": name}

    def _conditions(self, item: Json, where: str) -> tuple[Json, ...]:
        """What decides whether an item is asked, as one condition of ours."""
        rules = item.get("enableWhen", [])
        if not isinstance(rules, list) or not rules:
            return ()
        parts = [
            self._condition(rule, f"{where}/enableWhen/{number}")
            for number, rule in enumerate(rules)
        ]
        behavior = item.get("enableBehavior")
        if len(rules) > 1 and behavior not in ("all", "any"):
            self._refuse(f"{where}/enableBehavior", "missing")
        known = [part for part in parts if part is not None]
        return ({"any": known},) if behavior == "any" else tuple(known)

    def _condition(self, rule: object, where: str) -> Json | None:
        if not isinstance(rule, dict):
            self._refuse(where, "dict_type")
            return None
        link = rule.get("question")
        if not isinstance(link, str) or link not in self.ids:
            self._refuse(f"{where}/question", "unknown_item")
            return None
        named, value = self._expected(rule, link)
        if value is None:
            self._refuse(f"{where}/{named}", "answer_not_supported")
            return None
        operator, item_id = str(rule.get("operator")), self.ids[link]
        if operator == "exists" and isinstance(value, bool):
            answered = {"answered": item_id}
            return answered if value else {"not": answered}
        if operator not in _OPERATORS:
            self._refuse(f"{where}/operator", "operator_not_supported")
            return None
        return {"item": item_id, "op": _OPERATORS[operator], "value": value}

    def _expected(self, rule: Json, link: str) -> tuple[str, object | None]:
        """The answer that a condition compares with, as the question's item holds it."""
        for name in ("answerBoolean", "answerInteger", "answerDecimal", "answerString"):
            if name in rule:
                return name, rule[name]
        if "answerDate" in rule:
            return "answerDate", rule["answerDate"]
        if "answerCoding" in rule:
            question = _linked(self.questionnaire, link)
            return "answerCoding", self.options.value_of(question, rule["answerCoding"])
        return "answer", None

    def _refuse(self, place: str, reason: str) -> None:
        self.faults.append(Fault(place, reason))


def _contained(questionnaire: Json) -> Mapping[str, Json]:
    """The value sets that the Questionnaire brings with it, by reference."""
    contained = questionnaire.get("contained", [])
    return {
        f"#{each['id']}": each
        for each in (contained if isinstance(contained, list) else ())
        if isinstance(each, dict) and each.get("resourceType") == "ValueSet" and "id" in each
    }


def _linked(parent: Json, link: str) -> Json:
    for item in parent.get("item", []):
        if item.get("linkId") == link:
            found: Json = item
            return found
        if inner := _linked(item, link):
            return inner
    return {}


def _item_id(link: str, taken: set[str]) -> str:
    """An id of ours for a link id: its letters and digits, and a number where that is taken."""
    name = re.sub(r"[^a-z0-9]+", "_", link.lower()).strip("_")
    name = (name if name[:1].isalpha() else f"q{name}")[:60]
    ids = [name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))]
    return next(each for each in ids if each not in taken)


def _numeric(item: Json, kind: str) -> Json:
    ends = [number_of(item, f"{_STRUCTURE}/{end}") for end in ("minValue", "maxValue")]
    numeric = {name: end for name, end in zip(("min", "max"), ends, strict=True) if end is not None}
    step = number_of(item, f"{_STRUCTURE}/questionnaire-sliderStepValue")
    if step is not None:
        numeric["step"] = step
    unit = extension(item, f"{_STRUCTURE}/questionnaire-unit")
    if unit is not None and isinstance(unit.get("valueCoding"), dict):
        numeric["unit"] = unit["valueCoding"].get("code")
    control = extension(item, f"{_STRUCTURE}/questionnaire-itemControl")
    codes = codings_of(None if control is None else control.get("valueCodeableConcept"))
    is_slider = any(coding.get("code") == "slider" for coding in codes)
    found: Json = {"type": "vas"} if is_slider and kind == "decimal" else {}
    return found | ({"numeric": numeric} if numeric else {})


def _all(conditions: Sequence[Json]) -> Json:
    return conditions[0] if len(conditions) == 1 else {"all": list(conditions)}


def _joined(before: str, after: str) -> str:
    return f"{before}\n{after}".strip()
