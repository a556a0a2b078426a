"""Published vectors, and laws that hold for any answers."""

import copy
import json
from collections.abc import Sequence
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.domain.alerts import Tier
from app.domain.instruments import AnswerValue, FlagKind, Instrument, load, shipped
from app.domain.scoring import (
    Administration,
    Answers,
    ChangeClass,
    Score,
    changes,
    check_answer,
    flags,
    flags_at_answer,
    score,
    unanswered,
)

PHQ9, GAD7 = shipped()["phq-9"], shipped()["gad-7"]
READINESS, RULERS = shipped()["readiness"], shipped()["rulers"]


def phq9(*values: int | None) -> dict[str, AnswerValue | None]:
    return {f"q{number}": value for number, value in enumerate(values, start=1)}


def totalling(total: int, items: int) -> dict[str, AnswerValue | None]:
    """Spread a total over items worth 0 to 3 each."""
    return phq9(*(min(3, max(0, total - 3 * place)) for place in range(items)))


def by_id(instrument: Instrument, answers: Answers) -> dict[str, Score]:
    return {each.id: each for each in score(instrument, answers)}


def variant(**changed: object) -> Instrument:
    """PHQ-9 with other scores, for methods that no shipped instrument uses."""
    file = resources.files("app") / "instruments" / "phq-9.json"
    raw: dict[str, object] = copy.deepcopy(json.loads(file.read_text(encoding="utf-8")))
    raw |= {"flags": [], "change": None, "settings": [], **changed}
    return load(raw)


@pytest.mark.parametrize(
    ("total", "band", "positive"),
    [
        (0, "minimal", False),
        (4, "minimal", False),
        (5, "mild", False),
        (9, "mild", False),
        (10, "moderate", True),
        (14, "moderate", True),
        (15, "moderately_severe", True),
        (19, "moderately_severe", True),
        (20, "severe", True),
        (27, "severe", True),
    ],
)
def test_phq9_bands_and_cutoff_from_both_sides(
    total: int,
    band: str,
    positive: bool,  # noqa: FBT001 - a column of the table
) -> None:
    result = by_id(PHQ9, totalling(total, 9))["total"]
    assert (result.value, result.band, "positive_screen" in result.cutoffs_met) == (
        total,
        band,
        positive,
    )
    assert not result.is_prorated


@pytest.mark.parametrize(
    ("total", "band", "met"),
    [
        (0, "minimal", ()),
        (4, "minimal", ()),
        (5, "mild", ()),
        (7, "mild", ()),
        (8, "mild", ("caseness",)),
        (9, "mild", ("caseness",)),
        (10, "moderate", ("positive_screen", "caseness")),
        (14, "moderate", ("positive_screen", "caseness")),
        (15, "severe", ("positive_screen", "caseness")),
        (21, "severe", ("positive_screen", "caseness")),
    ],
)
def test_gad7_bands_and_cutoffs_from_both_sides(
    total: int, band: str, met: tuple[str, ...]
) -> None:
    result = by_id(GAD7, totalling(total, 7))["total"]
    assert (result.value, result.band, result.cutoffs_met) == (total, band, met)


@pytest.mark.parametrize(("total", "met"), [(1, 0), (2, 1), (3, 2), (6, 2)])
def test_phq2_has_two_published_cutoffs(total: int, met: int) -> None:
    assert len(by_id(PHQ9, totalling(total, 2))["phq2"].cutoffs_met) == met


def test_two_blank_items_prorate_and_three_make_no_score() -> None:
    two_blank = by_id(PHQ9, phq9(2, 2, 2, 2, 2, 2, 1, None, None))["total"]
    assert two_blank.is_prorated
    assert two_blank.exact == Decimal(13 * 9) / 7
    assert two_blank.value == 17
    assert (two_blank.answered, two_blank.missing) == (7, 2)

    three_blank = by_id(PHQ9, phq9(2, 2, 2, 2, 2, 2))["total"]
    assert (three_blank.value, three_blank.exact, three_blank.band) == (None, None, None)
    assert not three_blank.is_prorated
    assert three_blank.cutoffs_met == ()


def test_prorating_rounds_half_up() -> None:
    # 8 items answered with 4 points: 4 * 9 / 8 = 4.5, which the wrong rounding calls 4, minimal.
    result = by_id(PHQ9, phq9(3, 1, 0, 0, 0, 0, 0, 0))["total"]
    assert (result.exact, result.value, result.band) == (Decimal("4.5"), 5, "mild")


def test_a_short_form_bears_no_blank_while_the_long_one_prorates() -> None:
    results = by_id(PHQ9, phq9(None, 1, 1, 1, 1, 1, 1, 1, 1))
    assert results["phq2"].value is None
    assert results["total"].value == 9


def test_a_form_without_answers_scores_nothing_and_never_zero() -> None:
    assert all(each.value is None for each in score(PHQ9, {}))


def test_a_score_names_the_version_that_made_it() -> None:
    result = by_id(GAD7, totalling(3, 7))["total"]
    assert (result.instrument_key, result.instrument_version) == ("gad-7", GAD7.version)


def test_answers_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match="does not belong"):
        score(GAD7, {"q9": 1})


answer = st.one_of(st.none(), st.integers(0, 3))
forms = st.lists(answer, min_size=9, max_size=9)


@given(forms)
def test_scores_stay_within_their_range(values: list[int | None]) -> None:
    for rule, result in zip(PHQ9.scores, score(PHQ9, phq9(*values)), strict=True):
        if result.value is not None:
            assert rule.range[0] <= result.value <= rule.range[1]


@given(forms, st.integers(0, 8))
def test_worse_answers_never_lower_the_score(values: list[int | None], place: int) -> None:
    before = values[place]
    assume(before is not None and before < 3)
    worse = list(values)
    worse[place] = (before or 0) + 1
    for low, high in zip(score(PHQ9, phq9(*values)), score(PHQ9, phq9(*worse)), strict=True):
        # An algorithm may be decided by what was made worse, however much is blank.
        assert (low.exact is None) is (high.exact is None) or low.id == "mds"
        if low.exact is not None and high.exact is not None:
            assert low.exact <= high.exact
            assert (low.value or 0) <= (high.value or 0)


@given(forms, answer)
def test_an_unscored_item_changes_no_score(
    values: list[int | None], difficulty: int | None
) -> None:
    assert score(PHQ9, phq9(*values)) == score(PHQ9, phq9(*values, difficulty))


@given(st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_reversing_twice_is_identity(values: list[int]) -> None:
    items = [
        {**item, "reverse": True}
        for item in json.loads(
            (resources.files("app") / "instruments" / "phq-9.json").read_text(encoding="utf-8")
        )["items"]
    ]
    reversed_form = variant(items=items)
    flipped = phq9(*(3 - value for value in values))
    straight = by_id(PHQ9, phq9(*values))
    turned = by_id(reversed_form, flipped)
    # The algorithm reads the answers themselves, so it is none of the law's business.
    for code in ("total", "phq2", "phq8"):
        assert turned[code].value == straight[code].value


def test_reversing_counts_from_the_other_end_of_the_range() -> None:
    items = [
        {
            "id": "q1",
            "text": "?",
            "type": "integer",
            "numeric": {"min": 1, "max": 5},
            "reverse": True,
        }
    ]
    form = variant(items=items, scores=[{"id": "total", "items": ["q1"], "range": [1, 5]}])
    assert [score(form, {"q1": answer})[0].value for answer in range(1, 6)] == [5, 4, 3, 2, 1]


def test_yes_counts_as_one() -> None:
    items = [{"id": f"q{n}", "text": "?", "type": "boolean"} for n in (1, 2)]
    rule = {"id": "total", "items": ["q1", "q2"], "range": [0, 2]}
    form = variant(items=items, scores=[rule])
    assert score(form, {"q1": True, "q2": False})[0].value == 1


def test_where_higher_is_better_a_rise_is_an_improvement() -> None:
    rule = {"id": "total", "items": ["q1"], "range": [0, 10], "direction": "higher_better"}
    form = variant(
        items=[{"id": "q1", "text": "?", "type": "integer", "numeric": {"min": 0, "max": 10}}],
        scores=[rule],
        change={
            "reliable": 4,
            "caseness": {"op": "<", "value": 5},
            "source": {"reliable": "test", "response": "test", "caseness": "test"},
        },
    )
    low, high = score(form, {"q1": 2}), score(form, {"q1": 7})
    (better,), (worse,) = changes(form, low, high), changes(form, high, low)
    assert (better.klass, better.is_response) == (ChangeClass.RECOVERED, True)
    assert worse.klass is ChangeClass.DETERIORATED
    assert [better.improvement, worse.improvement] == [5, -5]
    assert better.is_important is None


def one_score(**rule: object) -> Instrument:
    return variant(scores=[{"id": "total", "items": ["q1", "q2", "q3"], **rule}])


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ({"range": [0, 18], "multiply": 2}, (1, 2, 3), 12),
        ({"range": [0, 3], "method": "max"}, (1, 2, 0), 2),
        ({"range": [0, 3], "method": "count_ge", "threshold": 2}, (1, 2, 3), 2),
        ({"range": [0, 3], "method": "mean", "round": "none"}, (1, 2, 2), Decimal(5) / 3),
        ({"range": [0, 3], "method": "mean"}, (1, 2, 2), 2),
        (
            {"range": [0, 3], "method": "mean", "missing": {"max": 1, "policy": "prorate"}},
            (1, 3, None),
            2,
        ),
        ({"range": [0, 9], "missing": {"max": 1, "policy": "zero"}}, (1, 3, None), 4),
        (
            {"range": [0, 3], "method": "mean", "missing": {"max": 2, "policy": "zero"}},
            (3, None, None),
            1,
        ),
        ({"range": [0, 3], "method": "max"}, (1, 2, None), None),
    ],
)
def test_every_method_computes_what_it_says(
    rule: dict[str, Any], values: tuple[int | None, ...], expected: int | Decimal | None
) -> None:
    assert by_id(one_score(**rule), phq9(*values))["total"].value == expected


@pytest.mark.parametrize(
    ("instrument", "item_id", "value", "code"),
    [
        (PHQ9, "q1", 0, None),
        (PHQ9, "q1", 3, None),
        (PHQ9, "q1", None, None),
        (PHQ9, "q1", 4, "not_an_option"),
        (PHQ9, "q1", -1, "not_an_option"),
        (PHQ9, "q1", True, "not_an_option"),
        (PHQ9, "q1", "1", "not_an_option"),
        (PHQ9, "q99", 1, "unknown_item"),
        (PHQ9, "q99", None, "unknown_item"),
        (RULERS, "importance", 10, None),
        (RULERS, "importance", 11, "out_of_range"),
        (RULERS, "importance", -1, "out_of_range"),
        (RULERS, "importance", Decimal("1.5"), "wrong_type"),
        (RULERS, "importance", True, "wrong_type"),
        (RULERS, "importance", "7", "wrong_type"),
        (RULERS, "barriers", "Work", None),
        (RULERS, "barriers", "x" * 2000, None),
        (RULERS, "barriers", "x" * 2001, "too_long"),
        (RULERS, "barriers", 7, "wrong_type"),
        (READINESS, "bandwidth_up_mbps", Decimal("1.5"), None),
        (READINESS, "bandwidth_up_mbps", 2, None),
        (READINESS, "bandwidth_up_mbps", Decimal("NaN"), "wrong_type"),
        (READINESS, "bandwidth_up_mbps", Decimal("Infinity"), "wrong_type"),
        (READINESS, "headphones", True, None),
        (READINESS, "headphones", 1, "wrong_type"),
        (READINESS, "private_space", "mostly", None),
        (READINESS, "private_space", "never", "not_an_option"),
        (READINESS, "state_of_location", "US-NY", None),
        (READINESS, "state_of_location", "New York", "too_long"),
        (READINESS, "state_of_location", "us-ny", "malformed"),
        (READINESS, "backup_phone", "+12025550123", None),
        (READINESS, "backup_phone", "+12025550123\n", "malformed"),
    ],
)
def test_one_answer_is_judged_by_type_range_and_options(
    instrument: Instrument, item_id: str, value: AnswerValue | None, code: str | None
) -> None:
    assert check_answer(instrument, item_id, value) == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("2026-02-28", None),
        ("2026-02-29", "malformed"),
        ("20260228", "malformed"),
        ("2026-W09-6", "malformed"),
        (20260228, "wrong_type"),
    ],
)
def test_a_date_is_its_full_text(value: AnswerValue, code: str | None) -> None:
    items = [
        {"id": "q1", "text": "Since when?", "type": "date", "scored": False},
        {"id": "q2", "text": "How much?", "type": "integer", "numeric": {"min": 0, "max": 3}},
    ]
    form = variant(items=items, scores=[{"id": "total", "items": ["q2"], "range": [0, 3]}])
    assert check_answer(form, "q1", value) == code


def codes(
    instrument: Instrument,
    answers: Answers,
    *,
    previous: Administration | None = None,
    baseline: Administration | None = None,
    recent: Sequence[Administration] = (),
) -> set[str]:
    scores = score(instrument, answers)
    raised = flags(instrument, answers, scores, previous=previous, baseline=baseline, recent=recent)
    return {flag.code for flag in raised}


@pytest.mark.parametrize("value", [1, 2, 3])
def test_any_endorsement_of_item_nine_raises_an_urgent_safety_flag(value: int) -> None:
    answers = phq9(0, 0, 0, 0, 0, 0, 0, 0, value)
    raised = flags_at_answer(PHQ9, "q9", {"q9": value})
    assert {f.code for f in raised} == (
        {"si_endorsed", "si_frequent"} if value == 3 else {"si_endorsed"}
    )
    assert {(f.kind, f.tier) for f in raised} == {(FlagKind.SAFETY, Tier.URGENT)}
    assert {"si_endorsed"} <= codes(PHQ9, answers)


def test_no_safety_flag_without_endorsement() -> None:
    assert flags_at_answer(PHQ9, "q9", {"q9": 0}) == []
    assert codes(PHQ9, phq9(*[0] * 9)) == set()


def test_an_answer_to_another_item_does_not_raise_a_safety_flag_again() -> None:
    assert flags_at_answer(PHQ9, "q1", {"q1": 3, "q9": 3}) == []


def test_a_blank_safety_item_is_watched_at_submission() -> None:
    (blank,) = flags(PHQ9, phq9(*[0] * 8), [])
    assert (blank.code, blank.kind, blank.tier, blank.item_ids) == (
        "safety_item_unanswered",
        FlagKind.DATA_QUALITY,
        Tier.WATCH,
        ("q9",),
    )


def given_before(answers: Answers) -> Administration:
    return Administration(answers, score(PHQ9, answers))


def test_new_or_worse_thoughts_are_told_from_steady_ones() -> None:
    now = phq9(*[0] * 8, 1)
    assert "si_new_or_worse" in codes(PHQ9, now, previous=given_before(phq9(*[0] * 9)))
    assert "si_new_or_worse" not in codes(PHQ9, now, previous=given_before(now))
    assert "si_new_or_worse" not in codes(PHQ9, now)
    assert "si_new_or_worse" in {
        f.code
        for f in flags_at_answer(PHQ9, "q9", {"q9": 1}, previous=given_before(phq9(*[0] * 9)))
    }


@pytest.mark.parametrize(("total", "flagged"), [(19, False), (20, True)])
def test_a_severe_total_is_watched(
    total: int,
    flagged: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert ("severe_depression" in codes(PHQ9, totalling(total, 9))) is flagged


@pytest.mark.parametrize(("rise", "flagged"), [(5, False), (6, True)])
def test_reliable_worsening_since_baseline_is_watched(
    rise: int,
    flagged: bool,  # noqa: FBT001 - a column of the table
) -> None:
    baseline = given_before(totalling(8, 9))
    assert ("deteriorated" in codes(PHQ9, totalling(8 + rise, 9), baseline=baseline)) is flagged


@given(forms, st.integers(1, 3))
def test_an_endorsed_safety_item_is_never_silent(values: list[int | None], value: int) -> None:
    answers = phq9(*values[:8], value)
    assert flags_at_answer(PHQ9, "q9", answers)
    assert "si_endorsed" in codes(PHQ9, answers)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (20, 4, (ChangeClass.RECOVERED, True, True, True)),
        (20, 9, (ChangeClass.RECOVERED, True, False, True)),
        (20, 10, (ChangeClass.IMPROVED, True, False, True)),
        (20, 11, (ChangeClass.IMPROVED, False, False, True)),
        (20, 14, (ChangeClass.IMPROVED, False, False, True)),
        (20, 15, (ChangeClass.NO_RELIABLE_CHANGE, False, False, True)),
        (20, 16, (ChangeClass.NO_RELIABLE_CHANGE, False, False, False)),
        (9, 3, (ChangeClass.IMPROVED, True, True, True)),
        (9, 14, (ChangeClass.NO_RELIABLE_CHANGE, False, False, False)),
        (9, 15, (ChangeClass.DETERIORATED, False, False, False)),
    ],
)
def test_change_is_classed_by_published_figures(
    before: int, now: int, expected: tuple[ChangeClass, bool, bool, bool]
) -> None:
    (change,) = changes(PHQ9, score(PHQ9, totalling(before, 9)), score(PHQ9, totalling(now, 9)))
    assert expected == (
        change.klass,
        change.is_response,
        change.is_remission,
        change.is_important,
    )
    assert change.improvement == before - now
    assert change.reliable_points == 6
    assert "reliable" in change.sources


def test_someone_below_the_cutoff_at_baseline_is_reported_as_no_case() -> None:
    (change,) = changes(PHQ9, score(PHQ9, totalling(9, 9)), score(PHQ9, totalling(3, 9)))
    assert (change.was_case, change.is_case) == (False, False)


def test_a_baseline_of_zero_has_no_percentage() -> None:
    (change,) = changes(PHQ9, score(PHQ9, totalling(0, 9)), score(PHQ9, totalling(3, 9)))
    assert (change.percent, change.is_response) == (None, None)


def test_an_unknown_score_yields_no_change() -> None:
    assert changes(PHQ9, score(PHQ9, {}), score(PHQ9, totalling(3, 9))) == []


def test_change_uses_the_unrounded_score() -> None:
    # 4.5 prorated displays as 5; remission below 5 is judged by 4.5, improvement is 5.5 of 10.
    now = score(PHQ9, phq9(3, 1, 0, 0, 0, 0, 0, 0))
    (change,) = changes(PHQ9, score(PHQ9, totalling(10, 9)), now)
    assert (change.improvement, change.klass) == (Decimal("5.5"), ChangeClass.NO_RELIABLE_CHANGE)


def test_instruments_without_figures_and_other_instruments_yield_no_change() -> None:
    assert changes(RULERS, [], []) == []
    with pytest.raises(ValueError, match="different instruments"):
        changes(PHQ9, score(GAD7, totalling(3, 7)), score(PHQ9, totalling(3, 9)))


def test_a_ruler_reads_higher_as_better_and_low_commitment_asks_for_a_plan() -> None:
    low: dict[str, AnswerValue | None] = {"importance": 10, "confidence": 6, "commitment": 3}
    assert [each.band for each in score(RULERS, low)] == [
        "action",
        "contemplation",
        "precontemplation",
    ]
    assert codes(RULERS, low) == {"engagement_plan_needed"}
    assert codes(RULERS, low | {"commitment": 4}) == set()


def test_only_visible_required_items_are_named_as_unanswered() -> None:
    assert unanswered(PHQ9, phq9(*[0] * 8)) == ["q9"]
    assert "minor_adult_on_premises" not in unanswered(READINESS, {"is_minor": True})
    assert "is_minor" in unanswered(READINESS, {})


CHECK_IN, ASQ, CORE10, BAM = (shipped()[k] for k in ("session-check-in", "asq", "core-10", "bam"))


def check_in(alliance: int, tech: int = 4) -> Administration:
    answers: dict[str, AnswerValue | None] = {
        **dict.fromkeys(("bond", "goal", "task", "take_part", "useful"), alliance),
        "tech": tech,
    }
    return Administration(answers, score(CHECK_IN, answers))


@pytest.mark.parametrize(
    ("before", "now", "flagged"),
    [
        ((3, 3, 3), 2, True),
        ((4, 4, 1), 2, True),
        ((3, 3, 2), 2, False),
        ((3, 3), 2, False),
        ((), 2, False),
        ((3, 3, 3, 0, 0), 2, True),
    ],
)
def test_a_drop_of_alliance_is_held_against_the_persons_own_last_three(
    before: tuple[int, ...],
    now: int,
    flagged: bool,  # noqa: FBT001 - a column of the table
) -> None:
    form = check_in(now)
    raised = codes(CHECK_IN, form.answers, recent=[check_in(each) for each in before])
    assert ("alliance_drop" in raised) is flagged


def test_technology_that_fails_twice_in_a_row_asks_for_support() -> None:
    bad, good = check_in(4, tech=1), check_in(4, tech=2)
    assert "technical_support_needed" in codes(CHECK_IN, bad.answers, previous=bad)
    assert "technical_support_needed" not in codes(CHECK_IN, bad.answers, previous=good)
    assert "technical_support_needed" not in codes(CHECK_IN, bad.answers)


@pytest.mark.parametrize(
    ("answers", "raised"),
    [
        ({"q1": "no", "q2": "no", "q3": "no", "q4": "no"}, set()),
        ({"q1": "yes", "q2": "no", "q3": "no", "q4": "no", "q5": "no"}, {"asq_positive"}),
        ({"q1": "no", "q2": "no", "q3": "no", "q4": "declined", "q5": "no"}, {"asq_positive"}),
        (
            {"q1": "no", "q2": "no", "q3": "no", "q4": "yes", "q5": "yes"},
            {"asq_positive", "asq_acute"},
        ),
        (
            {"q1": "yes", "q2": "no", "q3": "no", "q4": "no"},
            {"asq_positive", "safety_item_unanswered"},
        ),
        ({"q1": "no", "q2": "no", "q3": "no"}, {"safety_item_unanswered"}),
        # An answer to a question that the form no longer asks is heard all the same.
        ({"q1": "no", "q2": "no", "q3": "no", "q4": "no", "q5": "yes"}, {"asq_acute"}),
    ],
)
def test_the_suicide_screen_raises_what_its_toolkit_asks_for(
    answers: dict[str, AnswerValue | None], raised: set[str]
) -> None:
    assert codes(ASQ, answers) == raised


@pytest.mark.parametrize(
    ("value", "tiers"),
    [
        (0, set()),
        (1, {Tier.URGENT}),
        (2, {Tier.URGENT, Tier.ACUTE}),
        (4, {Tier.URGENT, Tier.ACUTE}),
    ],
)
def test_a_plan_to_end_life_is_urgent_and_an_often_made_one_acute(
    value: int, tiers: set[Tier]
) -> None:
    assert {f.tier for f in flags_at_answer(CORE10, "q6", {"q6": value})} == tiers


def test_use_is_watched_only_against_an_earlier_form_and_opiates_always() -> None:
    using: dict[str, AnswerValue | None] = {"q4": 1, "q5": 0, "q6": 1, "q7e": 1}
    first = Administration({"q6": 0}, ())
    assert codes(BAM, using) == {"overdose_risk"}
    assert codes(BAM, using, baseline=first) == {"overdose_risk", "use_reported"}
    assert codes(BAM, {"q4": 0, "q6": 0}, baseline=first) == set()


@pytest.mark.parametrize(
    ("key", "answers", "code"),
    [
        ("phq-15", {"f": 2}, "medical_review"),
        ("phq-15", {"h": 2}, "medical_review"),
        ("pcl-5", {"q16": 3}, "risk_behavior"),
        ("k6", {"q2": 4}, "hopeless_or_worthless"),
        ("k6", {"q6": 4}, "hopeless_or_worthless"),
        ("dass-21", {"q21": 3}, "hopeless_or_worthless"),
        ("audit", {"q1": 4, "q2": 1, "q6": 2}, "withdrawal_risk_assess"),
        ("session-check-in", {"bond": 1}, "alliance_low"),
    ],
)
def test_the_other_flags_of_the_reference(
    key: str, answers: dict[str, AnswerValue | None], code: str
) -> None:
    instrument = shipped()[key]
    below = {k: v - 1 for k, v in answers.items() if isinstance(v, int)}
    above = {k: v + 1 for k, v in answers.items() if isinstance(v, int)}
    assert code in codes(instrument, answers)
    assert code not in codes(instrument, above if code == "alliance_low" else below)
