"""A Questionnaire becomes a definition, or is refused with its place in the Questionnaire."""

import copy
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.instruments import InvalidDefinition, ItemType, load
from app.domain.scoring import flags_at_answer, score
from app.fhir.questionnaires import Translated, translate

Json = dict[str, Any]
LOINC = "http://loinc.org"
SD = "http://hl7.org/fhir/StructureDefinition"


def option(code: str, display: str, ordinal: float) -> Json:
    weight = {"url": f"{SD}/ordinalValue", "valueDecimal": ordinal}
    return {
        "valueCoding": {"system": LOINC, "code": code, "display": display, "extension": [weight]}
    }


FREQUENCY = [
    option("LA6568-5", "Not at all", 0),
    option("LA6569-3", "Several days", 1),
    option("LA6570-1", "More than half the days", 2),
    option("LA6571-9", "Nearly every day", 3),
]


def questionnaire(**changed: object) -> Json:
    """Two scored items, a question that rests on them, and a total that is calculated there."""
    found: Json = {
        "resourceType": "Questionnaire",
        "url": "http://example.org/Questionnaire/two-questions",
        "name": "TwoQuestions",
        "version": "2.1",
        "title": "Two questions",
        "language": "en-US",
        "status": "active",
        "publisher": "Example Press",
        "copyright": "Copyright Example Press",
        "code": [{"system": LOINC, "code": "55757-9"}],
        "item": [
            {"linkId": "head", "type": "display", "text": "Please answer."},
            {
                "linkId": "g",
                "type": "group",
                "text": "Over the last 2 weeks",
                "item": [
                    {
                        "linkId": "/44250-9",
                        "code": [{"system": LOINC, "code": "44250-9"}],
                        "prefix": "1",
                        "text": "Item 1",
                        "type": "choice",
                        "required": True,
                        "answerOption": FREQUENCY,
                    },
                    {
                        "linkId": "/44255-8",
                        "text": "Item 2",
                        "type": "choice",
                        "required": True,
                        "answerOption": FREQUENCY,
                    },
                ],
            },
            {
                "linkId": "why",
                "text": "Why?",
                "type": "text",
                "maxLength": 80,
                "enableBehavior": "any",
                "enableWhen": [
                    {
                        "question": "/44250-9",
                        "operator": "=",
                        "answerCoding": {"system": LOINC, "code": "LA6571-9"},
                    },
                    {
                        "question": "/44255-8",
                        "operator": "=",
                        "answerCoding": {"system": LOINC, "code": "LA6571-9"},
                    },
                ],
            },
            {
                "linkId": "total",
                "text": "Total",
                "type": "integer",
                "readOnly": True,
                "extension": [
                    {
                        "url": "http://hl7.org/fhir/uv/sdc/StructureDefinition/"
                        "sdc-questionnaire-calculatedExpression",
                        "valueExpression": {"language": "text/fhirpath", "expression": "1 + 1"},
                    }
                ],
            },
        ],
    }
    return copy.deepcopy(found | changed)


SUPPLEMENT: Json = {
    "license": {"evidence_file": "contract-17.pdf"},
    "items": [{"id": "q44255_8", "safety": True}],
    "scores": [
        {"id": "sum", "items": ["q44250_9", "q44255_8"], "range": [0, 6], "loinc": "55758-7"}
    ],
    "flags": [
        {
            "id": "endorsed",
            "when": {"item": "q44255_8", "op": ">=", "value": 1},
            "kind": "safety",
            "tier": "urgent",
            "code": "endorsed",
        }
    ],
}


def translated(source: Json, supplement: Json | None = None) -> Translated:
    return translate(source, SUPPLEMENT if supplement is None else supplement)


def test_a_questionnaire_becomes_a_definition_that_asks_and_scores() -> None:
    instrument = load(translated(questionnaire()).definition)

    assert (instrument.key, instrument.version, instrument.loinc) == (
        "two-questions",
        "2.1.0",
        "55757-9",
    )
    assert instrument.instruction == "Please answer."
    first, second, why = instrument.items
    assert (first.id, first.no, first.stem, first.loinc, first.required) == (
        "q44250_9",
        "1",
        "Over the last 2 weeks",
        "44250-9",
        True,
    )
    # Both items offer the same answers, which are kept once and named by their ordinals.
    assert first.set == second.set
    assert [(o.value, o.loinc) for o in instrument.options(first)] == [
        (0, "LA6568-5"),
        (1, "LA6569-3"),
        (2, "LA6570-1"),
        (3, "LA6571-9"),
    ]
    assert (why.type, why.max_length, why.scored) == (ItemType.TEXT, 80, False)
    assert score(instrument, {"q44250_9": 3, "q44255_8": 2})[0].value == 5
    assert flags_at_answer(instrument, "q44255_8", {"q44255_8": 1})
    assert instrument.license.attribution == "Copyright Example Press"
    assert any("LOINC is copyright" in notice for notice in instrument.license.notices)


def test_conditions_are_those_of_the_questionnaire() -> None:
    why = load(translated(questionnaire()).definition).items[2]
    written = translated(questionnaire()).definition["items"][2]["visible_when"]
    assert written == {
        "any": [
            {"item": "q44250_9", "op": "==", "value": 3},
            {"item": "q44255_8", "op": "==", "value": 3},
        ]
    }
    assert why.visible_when is not None


def test_the_condition_of_a_group_is_that_of_its_questions() -> None:
    source = questionnaire()
    source["item"][1]["enableWhen"] = [
        {"question": "why", "operator": "exists", "answerBoolean": False}
    ]
    source["item"][2] |= {"enableWhen": []}
    items = translated(source).definition["items"]
    assert items[0]["visible_when"] == items[1]["visible_when"] == {"not": {"answered": "why"}}


def test_answers_may_come_from_a_contained_value_set_and_be_words_with_a_worth() -> None:
    concepts = [
        {"code": "no", "display": "No", "extension": [weight(0)]},
        {"code": "some", "display": "Some", "extension": [weight(1.5)]},
        {"code": "declined", "display": "Declined"},
    ]
    value_set = {
        "resourceType": "ValueSet",
        "id": "vs",
        "compose": {"include": [{"system": "urn:x", "concept": concepts}]},
    }
    items = [{"linkId": "a", "text": "A", "type": "choice", "answerValueSet": "#vs"}]
    source = questionnaire(contained=[value_set], item=items, code=[])
    form = load(translate(source, {"license": {}}).definition)
    assert [(o.value, o.counts_as) for o in form.options(form.items[0])] == [
        ("no", 0),
        ("some", Decimal("1.5")),
        ("declined", None),
    ]


def weight(value: float) -> Json:
    return {"url": f"{SD}/ordinalValue", "valueDecimal": value}


def test_numbers_have_ranges_and_a_slider_is_a_line() -> None:
    items = [
        {
            "linkId": "n",
            "text": "Days",
            "type": "integer",
            "extension": [
                {"url": f"{SD}/minValue", "valueInteger": 0},
                {"url": f"{SD}/maxValue", "valueInteger": 30},
                {"url": f"{SD}/questionnaire-unit", "valueCoding": {"code": "d"}},
            ],
        },
        {
            "linkId": "line",
            "text": "Line",
            "type": "decimal",
            "extension": [
                {"url": f"{SD}/minValue", "valueDecimal": 0.0},
                {"url": f"{SD}/maxValue", "valueDecimal": 10.0},
                {"url": f"{SD}/questionnaire-sliderStepValue", "valueInteger": 1},
                {
                    "url": f"{SD}/questionnaire-itemControl",
                    "valueCodeableConcept": {"coding": [{"code": "slider"}]},
                },
            ],
        },
    ]
    days, line = load(translate(questionnaire(item=items), {"license": {}}).definition).items
    assert days.numeric is not None
    assert (days.type, days.numeric.max, days.numeric.unit) == (ItemType.INTEGER, 30, "d")
    assert line.numeric is not None
    assert (line.type, line.numeric.step) == (ItemType.VAS, 1)


Spoil = Callable[[Json], object]
REFUSED: dict[str, tuple[Spoil, str, str]] = {
    "another resource": (
        lambda q: q.update(resourceType="Patient"),
        "/resourceType",
        "not_a_questionnaire",
    ),
    "a type that we cannot ask": (
        lambda q: q["item"][2].update(type="attachment"),
        "/item/2/type",
        "type_not_supported",
    ),
    "several answers to one question": (
        lambda q: q["item"][1]["item"][0].update(repeats=True),
        "/item/1/item/0/repeats",
        "repeats_not_supported",
    ),
    "a condition on a question that does not exist": (
        lambda q: q["item"][2]["enableWhen"][0].update(question="nowhere"),
        "/item/2/enableWhen/0/question",
        "unknown_item",
    ),
    "a condition on an answer that is not offered": (
        lambda q: q["item"][2]["enableWhen"][1].update(answerCoding={"code": "LA1-1"}),
        "/item/2/enableWhen/1/answerCoding",
        "answer_not_supported",
    ),
    "conditions that do not say how they combine": (
        lambda q: q["item"][2].pop("enableBehavior"),
        "/item/2/enableBehavior",
        "missing",
    ),
    "the same link twice": (
        lambda q: q["item"][2].update(linkId="g"),
        "/item/2/linkId",
        "duplicate_id",
    ),
    "answers that are somewhere else": (
        lambda q: (
            q["item"][1]["item"][1].pop("answerOption"),
            q["item"][1]["item"][1].update(answerValueSet="http://example.org/vs"),
            q["item"][2].pop("enableWhen"),
        ),
        "/item/1/item/1/answerValueSet",
        "value_set_is_not_contained",
    ),
    "a choice without answers": (
        lambda q: (q["item"][1]["item"][1].pop("answerOption"), q["item"][2].pop("enableWhen")),
        "/item/1/item/1/answerOption",
        "missing",
    ),
    "what changes the meaning in a way that we do not know": (
        lambda q: q.update(modifierExtension=[{"url": "urn:x"}]),
        "/modifierExtension",
        "modifier_extension",
    ),
}


@pytest.mark.parametrize(("spoil", "place", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_asked_faithfully_is_refused_with_its_place(
    spoil: Spoil, place: str, reason: str
) -> None:
    source = questionnaire()
    spoil(source)
    with pytest.raises(InvalidDefinition) as refused:
        translated(source)
    assert (place, reason) in {(fault.place, fault.reason) for fault in refused.value.faults}


def test_a_mistake_found_later_leads_back_to_where_it_was_written() -> None:
    source = questionnaire()
    source["item"][1]["item"][1]["code"] = [{"system": LOINC, "code": "44255-7"}]
    found = translated(source, SUPPLEMENT | {"flags": [SUPPLEMENT["flags"][0] | {"tier": "soon"}]})

    with pytest.raises(InvalidDefinition) as refused:
        load(found.definition)
    assert [found.place(fault.place) for fault in refused.value.faults] == [
        "/supplement/flags/0/tier"
    ]

    with pytest.raises(InvalidDefinition) as refused:
        load(translated(source).definition)
    assert [found.place(fault.place) for fault in refused.value.faults] == [
        "/definition/item/1/item/1"
    ]


NAMES = (
    "item linkId type text enableWhen question answerOption code coding valueCoding extension url"
    " operator answerCoding compose answerValueSet contained include concept id version prefix"
)
json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=5)
    ),
    max_leaves=25,
)


@given(json, json, json)
def test_no_document_is_met_with_anything_but_its_faults(
    items: object, rest: object, more: object
) -> None:
    source = questionnaire(item=items, contained=rest, code=rest, version=rest)
    supplement = {"license": more, "items": more, "scores": more}
    with pytest.raises(InvalidDefinition) as refused:
        load(translate(source, supplement).definition)
    assert refused.value.faults


@given(st.integers(0, 5), st.sampled_from(["type", "answerOption", "enableWhen", "code"]), json)
def test_no_part_of_a_question_breaks_the_reader(number: int, part: str, value: object) -> None:
    source = questionnaire()
    flat = [source["item"][0], source["item"][1], *source["item"][1]["item"], *source["item"][2:]]
    flat[number][part] = value
    # Whatever it is, it is understood, or refused; another exception is a failure of the test.
    with suppress(InvalidDefinition):
        assert load(translated(source).definition).items
