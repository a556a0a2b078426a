"""The format holds every structure that an operator may load (clinical reference, 1.16).

The wording of those instruments is not ours to ship, so the items here have none.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from app.domain.instruments import AnswerValue, Instrument, dump, load
from app.domain.scoring import Score, check_answer, score

Raw = dict[str, Any]
YES = {"op": "==", "value": True}


def items(count: int, **each: object) -> list[Raw]:
    return [{"id": f"q{n}", "text": f"Item {n}", **each} for n in range(1, count + 1)]


def scale(low: int, high: int) -> dict[str, list[Raw]]:
    return {"s": [{"value": value, "label": str(value)} for value in range(low, high + 1)]}


def total(count: int, low: object, high: object, **more: object) -> Raw:
    ids = [f"q{n}" for n in range(1, count + 1)]
    return {"id": "total", "items": ids, "range": [low, high], **more}


def definition(**parts: object) -> Instrument:
    raw: Raw = {
        "key": "loaded",
        "version": "1.0.0",
        "title": "Loaded by the operator",
        "language": "en-US",
        "license": {
            "position": "Licensed.",
            "holder": "Somebody",
            "attribution": "Somebody",
            "evidence_file": "contract-17.pdf",
            "expires_on": "2030-01-01",
        },
        **parts,
    }
    loaded = load(raw)
    assert load(dump(loaded)) == loaded
    return loaded


def by_id(instrument: Instrument, answers: Mapping[str, AnswerValue | None]) -> dict[str, Score]:
    return {each.id: each for each in score(instrument, answers)}


# C-SSRS screener: five levels of ideation, 3 to 5 only after a yes to 2, and behavior.
def ideation() -> Instrument:
    asked_after_two = {"visible_when": {"item": "q2", **YES}}
    questions = items(5, type="boolean", scored=False, safety=True)
    questions[2:] = [question | asked_after_two for question in questions[2:]]
    behavior = [
        {"id": "lifetime", "text": "Item 6", "type": "boolean", "scored": False, "safety": True},
        {
            "id": "recent",
            "text": "Item 7",
            "type": "boolean",
            "scored": False,
            "safety": True,
            "visible_when": {"item": "lifetime", **YES},
        },
    ]
    high = {"any": [{"item": name, **YES} for name in ("q4", "q5", "recent")]}
    moderate = {"any": [{"item": name, **YES} for name in ("q3", "lifetime")]}
    low = {"any": [{"item": name, **YES} for name in ("q1", "q2")]}
    return definition(
        informant="clinician",
        items=[*questions, *behavior],
        scores=[
            {
                "id": "level",
                "method": "algorithm",
                "items": ["q1", "q2", "q3", "q4", "q5", "lifetime", "recent"],
                "range": [0, 3],
                "cases": [
                    {"when": high, "value": 3},
                    {"when": moderate, "value": 2},
                    {"when": low, "value": 1},
                ],
                "otherwise": 0,
                "bands": [
                    {"min": n, "max": n, "code": code, "label": code}
                    for n, code in enumerate(("none", "low", "moderate", "high"))
                ],
            }
        ],
        flags=[
            {
                "id": "plan",
                "when": {"item": "q5", **YES},
                "kind": "safety",
                "tier": "acute",
                "code": "plan_made",
            }
        ],
    )


NO_IDEATION = dict.fromkeys(("q1", "q2", "q3", "q4", "q5", "lifetime", "recent"), False)


@pytest.mark.parametrize(
    ("changed", "band"),
    [
        ({}, "none"),
        ({"q1": True}, "low"),
        ({"q2": True}, "low"),
        ({"q2": True, "q3": True}, "moderate"),
        ({"lifetime": True}, "moderate"),
        ({"q2": True, "q4": True}, "high"),
        ({"q2": True, "q5": True}, "high"),
        ({"lifetime": True, "recent": True}, "high"),
        ({"q1": None}, None),
    ],
)
def test_levels_with_skip_logic_take_the_highest(
    changed: dict[str, bool | None], band: str | None
) -> None:
    answers = {**NO_IDEATION, **changed}
    assert by_id(ideation(), answers)["level"].band == band


def test_levels_that_were_skipped_are_no_unknown() -> None:
    shown = {"q1": False, "q2": False, "lifetime": False}
    result = by_id(ideation(), shown)["level"]
    # What the form does not ask stays open to the cases, which decide by what was asked.
    assert (result.band, result.missing) == ("none", 0)


def test_a_blank_for_the_therapists_name_is_a_placeholder() -> None:
    working = definition(
        placeholders=["therapist"],
        items=[{"id": "q1", "text": "About {{therapist}}", "set": "s"}],
        response_sets=scale(1, 5),
        scores=[total(1, 1, 5, direction="higher_better")],
    )
    assert working.placeholders == ("therapist",)


def test_lines_are_marked_to_one_decimal() -> None:
    line = {"min": 0, "max": 10, "step": 0.1, "min_label": "Low", "max_label": "High"}
    ors = definition(
        items=items(4, type="vas", numeric=line),
        scores=[
            total(
                4,
                0,
                40,
                direction="higher_better",
                round="none",
                by={
                    "attribute": "age_band",
                    "of": {
                        "adult": {"cutoffs": [cutoff("<=", 25)]},
                        "adolescent": {"cutoffs": [cutoff("<=", 28)]},
                        "unknown": {"cutoffs": [cutoff("<=", 28)]},
                    },
                },
            )
        ],
        change={"reliable": 5, "source": {"reliable": "test", "response": "test"}},
    )
    marks: dict[str, AnswerValue | None] = dict.fromkeys(("q1", "q2", "q3", "q4"), Decimal("6.6"))
    (adult,) = score(ors, marks, {"age_band": "adult"})
    (unknown,) = score(ors, marks)
    assert (adult.value, adult.cutoffs_met) == (Decimal("26.4"), ())
    assert unknown.cutoffs_met == ("clinical",)
    assert check_answer(ors, "q1", Decimal("6.65")) == "off_the_scale"
    assert check_answer(ors, "q1", Decimal("10.1")) == "out_of_range"
    assert check_answer(ors, "q1", 7) is None


def cutoff(op: str, value: float) -> Raw:
    return {"op": op, "value": value, "meaning": "clinical", "source": "test"}


# LOCUS: a composite of 7 ratings, a level by table, and a rating that overrides it.
def locus() -> Instrument:
    overrides = [f"q{n}" for n in (1, 2, 3)]

    def composite(value: int) -> Raw:
        return {"score": "total", "op": ">=", "value": value}

    return definition(
        informant="clinician",
        items=items(7, set="s"),
        response_sets=scale(1, 5),
        scores=[
            total(7, 7, 35),
            {
                "id": "level",
                "method": "algorithm",
                "items": [f"q{n}" for n in range(1, 8)],
                "range": [0, 6],
                "cases": [
                    {
                        "when": {"any": [{"item": i, "op": "==", "value": 5} for i in overrides]},
                        "value": 6,
                    },
                    {"when": composite(28), "value": 6},
                    {
                        "when": {"any": [{"item": i, "op": "==", "value": 4} for i in overrides]},
                        "value": 5,
                    },
                    *(
                        {"when": composite(low), "value": level}
                        for low, level in ((23, 5), (20, 4), (17, 3), (14, 2), (10, 1))
                    ),
                ],
                "otherwise": 0,
            },
        ],
    )


@pytest.mark.parametrize(
    ("ratings", "level"),
    [
        ((1,) * 7, 0),
        ((2, 2, 2, 1, 1, 1, 1), 1),
        ((3, 3, 3, 2, 2, 2, 2), 3),
        ((4, 1, 1, 1, 1, 1, 1), 5),
        ((1, 1, 5, 1, 1, 1, 1), 6),
        ((5,) * 7, 6),
        ((3, 3, 3, 2, 2, 2, None), None),
    ],
)
def test_a_level_may_rest_on_a_score_and_be_overridden(
    ratings: tuple[int | None, ...], level: int | None
) -> None:
    answers = {f"q{n}": rating for n, rating in enumerate(ratings, 1)}
    assert by_id(locus(), answers)["level"].value == level


def test_symbolic_ratings_are_worth_the_level_that_they_ask_for() -> None:
    ratings = [
        {"value": "0", "label": "0", "worth": 0},
        {"value": "A", "label": "A", "worth": 2.1},
        {"value": "B", "label": "B", "worth": 3.5},
    ]
    asam = definition(
        items=items(3, set="s"),
        response_sets={"s": ratings},
        scores=[total(3, 0, 3.5, method="max", round="none")],
    )
    assert by_id(asam, {"q1": "0", "q2": "B", "q3": "A"})["total"].value == Decimal("3.5")
    assert by_id(asam, {"q1": "0", "q2": "B"})["total"].value is None


def test_a_word_without_a_worth_is_a_blank_to_the_score() -> None:
    options = [
        {"value": "no", "label": "No", "worth": 0},
        {"value": "yes", "label": "Yes", "worth": 1},
        {"value": "declined", "label": "Declined"},
    ]
    form = definition(
        items=items(2, set="s"), response_sets={"s": options}, scores=[total(2, 0, 2)]
    )
    assert by_id(form, {"q1": "yes", "q2": "no"})["total"].value == 1
    assert by_id(form, {"q1": "yes", "q2": "declined"})["total"].value is None


def test_one_item_of_ten_yes_and_no_is_reversed() -> None:
    questions = items(10, type="boolean")
    questions[2]["reverse"] = True
    dast = definition(items=questions, scores=[total(10, 0, 10)])
    assert by_id(dast, {f"q{n}": False for n in range(1, 11)})["total"].value == 1
    assert by_id(dast, {f"q{n}": n == 3 for n in range(1, 11)})["total"].value == 0


def test_a_raw_sum_becomes_a_percentage() -> None:
    who5 = definition(
        items=items(5, set="s"),
        response_sets=scale(0, 5),
        scores=[total(5, 0, 100, multiply=4, direction="higher_better")],
    )
    assert by_id(who5, dict.fromkeys(("q1", "q2", "q3", "q4", "q5"), 5))["total"].value == 100


def test_a_mean_of_likert_items_is_multiplied() -> None:
    tcu = definition(
        items=items(4, set="s"),
        response_sets=scale(1, 5),
        scores=[
            total(4, 10, 50, method="mean", multiply=10, missing={"max": 2, "policy": "prorate"})
        ],
    )
    assert by_id(tcu, {"q1": 2, "q2": 3})["total"].value == 25


def test_a_raw_sum_is_looked_up() -> None:
    table = [[raw, 30 + 4.5 * raw] for raw in range(2, 11)]
    promis = definition(
        items=items(2, set="s"),
        response_sets=scale(1, 5),
        scores=[
            total(
                2,
                39,
                75,
                method="lookup",
                table=table,
                round="none",
                missing={"max": 1, "policy": "prorate"},
            )
        ],
    )
    assert by_id(promis, {"q1": 1, "q2": 2})["total"].value == Decimal("43.5")
    prorated = by_id(promis, {"q1": 4})["total"]
    assert (prorated.value, prorated.is_prorated) == (66, True)


def test_items_are_weighted_and_shifted() -> None:
    basis = definition(
        items=items(3, set="s"),
        response_sets=scale(0, 4),
        scores=[
            total(
                3,
                1,
                9,
                method="weighted",
                weights={"q1": 0.5, "q2": 1, "q3": 0.5},
                add=1,
                round="none",
                missing={"max": 1, "policy": "prorate"},
            )
        ],
    )
    assert by_id(basis, {"q1": 4, "q2": 1, "q3": 2})["total"].value == 5
    # Half of the weight is answered, so its share counts twice.
    assert by_id(basis, {"q1": 4, "q2": None, "q3": 2})["total"].value == 7


def test_difference_weights_need_every_item() -> None:
    form = definition(
        items=items(2, set="s"),
        response_sets=scale(0, 4),
        scores=[total(2, -4, 4, method="weighted", weights={"q1": 1, "q2": -1})],
    )
    assert by_id(form, {"q1": 1, "q2": 4})["total"].value == -3
    assert by_id(form, {"q1": 1})["total"].value is None
