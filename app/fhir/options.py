"""The answers of a Questionnaire's choice as a response set of ours."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from app.domain.instruments import Fault

Json: TypeAlias = dict[str, Any]

_LOINC: Final = "http://loinc.org"
_ORDINALS: Final = (
    "http://hl7.org/fhir/StructureDefinition/ordinalValue",
    "http://hl7.org/fhir/StructureDefinition/itemWeight",
)


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer as the Questionnaire offers it: its name in their terms, its place in ours."""

    system: str | None
    code: str
    label: str
    ordinal: int | float | None
    is_integer: bool = False


@dataclass(slots=True)
class Options:
    """The response sets that a Questionnaire's choices make, each once."""

    contained: Mapping[str, Json] = field(default_factory=dict)
    sets: dict[str, list[Json]] = field(default_factory=dict)
    is_coded: bool = False
    _names: dict[str, str] = field(default_factory=dict)

    def name_of(self, item: Json, where: str) -> str | Fault:
        """The response set of a choice, or why it has none that we can offer."""
        reference = item.get("answerValueSet")
        if "answerOption" not in item and reference and str(reference) not in self.contained:
            return Fault(f"{where}/answerValueSet", "value_set_is_not_contained")
        offered = self._offered(item)
        if offered is None:
            return Fault(f"{where}/answerOption", "answer_not_supported")
        if not offered:
            return Fault(f"{where}/answerOption", "missing")
        options = [_option(answer, offered) for answer in offered]
        self.is_coded = self.is_coded or any("loinc" in option for option in options)
        text = json.dumps(options, sort_keys=True)
        name = self._names.setdefault(text, f"set_{len(self._names) + 1}")
        self.sets[name] = options
        return name

    def value_of(self, item: Json, coding: object) -> int | str | None:
        """What our option is called that a condition names by its coding."""
        offered = self._offered(item)
        if not isinstance(coding, dict) or not offered:
            return None
        named = [
            answer
            for answer in offered
            if answer.code == coding.get("code")
            and coding.get("system", answer.system) == answer.system
        ]
        return _value(named[0], offered) if len(named) == 1 else None

    def _offered(self, item: Json) -> list[_Answer] | None:
        options = item.get("answerOption")
        if options is None:
            value_set = self.contained.get(str(item.get("answerValueSet")), {})
            return _concepts(value_set)
        if not isinstance(options, list):
            return None
        found = [_answer(option) for option in options]
        known = [answer for answer in found if answer is not None]
        return known if len(known) == len(found) else None


def extension(element: object, url: str) -> Json | None:
    """The extension of an element with this address, if it has one."""
    extensions = element.get("extension", []) if isinstance(element, dict) else []
    for each in extensions if isinstance(extensions, list) else ():
        if isinstance(each, dict) and each.get("url") == url:
            return each
    return None


def number_of(element: object, url: str) -> int | float | None:
    """The number in an extension, if it has one."""
    found = extension(element, url) or {}
    for name in ("valueInteger", "valueDecimal"):
        value = found.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    return None


def codings_of(concept: object) -> Sequence[Json]:
    """The codings of a CodeableConcept, or of a list of codings."""
    codings = concept.get("coding") if isinstance(concept, dict) else concept
    return [c for c in codings if isinstance(c, dict)] if isinstance(codings, list) else []


def coded(codings: object, system: str) -> str | None:
    """The code of an element in a code system, if it has one."""
    for coding in codings_of(codings):
        if coding.get("system") == system and isinstance(coding.get("code"), str):
            code: str = coding["code"]
            return code
    return None


def _answer(option: object) -> _Answer | None:
    if not isinstance(option, dict):
        return None
    whole, text, coding = (option.get(f"value{k}") for k in ("Integer", "String", "Coding"))
    if isinstance(whole, int) and not isinstance(whole, bool):
        ordinal = _ordinal(option)
        worth = whole if ordinal is None else ordinal
        return _Answer(None, str(whole), str(whole), worth, is_integer=True)
    if isinstance(text, str):
        return _Answer(None, text, text, _ordinal(option))
    if isinstance(coding, dict) and isinstance(coding.get("code"), str):
        ordinal = _ordinal(option, coding)
        label = str(coding.get("display") or coding["code"])
        return _Answer(coding.get("system"), coding["code"], label, ordinal)
    return None


def _concepts(value_set: Json) -> list[_Answer] | None:
    """The concepts that a contained value set lists."""
    compose = value_set.get("compose")
    includes = compose.get("include", []) if isinstance(compose, dict) else []
    found: list[_Answer] = []
    for include in includes if isinstance(includes, list) else ():
        concepts = include.get("concept") if isinstance(include, dict) else None
        for concept in concepts if isinstance(concepts, list) else ():
            answer = _answer({"valueCoding": _coding(concept, include.get("system"))})
            if answer is None:
                return None
            found.append(answer)
    return found


def _coding(concept: object, system: object) -> object:
    return {**concept, "system": system} if isinstance(concept, dict) else None


def _ordinal(*elements: object) -> int | float | None:
    for element in elements:
        for url in _ORDINALS:
            value = number_of(element, url)
            if value is not None:
                return int(value) if value == int(value) else value
    return None


def _value(answer: _Answer, offered: Sequence[_Answer]) -> int | str:
    """A whole number that names the answer among the others, or else its code."""
    if answer.is_integer:
        return int(answer.code)
    ordinals = [each.ordinal for each in offered]
    is_name = len(set(ordinals)) == len(ordinals) and all(isinstance(o, int) for o in ordinals)
    return answer.ordinal if is_name and isinstance(answer.ordinal, int) else answer.code


def _option(answer: _Answer, offered: Sequence[_Answer]) -> Json:
    value = _value(answer, offered)
    option: Json = {"value": value, "label": answer.label}
    if answer.ordinal is not None and answer.ordinal != value:
        option["worth"] = answer.ordinal
    if answer.system == _LOINC:
        option["loinc"] = answer.code
    return option
