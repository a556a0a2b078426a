"""A definition is judged as a whole before anyone is asked a question with it."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.domain.instruments import (
    AnswerValue,
    Facts,
    Fault,
    InvalidDefinition,
    ItemType,
    definition_schema,
    dump,
    holds,
    is_asked,
    load,
    shipped,
)
from app.domain.instruments.expressions import AllOf, Answered, AnyOf, ItemIs, Not, Operator
from app.domain.instruments.loinc import is_loinc
from app.domain.instruments.patterns import is_pattern, matches
from scripts.write_instrument_schema import SCHEMA, rendered

Raw = dict[str, Any]


def definition(key: str = "phq-9") -> Raw:
    file = resources.files("app") / "instruments" / f"{key}.json"
    raw: Raw = json.loads(file.read_text(encoding="utf-8"))
    return copy.deepcopy(raw)


FREE = {
    "asq",
    "audit-c",
    "bam",
    "core-10",
    "gad-2",
    "gad-7",
    "k6",
    "pc-ptsd-5",
    "pcl-5",
    "phq-15",
    "phq-2",
    "phq-4",
    "phq-8",
    "phq-9",
    "readiness",
    "rulers",
    "session-check-in",
    "socrates-8a",
    "socrates-8d",
}


def test_the_catalogue_holds_what_ships_and_says_what_is_conditional() -> None:
    assert {key for key, each in shipped().items() if each.ship == "yes"} == FREE
    conditional = {key: each for key, each in shipped().items() if each.ship == "conditional"}
    assert set(conditional) == {"audit", "dass-21"}
    assert all(each.license.condition for each in conditional.values())


def test_a_definition_cannot_be_changed_after_loading() -> None:
    phq9 = shipped()["phq-9"]
    with pytest.raises(AttributeError):
        phq9.title = "Other"  # type: ignore[misc]  # the point of the test
    with pytest.raises(TypeError):
        phq9.response_sets["freq4"] = ()  # type: ignore[index]  # the point of the test


def test_published_wording_codes_and_order_are_kept() -> None:
    phq9, gad7 = shipped()["phq-9"], shipped()["gad-7"]
    assert [item.loinc for item in phq9.items] == [
        "44250-9",
        "44255-8",
        "44259-0",
        "44254-1",
        "44251-7",
        "44258-2",
        "44252-5",
        "44253-3",
        "44260-8",
        "69722-7",
    ]
    assert phq9.items[8].text == (
        "Thoughts that you would be better off dead or of hurting yourself in some way"
    )
    # The panel, the total and item 9 are swapped often; so are these two answer codes.
    assert (phq9.loinc, phq9.scores[0].loinc) == ("44249-1", "44261-6")
    assert [o.loinc for o in phq9.response_sets["diff4"]][2:] == ["LA6575-0", "LA6574-3"]
    assert (gad7.loinc, gad7.scores[0].loinc) == ("69737-5", "70274-6")
    assert gad7.response_sets["freq4"][0].label == "Not at all"


@pytest.mark.parametrize("key", ["readiness", "rulers", "session-check-in"])
def test_project_authored_instruments_say_that_they_are_not_validated(key: str) -> None:
    instrument = shipped()[key]
    assert not instrument.is_validated
    assert "Not a validated instrument." in instrument.license.notices


@pytest.mark.parametrize("key", ["phq-9", "gad-7", "phq-2", "phq-4", "phq-8", "phq-15", "gad-2"])
def test_free_instruments_carry_their_attribution(key: str) -> None:
    assert shipped()[key].license.attribution.endswith(
        "No permission required to reproduce, translate, display or distribute."
    )


@pytest.mark.parametrize("key", sorted(shipped()))
def test_a_definition_survives_being_written_and_read_again(key: str) -> None:
    instrument = shipped()[key]
    assert load(json.loads(json.dumps(dump(instrument)))) == instrument


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1.5", Decimal("1.5")),
        ("0.1", Decimal("0.1")),
        ("2", 2),
        ("true", True),
        ('"2"', "2"),
        ('"1.5"', "1.5"),
        ('"yes"', "yes"),
    ],
)
def test_a_number_is_a_number_and_text_stays_text(written: str, read: AnswerValue) -> None:
    answer: TypeAdapter[AnswerValue] = TypeAdapter(AnswerValue)
    for strict in (True, False):
        found = answer.validate_json(written, strict=strict)
        assert (type(found), found) == (type(read), read)
    assert answer.dump_json(read).decode() == written


Spoil = Callable[[Raw], object]

SPOILED: Mapping[str, tuple[Spoil, str, str]] = {
    "unknown item in a score": (
        lambda raw: raw["scores"][0]["items"].append("q99"),
        "/scores/0/items/9",
        "unknown_item",
    ),
    "unscored item in a score": (
        lambda raw: raw["scores"][0]["items"].append("q10"),
        "/scores/0/items/9",
        "item_is_not_scored",
    ),
    "text in a score": (
        lambda raw: raw["items"][0].update(type="text", set=None),
        "/scores/0/items/0",
        "item_is_not_scored",
    ),
    "yes and no in a score of threes": (
        lambda raw: raw["items"][0].update(type="boolean", set=None),
        "/scores/0/range",
        "range_disagrees_with_items",
    ),
    "a blank that counts as an answer nobody can give": (
        lambda raw: (
            raw["items"][0].update(type="integer", set=None, numeric={"min": 1, "max": 3}),
            raw["scores"][0]["missing"].update(policy="zero"),
        ),
        "/scores/0/missing/policy",
        "zero_is_no_answer",
    ),
    "gate on an unknown item": (
        lambda raw: raw["items"][0].update(
            gate={"kind": "hard", "code": "x", "passes_when": {"answered": "q99"}}
        ),
        "/items/0/gate/passes_when",
        "unknown_item",
    ),
    "item twice in a score": (
        lambda raw: raw["scores"][0]["items"].append("q1"),
        "/scores/0/items/9",
        "duplicate_item",
    ),
    "gap between bands": (
        lambda raw: raw["scores"][0]["bands"][1].update(min=6),
        "/scores/0/bands/1",
        "gap_between_bands",
    ),
    "overlapping bands": (
        lambda raw: raw["scores"][0]["bands"][1].update(min=4),
        "/scores/0/bands/1",
        "overlapping_bands",
    ),
    "bands that end early": (
        lambda raw: raw["scores"][0]["bands"].pop(),
        "/scores/0/bands",
        "bands_do_not_span_the_range",
    ),
    "band upside down": (
        lambda raw: raw["scores"][0]["bands"][0].update(max=-1),
        "/scores/0/bands/0",
        "empty_band",
    ),
    "range that the items cannot reach": (
        lambda raw: raw["scores"][0].update(range=[0, 30]),
        "/scores/0/range",
        "range_disagrees_with_items",
    ),
    "LOINC code of an item with a wrong check digit": (
        lambda raw: raw["items"][0].update(loinc="44250-8"),
        "/items/0/loinc",
        "invalid_loinc",
    ),
    "LOINC code of an answer with a wrong check digit": (
        lambda raw: raw["response_sets"]["freq4"][0].update(loinc="LA6568-3"),
        "/response_sets/freq4/0/loinc",
        "invalid_loinc",
    ),
    "LOINC codes without the notice": (
        lambda raw: raw["license"].update(notices=[]),
        "/license/notices",
        "loinc_notice_missing",
    ),
    "unknown response set": (
        lambda raw: raw["items"][0].update(set="freq5"),
        "/items/0/set",
        "unknown_response_set",
    ),
    "the same option twice": (
        lambda raw: raw["response_sets"]["freq4"][1].update(value=0),
        "/response_sets/freq4/1/value",
        "duplicate_value",
    ),
    "duplicate item": (lambda raw: raw["items"][1].update(id="q1"), "/items/1/id", "duplicate_id"),
    "item named like a score": (
        lambda raw: raw["scores"][1].update(id="q10"),
        "/scores/1/id",
        "duplicate_id",
    ),
    "duplicate flag": (
        lambda raw: raw["flags"][1].update(id="si_any"),
        "/flags/1/id",
        "duplicate_id",
    ),
    "flag on an unknown item": (
        lambda raw: raw["flags"][3].update(when={"item": "q99", "op": ">=", "value": 1}),
        "/flags/3/when",
        "unknown_item",
    ),
    "flag on an unknown score": (
        lambda raw: raw["flags"][3].update(when={"not": {"score": "t", "op": ">=", "value": 1}}),
        "/flags/3/when",
        "unknown_score",
    ),
    "flag on an unknown delta": (
        lambda raw: raw["flags"][4]["when"].update(delta="t"),
        "/flags/4/when",
        "unknown_item_or_score",
    ),
    "ordering of words": (
        lambda raw: raw["flags"][3].update(when={"item": "q1", "op": ">=", "value": "much"}),
        "/flags/3/when",
        "ordering_needs_a_number",
    ),
    "safety flag that waits for the total": (
        lambda raw: raw["flags"][3].update(kind="safety"),
        "/flags/3/when",
        "safety_flag_waits_for_a_score",
    ),
    "safety flag on an item that is not marked": (
        lambda raw: raw["items"][8].update(safety=False),
        "/flags/0/when",
        "safety_flag_needs_safety_items",
    ),
    "safety item that may be skipped": (
        lambda raw: raw["items"][8].update(required=False),
        "/items/8/required",
        "safety_item_optional",
    ),
    "scored item that may be hidden": (
        lambda raw: raw["items"][1].update(visible_when={"answered": "q1"}),
        "/items/1/hidden_worth",
        "hidden_item_scored",
    ),
    "prorating from nothing": (
        lambda raw: raw["scores"][0]["missing"].update(max=9),
        "/scores/0/missing/max",
        "nothing_need_be_answered",
    ),
    "a policy that contradicts itself": (
        lambda raw: raw["scores"][1]["missing"].update(max=1),
        "/scores/1/missing/max",
        "invalid_allows_none",
    ),
    "maximum that prorates": (
        lambda raw: raw["scores"][0].update(method="max"),
        "/scores/0/missing/policy",
        "method_cannot_prorate",
    ),
    "count without a threshold": (
        lambda raw: raw["scores"][0].update(method="count_ge"),
        "/scores/0/threshold",
        "threshold_belongs_to_count_ge",
    ),
    "change of an unknown score": (
        lambda raw: raw["change"].update(score="sum"),
        "/change/score",
        "unknown_score",
    ),
    "change figure without a source": (
        lambda raw: raw["change"]["source"].pop("mcid"),
        "/change/mcid",
        "figure_without_source",
    ),
    "key that nobody knows": (
        lambda raw: raw.update(colour="red"),
        "/colour",
        "unexpected_keyword_argument",
    ),
    "version that is no version": (
        lambda raw: raw.update(version="1"),
        "/version",
        "string_pattern_mismatch",
    ),
    "number item without a range": (
        lambda raw: raw["items"][9].update(type="integer", set=None),
        "/items/9/numeric",
        "range_missing",
    ),
    "text item with a range": (
        lambda raw: raw["items"][9].update(type="text", set=None, numeric={"min": 0, "max": 1}),
        "/items/9/numeric",
        "range_of_a_non_number",
    ),
    "range without room": (
        lambda raw: raw["items"][9].update(type="integer", set=None, numeric={"min": 1, "max": 1}),
        "/items/9/numeric",
        "empty_range",
    ),
    "text item with a response set": (
        lambda raw: raw["items"][9].update(type="text"),
        "/items/9/set",
        "set_of_a_non_choice_item",
    ),
    "condition that rests on itself": (
        lambda raw: (
            raw["items"][9].update(visible_when={"answered": "q11"}),
            raw["items"].append(
                {"id": "q11", "text": "?", "type": "text", "visible_when": {"answered": "q10"}}
            ),
        ),
        "/items/9/visible_when",
        "visibility_cycle",
    ),
    "branch on an answer that nobody can give": (
        lambda raw: raw["items"][9].update(visible_when={"item": "q1", "op": ">=", "value": 4}),
        "/items/9/visible_when",
        "unreachable_branch",
    ),
    "branch that contradicts itself": (
        lambda raw: raw["items"][9].update(
            visible_when={
                "all": [
                    {"item": "q1", "op": "==", "value": 0},
                    {"at_least": 1, "of": [{"item": "q1", "op": "in", "value": [2, 3]}]},
                ]
            }
        ),
        "/items/9/visible_when",
        "unreachable_branch",
    ),
    "comparison that is cut short": (
        lambda raw: raw["items"][9].update(visible_when={"delta": "q1", "vs": "previous"}),
        "/items/9/visible_when/op",
        "missing",
    ),
    "branch on an earlier form": (
        lambda raw: raw["items"][9].update(
            visible_when={"item": "q1", "at": "previous", "op": "==", "value": 1}
        ),
        "/items/9/visible_when",
        "visibility_needs_answers",
    ),
    "worth of being hidden without a condition": (
        lambda raw: raw["items"][1].update(hidden_worth=0),
        "/items/1/hidden_worth",
        "item_is_never_hidden",
    ),
    "flag that nothing raises": (
        lambda raw: raw["flags"][1].update(when={"item": "q9", "op": "==", "value": "daily"}),
        "/flags/1/when",
        "flag_is_never_raised",
    ),
    "more symptoms than there are": (
        lambda raw: raw["flags"][3].update(when={"at_least": 2, "of": [{"answered": "q1"}]}),
        "/flags/3/when",
        "more_than_there_are",
    ),
    "reversal without a range": (
        lambda raw: raw["items"][9].update(type="text", set=None, reverse=True),
        "/items/9/reverse",
        "reverse_without_range",
    ),
    "blank that nobody announced": (
        lambda raw: raw["items"][9].update(text="How well did {{therapist}} listen?"),
        "/items/9/text",
        "unknown_placeholder",
    ),
    "placeholder without a blank": (
        lambda raw: raw.update(placeholders=["therapist"]),
        "/placeholders/0",
        "unused_placeholder",
    ),
    "setting of nothing": (
        lambda raw: raw.update(settings=[{"at": "/scores/9/range", "note": "?"}]),
        "/settings/0/at",
        "setting_of_nothing",
    ),
    "weights of a sum": (
        lambda raw: raw["scores"][1].update(weights={"q1": 1, "q2": 2}),
        "/scores/1/weights",
        "weights_belongs_to_weighted",
    ),
    "weights that forget an item": (
        lambda raw: raw["scores"][1].update(method="weighted", weights={"q1": 2}),
        "/scores/1/weights",
        "weights_disagree_with_items",
    ),
    "weights that cannot prorate": (
        lambda raw: raw["scores"][1].update(
            method="weighted",
            weights={"q1": 1, "q2": -1},
            range=[-3, 3],
            missing={"max": 1, "policy": "prorate"},
        ),
        "/scores/1/missing/policy",
        "weights_cannot_prorate",
    ),
    "table with a gap": (
        lambda raw: raw["scores"][1].update(
            method="lookup", table=[[0, 30], [6, 70]], range=[30, 70]
        ),
        "/scores/1/table",
        "table_disagrees_with_items",
    ),
    "algorithm that reads a score of later": (
        lambda raw: raw["scores"][0].update(
            method="algorithm",
            cases=[{"when": {"score": "phq2", "op": ">=", "value": 3}, "value": 27}],
            otherwise=0,
            missing={},
        ),
        "/scores/0/cases/0/when",
        "unknown_score",
    ),
    "case that nothing meets": (
        lambda raw: raw["scores"][0].update(
            method="algorithm",
            cases=[{"when": {"item": "q1", "op": ">", "value": 3}, "value": 27}],
            otherwise=0,
            missing={},
        ),
        "/scores/0/cases/0/when",
        "unreachable_branch",
    ),
    "reading that forgets the unknown": (
        lambda raw: raw["scores"][1].update(
            cutoffs=[], by={"attribute": "sex_at_birth", "of": {"female": {}, "male": {}}}
        ),
        "/scores/1/by/of",
        "unknown_is_not_read",
    ),
    "cut-off that nobody can reach": (
        lambda raw: raw["scores"][0]["cutoffs"][0].update(value=28),
        "/scores/0/cutoffs/0/value",
        "cutoff_out_of_range",
    ),
    "optional item of another score": (
        lambda raw: raw["scores"][1].update(optional=["q3"]),
        "/scores/1/optional/0",
        "unknown_item",
    ),
    "conditional without a condition": (
        lambda raw: raw.update(ship="conditional"),
        "/license/condition",
        "condition_belongs_to_conditional",
    ),
    "pattern that does not compile": (
        lambda raw: raw["items"][9].update(type="text", set=None, pattern="("),
        "/items/9/pattern",
        "invalid_pattern",
    ),
}


@pytest.mark.parametrize(("spoil", "place", "reason"), SPOILED.values(), ids=SPOILED.keys())
def test_a_definition_that_contradicts_itself_is_refused_with_its_place(
    spoil: Spoil, place: str, reason: str
) -> None:
    raw = definition()
    load(raw)
    spoil(raw)
    with pytest.raises(InvalidDefinition) as refused:
        load(raw)
    assert Fault(place, reason) in refused.value.faults


def test_every_mistake_is_named_at_once() -> None:
    raw = definition()
    raw["items"][0]["loinc"] = "44250-8"
    raw["scores"][0]["bands"][1]["min"] = 6
    raw["flags"][3]["when"]["score"] = "sum"

    with pytest.raises(InvalidDefinition) as refused:
        load(raw)

    assert {(fault.place, fault.reason) for fault in refused.value.faults} == {
        ("/items/0/loinc", "invalid_loinc"),
        ("/scores/0/bands/1", "gap_between_bands"),
        ("/flags/3/when", "unknown_score"),
    }


def test_the_place_of_a_wrong_value_leads_into_the_document() -> None:
    raw = definition()
    raw["flags"][0]["when"] = {"all": [{"item": "q9", "op": ">=", "value": {"secret": 1}}]}

    with pytest.raises(InvalidDefinition) as refused:
        load(raw)

    assert [fault.place for fault in refused.value.faults] == ["/flags/0/when/all/0/value"]
    assert "secret" not in str(refused.value)


def test_the_format_has_a_json_schema() -> None:
    schema = definition_schema()

    assert set(schema["required"]) == {"key", "version", "title", "language", "license", "items"}
    assert schema["additionalProperties"] is False


def test_an_expression_of_two_forms_is_refused() -> None:
    raw = definition()
    raw["flags"][0]["when"] = {"item": "q9", "score": "total", "op": ">=", "value": 1}
    with pytest.raises(InvalidDefinition, match=r"/flags/0/when"):
        load(raw)


def test_unrounded_scores_have_bands_that_touch() -> None:
    raw = definition()
    raw["flags"] = raw["settings"] = []
    raw["scores"] = [
        {
            "id": "total",
            "method": "mean",
            "items": ["q1", "q2"],
            "range": [0, 3],
            "round": "none",
            "bands": [
                {"min": 0, "max": 1.5, "code": "low", "label": "Low"},
                {"min": 1.5, "max": 3, "code": "high", "label": "High"},
            ],
        }
    ]
    (rule,) = load(raw).scores
    reached = [rule.reading({}).band(Decimal(text)) for text in ("1.49", "1.5", "3")]
    assert [band.code if band else None for band in reached] == ["low", "high", "high"]


@pytest.mark.parametrize(
    "code", ["44249-1", "44261-6", "70274-6", "69737-5", "LA6568-5", "LA6574-3", "LA6575-0"]
)
def test_published_loinc_codes_pass_and_every_other_digit_fails(code: str) -> None:
    body, check = code.split("-")
    assert [d for d in "0123456789" if is_loinc(f"{body}-{d}")] == [check]


@pytest.mark.parametrize(
    "code", ["93243-5", "", "44249", "44249-", "-1", "LA-5", "44249-1 ", "٤-4"]
)
def test_what_is_no_loinc_code_fails(code: str) -> None:
    assert not is_loinc(code)


def test_every_readiness_gate_is_decided_by_items_that_exist() -> None:
    readiness = shipped()["readiness"]
    gates = [item.gate for item in readiness.items if item.gate is not None]
    assert {gate.code for gate in gates} >= {
        "device_camera_mic",
        "private_space",
        "home_is_safe",
        "primary_location",
        "state_of_location",
        "local_emergency_numbers",
        "emergency_contact",
        "backup_phone",
        "reconnect_plan",
        "orientation_done",
        "minor_adult_on_premises",
    }
    assert {item.type for item in readiness.items} == {
        ItemType.CHOICE,
        ItemType.BOOLEAN,
        ItemType.TEXT,
        ItemType.DECIMAL,
    }


IS_ONE = ItemIs("q1", Operator.EQUAL, 1)
outcomes = st.sampled_from([None, 0, 1])


@given(outcomes, outcomes)
def test_unknown_is_neither_true_nor_false(first: int | None, second: int | None) -> None:
    facts = Facts({"q1": first, "q2": second})
    left, right = IS_ONE, ItemIs("q2", Operator.EQUAL, 1)
    known = first is not None and second is not None
    both, either = holds(AllOf((left, right)), facts), holds(AnyOf((left, right)), facts)
    if known:
        assert both == (first == 1 and second == 1)
        assert either == (first == 1 or second == 1)
    else:
        assert both in {False, None}
        assert either in {True, None}
        assert (both is False) is (0 in {first, second})
        assert (either is True) is (1 in {first, second})


@given(outcomes)
def test_not_twice_is_nothing_and_silence_is_never_a_fact(answer: int | None) -> None:
    facts = Facts({"q1": answer})
    assert holds(Not(Not(IS_ONE)), facts) is holds(IS_ONE, facts)
    assert (holds(Not(IS_ONE), facts) is None) is (answer is None)
    assert holds(Answered("q1"), facts) is (answer is not None)


@pytest.mark.parametrize(
    ("op", "expected"),
    [("==", [0, 1, 0]), ("!=", [1, 0, 1]), (">=", [0, 1, 1]), (">", [0, 0, 1]), ("<=", [1, 1, 0])],
)
def test_operators_compare_as_written(op: str, expected: list[int]) -> None:
    assert [Operator(op).compare(left, 5) for left in (4, 5, 6)] == [bool(e) for e in expected]


def test_words_have_no_order() -> None:
    assert not Operator.AT_LEAST.compare("b", "a")
    assert not Operator.BELOW.compare(1, "a")


def test_a_pattern_that_backtracks_elsewhere_is_matched_in_linear_time() -> None:
    assert is_pattern("(a+)+b")
    assert not matches("(a+)+b", "a" * 2_000)
    assert matches("(a+)+b", "aab")
    assert not matches("a|b", "ab")
    assert not matches("a", "a\n")
    assert not is_pattern(r"(a)\1")


def test_conditions_that_rest_on_each_other_say_nothing() -> None:
    phq9 = shipped()["phq-9"]
    first, second = (
        replace(phq9.items[n], visible_when=ItemIs(phq9.items[1 - n].id, Operator.EQUAL, 1))
        for n in (0, 1)
    )
    assert is_asked(replace(phq9, items=(first, second)), {"q1": 1}) == {"q1": None, "q2": None}


def test_a_long_chain_of_conditions_is_walked() -> None:
    phq9 = shipped()["phq-9"]
    chain = [
        replace(
            phq9.items[0],
            id=f"x{n}",
            visible_when=None if n == 0 else ItemIs(f"x{n - 1}", Operator.EQUAL, 1),
        )
        for n in range(200)
    ]
    form = replace(phq9, items=tuple(reversed(chain)))
    answers: dict[str, AnswerValue | None] = {f"x{n}": 1 for n in range(199)}
    assert all(is_asked(form, answers).values())
    assert is_asked(form, {**answers, "x0": 0})["x199"] is False


def test_the_schema_that_is_published_is_that_of_the_code() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == rendered(), (
        "run python -m scripts.write_instrument_schema"
    )
