"""Published vectors of every instrument that ships, as tables.

The tables are written from the publications (clinical reference, sections 1.2 to 1.15), not from
the definitions: item counts, worths, bands and thresholds are said again here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import pytest

from app.domain.instruments import AnswerValue, shipped
from app.domain.scoring import Score, score


@dataclass(frozen=True)
class Scale:
    """Items that are summed, each worth from `low` to `high`; reversed ones are answered so."""

    items: tuple[str, ...]
    high: int
    low: int = 0
    reverse: tuple[str, ...] = ()

    def filled(self, total: int, blank: Sequence[str] = ()) -> dict[str, AnswerValue | None]:
        """Spread a total over the items that are not blank, as their answers."""
        answers: dict[str, AnswerValue | None] = {}
        asked = [item for item in self.items if item not in blank]
        left = total - self.low * len(asked)
        for item in asked:
            more = min(self.high - self.low, left)
            left -= more
            worth = self.low + more
            answers[item] = self.high + self.low - worth if item in self.reverse else worth
        assert left == 0, "the items cannot add up to this"
        return answers


def q(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"q{number}" for number in range(first, last + 1))


def of(*numbers: int) -> tuple[str, ...]:
    return tuple(f"q{number}" for number in numbers)


_SCALES: Mapping[tuple[str, str], Scale] = {
    ("phq-9", "total"): Scale(q(1, 9), 3),
    ("phq-9", "phq2"): Scale(q(1, 2), 3),
    ("phq-9", "phq8"): Scale(q(1, 8), 3),
    ("phq-8", "total"): Scale(q(1, 8), 3),
    ("phq-2", "total"): Scale(q(1, 2), 3),
    ("gad-7", "total"): Scale(q(1, 7), 3),
    ("gad-7", "gad2"): Scale(q(1, 2), 3),
    ("gad-2", "total"): Scale(q(1, 2), 3),
    ("phq-4", "total"): Scale(q(1, 4), 3),
    ("phq-4", "anxiety"): Scale(q(1, 2), 3),
    ("phq-4", "depression"): Scale(q(3, 4), 3),
    ("phq-15", "total"): Scale(tuple("abcdefghijklmno"), 2),
    ("pcl-5", "total"): Scale(q(1, 20), 4),
    ("pcl-5", "intrusion"): Scale(q(1, 5), 4),
    ("pcl-5", "avoidance"): Scale(q(6, 7), 4),
    ("pcl-5", "cognition_mood"): Scale(q(8, 14), 4),
    ("pcl-5", "arousal"): Scale(q(15, 20), 4),
    ("k6", "total"): Scale(q(1, 6), 4),
    ("dass-21", "depression"): Scale(of(3, 5, 10, 13, 16, 17, 21), 3),
    ("dass-21", "anxiety"): Scale(of(2, 4, 7, 9, 15, 19, 20), 3),
    ("dass-21", "stress"): Scale(of(1, 6, 8, 11, 12, 14, 18), 3),
    ("bam", "use"): Scale(of(4, 5, 6), 4),
    ("bam", "risk"): Scale(of(1, 2, 3, 8, 11, 15), 4),
    ("core-10", "total"): Scale(q(1, 10), 4, reverse=of(2, 3)),
    ("socrates-8a", "recognition"): Scale(of(1, 3, 7, 10, 12, 15, 17), 5, low=1),
    ("socrates-8a", "ambivalence"): Scale(of(2, 6, 11, 16), 5, low=1),
    ("socrates-8a", "taking_steps"): Scale(of(4, 5, 8, 9, 13, 14, 18, 19), 5, low=1),
}
SCALES: Mapping[tuple[str, str], Scale] = {
    **_SCALES,
    **{
        ("socrates-8d", code): scale
        for (key, code), scale in _SCALES.items()
        if key == "socrates-8a"
    },
}

PHQ9 = [
    (0, 0, "minimal", ()),
    (4, 4, "minimal", ()),
    (5, 5, "mild", ()),
    (9, 9, "mild", ()),
    (10, 10, "moderate", ("positive_screen",)),
    (14, 14, "moderate", ("positive_screen",)),
    (15, 15, "moderately_severe", ("positive_screen",)),
    (19, 19, "moderately_severe", ("positive_screen",)),
    (20, 20, "severe", ("positive_screen",)),
]
TWO_CUTS = ("positive_screen", "sensitive_screen")
PHQ2 = [
    (0, 0, None, ()),
    (1, 1, None, ()),
    (2, 2, None, ("sensitive_screen",)),
    (3, 3, None, TWO_CUTS),
    (6, 6, None, TWO_CUTS),
]
GAD2 = [
    (0, 0, None, ()),
    (2, 2, None, ()),
    (3, 3, None, ("positive_screen",)),
    (6, 6, None, ("positive_screen",)),
]
GAD7 = [
    (0, 0, "minimal", ()),
    (4, 4, "minimal", ()),
    (5, 5, "mild", ()),
    (7, 7, "mild", ()),
    (8, 8, "mild", ("caseness",)),
    (9, 9, "mild", ("caseness",)),
    (10, 10, "moderate", ("positive_screen", "caseness")),
    (14, 14, "moderate", ("positive_screen", "caseness")),
    (15, 15, "severe", ("positive_screen", "caseness")),
    (21, 21, "severe", ("positive_screen", "caseness")),
]
SOCRATES = {
    "recognition": [
        (7, 7, "very_low", ()),
        (26, 26, "very_low", ()),
        (27, 27, "low", ()),
        (30, 30, "low", ()),
        (31, 31, "medium", ()),
        (33, 33, "medium", ()),
        (34, 34, "high", ()),
        (35, 35, "high", ()),
    ],
    "ambivalence": [
        (4, 4, "very_low", ()),
        (8, 8, "very_low", ()),
        (9, 9, "low", ()),
        (13, 13, "low", ()),
        (14, 14, "medium", ()),
        (15, 15, "medium", ()),
        (16, 16, "high", ()),
        (17, 17, "high", ()),
        (18, 18, "very_high", ()),
        (20, 20, "very_high", ()),
    ],
    "taking_steps": [
        (8, 8, "very_low", ()),
        (25, 25, "very_low", ()),
        (26, 26, "low", ()),
        (30, 30, "low", ()),
        (31, 31, "medium", ()),
        (33, 33, "medium", ()),
        (34, 34, "high", ()),
        (36, 36, "high", ()),
        (37, 37, "very_high", ()),
        (40, 40, "very_high", ()),
    ],
}
DASS = {  # The sum of seven items, then doubled.
    "depression": [
        (0, 0, "normal", ()),
        (4, 8, "normal", ()),
        (5, 10, "mild", ()),
        (6, 12, "mild", ()),
        (7, 14, "moderate", ()),
        (10, 20, "moderate", ()),
        (11, 22, "severe", ()),
        (13, 26, "severe", ()),
        (14, 28, "extremely_severe", ()),
        (21, 42, "extremely_severe", ()),
    ],
    "anxiety": [
        (0, 0, "normal", ()),
        (3, 6, "normal", ()),
        (4, 8, "mild", ()),
        (5, 10, "moderate", ()),
        (7, 14, "moderate", ()),
        (8, 16, "severe", ()),
        (9, 18, "severe", ()),
        (10, 20, "extremely_severe", ()),
        (21, 42, "extremely_severe", ()),
    ],
    "stress": [
        (0, 0, "normal", ()),
        (7, 14, "normal", ()),
        (8, 16, "mild", ()),
        (9, 18, "mild", ()),
        (10, 20, "moderate", ()),
        (12, 24, "moderate", ()),
        (13, 26, "severe", ()),
        (16, 32, "severe", ()),
        (17, 34, "extremely_severe", ()),
        (21, 42, "extremely_severe", ()),
    ],
}

Row = tuple[int, int, str | None, tuple[str, ...]]
"""The sum of the answers, the score, its band and the thresholds that it meets."""

TABLES: Mapping[tuple[str, str], Sequence[Row]] = {
    ("phq-9", "total"): [*PHQ9, (27, 27, "severe", ("positive_screen",))],
    ("phq-9", "phq2"): PHQ2,
    ("phq-9", "phq8"): [(0, 0, None, ()), (24, 24, None, ())],
    ("phq-8", "total"): [*PHQ9, (24, 24, "severe", ("positive_screen",))],
    ("phq-2", "total"): PHQ2,
    ("gad-7", "total"): GAD7,
    ("gad-7", "gad2"): GAD2,
    ("gad-2", "total"): GAD2,
    ("phq-4", "total"): [
        (0, 0, "none", ()),
        (2, 2, "none", ()),
        (3, 3, "mild", ()),
        (5, 5, "mild", ()),
        (6, 6, "moderate", ()),
        (8, 8, "moderate", ()),
        (9, 9, "severe", ()),
        (12, 12, "severe", ()),
    ],
    ("phq-4", "anxiety"): [
        (0, 0, None, ()),
        (2, 2, None, ()),
        (3, 3, None, ("give_gad_7",)),
        (6, 6, None, ("give_gad_7",)),
    ],
    ("phq-4", "depression"): [
        (0, 0, None, ()),
        (2, 2, None, ()),
        (3, 3, None, ("give_phq_9",)),
        (6, 6, None, ("give_phq_9",)),
    ],
    ("phq-15", "total"): [
        (0, 0, "minimal", ()),
        (4, 4, "minimal", ()),
        (5, 5, "low", ()),
        (9, 9, "low", ()),
        (10, 10, "medium", ()),
        (14, 14, "medium", ()),
        (15, 15, "high", ()),
        (30, 30, "high", ()),
    ],
    ("pcl-5", "total"): [
        (0, 0, None, ()),
        (32, 32, None, ()),
        (33, 33, None, ("probable_ptsd",)),
        (80, 80, None, ("probable_ptsd",)),
    ],
    ("pcl-5", "intrusion"): [(0, 0, None, ()), (20, 20, None, ())],
    ("pcl-5", "avoidance"): [(0, 0, None, ()), (8, 8, None, ())],
    ("pcl-5", "cognition_mood"): [(0, 0, None, ()), (28, 28, None, ())],
    ("pcl-5", "arousal"): [(0, 0, None, ()), (24, 24, None, ())],
    ("k6", "total"): [
        (0, 0, None, ()),
        (4, 4, None, ()),
        (5, 5, None, ("moderate_distress",)),
        (12, 12, None, ("moderate_distress",)),
        (13, 13, None, ("serious_mental_illness", "moderate_distress")),
        (24, 24, None, ("serious_mental_illness", "moderate_distress")),
    ],
    ("bam", "use"): [
        (0, 0, None, ()),
        (1, 1, None, ("use_reported",)),
        (12, 12, None, ("use_reported",)),
    ],
    ("bam", "risk"): [
        (0, 0, None, ()),
        (11, 11, None, ()),
        (12, 12, None, ("high_risk",)),
        (24, 24, None, ("high_risk",)),
    ],
    ("core-10", "total"): [
        (0, 0, "healthy", ()),
        (5, 5, "healthy", ()),
        (6, 6, "low", ()),
        (10, 10, "low", ()),
        (11, 11, "mild", ("clinical",)),
        (12, 12, "mild", ("clinical",)),
        (13, 13, "mild", ("clinical", "depression")),
        (14, 14, "mild", ("clinical", "depression")),
        (15, 15, "moderate", ("clinical", "depression")),
        (19, 19, "moderate", ("clinical", "depression")),
        (20, 20, "moderate_severe", ("clinical", "depression")),
        (24, 24, "moderate_severe", ("clinical", "depression")),
        (25, 25, "severe", ("clinical", "depression")),
        (40, 40, "severe", ("clinical", "depression")),
    ],
    **{("dass-21", code): rows for code, rows in DASS.items()},
    **{
        (key, code): rows
        for key in ("socrates-8a", "socrates-8d")
        for code, rows in SOCRATES.items()
    },
}


def computed(
    key: str,
    code: str,
    answers: Mapping[str, AnswerValue | None],
    attributes: Mapping[str, str] | None = None,
) -> Score:
    results = score(shipped()[key], answers, attributes or {})
    return next(each for each in results if each.id == code)


@pytest.mark.parametrize(
    ("key", "code", "row"),
    [(key, code, row) for (key, code), rows in TABLES.items() for row in rows],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else value,
)
def test_the_published_table_of_every_scale(key: str, code: str, row: Row) -> None:
    total, value, band, met = row

    result = computed(key, code, SCALES[key, code].filled(total))

    assert (result.value, result.band, result.cutoffs_met) == (value, band, met)
    assert not result.is_prorated
    assert result.missing == 0


# How many blanks a score bears, and what 2 points each on the rest are then worth.
MISSING = [
    ("phq-9", "total", q(8, 9), 18, True),
    ("phq-9", "total", q(7, 9), None, False),
    ("phq-9", "phq2", of(2), None, False),
    ("phq-9", "phq8", q(7, 8), 16, True),
    ("phq-9", "phq8", q(6, 8), None, False),
    ("phq-8", "total", q(7, 8), 16, True),
    ("phq-8", "total", q(6, 8), None, False),
    ("phq-2", "total", of(2), None, False),
    ("gad-7", "total", q(6, 7), 14, True),
    ("gad-7", "total", q(5, 7), None, False),
    ("gad-7", "gad2", of(2), None, False),
    ("gad-2", "total", of(1), None, False),
    ("phq-4", "total", of(4), None, False),
    ("phq-4", "anxiety", of(1), None, False),
    ("phq-4", "depression", of(4), None, False),
    ("phq-15", "total", ("m", "n", "o"), 30, True),
    ("phq-15", "total", ("l", "m", "n", "o"), None, False),
    ("pcl-5", "total", q(17, 20), 40, True),
    ("pcl-5", "total", q(16, 20), None, False),
    ("pcl-5", "intrusion", of(5), 10, True),
    ("pcl-5", "intrusion", q(4, 5), None, False),
    ("pcl-5", "avoidance", of(7), 4, True),
    ("pcl-5", "avoidance", q(6, 7), None, False),
    ("pcl-5", "cognition_mood", of(8), 14, True),
    ("pcl-5", "cognition_mood", q(8, 9), None, False),
    ("pcl-5", "arousal", of(20), 12, True),
    ("pcl-5", "arousal", q(19, 20), None, False),
    ("k6", "total", of(6), None, False),
    ("dass-21", "depression", of(21), 28, True),
    ("dass-21", "depression", of(17, 21), None, False),
    ("dass-21", "anxiety", of(20), 28, True),
    ("dass-21", "anxiety", of(19, 20), None, False),
    ("dass-21", "stress", of(18), 28, True),
    ("dass-21", "stress", of(14, 18), None, False),
    ("bam", "use", of(6), None, False),
    ("bam", "risk", of(15), None, False),
    ("core-10", "total", of(10), 20, True),
    ("core-10", "total", q(9, 10), None, False),
    ("socrates-8a", "recognition", of(17), None, False),
    ("socrates-8a", "ambivalence", of(16), None, False),
    ("socrates-8a", "taking_steps", of(19), None, False),
    ("socrates-8d", "recognition", of(17), None, False),
    ("socrates-8d", "ambivalence", of(16), None, False),
    ("socrates-8d", "taking_steps", of(19), None, False),
]


@pytest.mark.parametrize(("key", "code", "blank", "value", "is_prorated"), MISSING)
def test_every_boundary_of_missing_items(
    key: str,
    code: str,
    blank: tuple[str, ...],
    value: int | None,
    is_prorated: bool,  # noqa: FBT001 - a column of the table
) -> None:
    scale = SCALES[key, code]
    answered = len(scale.items) - len(blank)

    result = computed(key, code, scale.filled(2 * answered, blank))

    assert (result.value, result.is_prorated) == (value, is_prorated)
    assert (result.answered, result.missing) == (answered, len(blank))
    if value is None:
        assert (result.exact, result.band, result.cutoffs_met) == (None, None, ())


def test_every_scale_of_every_shipped_instrument_has_its_vectors() -> None:
    by_hand = {
        ("phq-9", "mds"),
        ("phq-15", "bothered_a_lot"),
        ("pcl-5", "provisional_dx"),
        ("pc-ptsd-5", "total"),
        ("asq", "result"),
        ("audit-c", "total"),
        ("audit", "total"),
        ("audit", "consumption"),
        ("audit", "dependence"),
        ("audit", "problems"),
        ("bam", "protective"),
        ("session-check-in", "alliance"),
        ("session-check-in", "session"),
        ("rulers", "importance_ruler"),
        ("rulers", "confidence_ruler"),
        ("rulers", "commitment_ruler"),
    }
    every = {(key, rule.id) for key, each in shipped().items() for rule in each.scores}
    assert every == set(TABLES) | by_hand


# PHQ-9 diagnostic algorithm: 5 or more of nine at 2 or more (item 9: at 1), one of them 1 or 2.
ALGORITHM = [
    ((0,) * 9, "none"),
    ((3,) * 9, "major_depressive_syndrome"),
    ((2, 0, 2, 2, 2, 0, 0, 0, 1), "major_depressive_syndrome"),
    ((2, 0, 2, 2, 2, 0, 0, 0, 0), "other_depressive_syndrome"),
    ((0, 2, 2, 0, 0, 0, 0, 0, 0), "other_depressive_syndrome"),
    ((0, 2, 1, 1, 1, 1, 1, 1, 0), "none"),
    ((1, 1, 2, 2, 2, 2, 2, 2, 3), "none"),
    ((2, 2, 2, 2, 2, None, None, None, None), "major_depressive_syndrome"),
    ((2, 2, 2, 2, None, 0, 0, 0, 0), None),
    ((0, 0, None, None, None, None, None, None, None), "none"),
    ((None, 0, 2, 2, 2, 2, 2, 2, 2), None),
]


@pytest.mark.parametrize(("values", "band"), ALGORITHM)
def test_the_phq_algorithm_is_decided_only_by_what_is_known(
    values: tuple[int | None, ...], band: str | None
) -> None:
    result = computed("phq-9", "mds", {f"q{n}": value for n, value in enumerate(values, 1)})
    assert result.band == band
    assert not result.is_prorated


# PCL-5: at least one B, one C, two D and two E symptoms at "moderately" (2) or more.
CLUSTERS = [
    ({}, "not_met"),
    ({"q1": 2, "q6": 2, "q8": 2, "q9": 2, "q15": 2, "q16": 2}, "met"),
    ({"q1": 1, "q6": 2, "q8": 2, "q9": 2, "q15": 2, "q16": 2}, "not_met"),
    ({"q1": 2, "q6": 1, "q8": 2, "q9": 2, "q15": 2, "q16": 2}, "not_met"),
    ({"q1": 2, "q6": 2, "q8": 2, "q9": 1, "q15": 2, "q16": 2}, "not_met"),
    ({"q1": 2, "q6": 2, "q8": 2, "q9": 2, "q15": 2, "q16": 1}, "not_met"),
    ({"q1": 2, "q6": 2, "q8": 2, "q9": 2, "q15": 2, "q16": 1, "q20": None}, None),
    ({"q1": 2, "q6": 2, "q8": 2, "q9": 2, "q15": 2, "q16": 2, "q20": None}, "met"),
    ({"q1": 1, "q6": 2, "q8": 2, "q9": 2, "q15": 2, "q16": 1, "q20": None}, "not_met"),
]


@pytest.mark.parametrize(("changed", "band"), CLUSTERS)
def test_the_provisional_diagnosis_is_null_only_if_a_blank_could_change_it(
    changed: Mapping[str, int | None], band: str | None
) -> None:
    answers: dict[str, AnswerValue | None] = dict.fromkeys(q(1, 20), 0)
    assert computed("pcl-5", "provisional_dx", {**answers, **changed}).band == band


def test_the_cut_off_and_the_clusters_of_the_pcl_are_two_outputs() -> None:
    answers = SCALES["pcl-5", "total"].filled(40)
    assert computed("pcl-5", "total", answers).cutoffs_met == ("probable_ptsd",)
    assert computed("pcl-5", "provisional_dx", answers).band == "not_met"


@pytest.mark.parametrize(
    ("yes", "met"),
    [
        (0, ()),
        (2, ()),
        (3, ("sensitive_screen",)),
        (4, ("positive_screen", "sensitive_screen")),
        (5, ("positive_screen", "sensitive_screen")),
    ],
)
def test_the_ptsd_screen_counts_what_was_answered_with_yes(yes: int, met: tuple[str, ...]) -> None:
    answers = {f"q{n}": n <= yes for n in range(1, 6)}
    result = computed("pc-ptsd-5", "total", {"event": True, **answers})
    assert (result.value, result.cutoffs_met) == (yes, met)


@pytest.mark.parametrize(
    ("answers", "value"),
    [
        ({"event": False}, 0),
        ({"event": False, "q1": True, "q2": True}, 0),
        ({}, None),
        ({"event": True}, None),
        ({"event": True, "q1": True, "q2": True, "q3": True, "q4": True}, None),
    ],
)
def test_without_an_event_the_ptsd_screen_is_zero_and_without_an_answer_unknown(
    answers: Mapping[str, bool], value: int | None
) -> None:
    assert computed("pc-ptsd-5", "total", answers).value == value


ASQ = [
    (("no", "no", "no", "no", None), "negative"),
    (("no", "no", "no", "no", "yes"), "negative"),
    (("yes", "no", "no", "no", "no"), "non_acute_positive"),
    (("no", "yes", "no", "no", "no"), "non_acute_positive"),
    (("no", "no", "yes", "no", "no"), "non_acute_positive"),
    (("no", "no", "no", "yes", "no"), "non_acute_positive"),
    (("yes", "yes", "yes", "yes", "yes"), "acute_positive"),
    (("no", "no", "no", "yes", "yes"), "acute_positive"),
    (("declined", "no", "no", "no", "no"), "non_acute_positive"),
    (("declined", "declined", "declined", "declined", "declined"), "non_acute_positive"),
    (("yes", "no", "no", "no", None), None),
    (("no", "no", "no", None, None), None),
    ((None, None, None, None, None), None),
]


@pytest.mark.parametrize(("values", "band"), ASQ)
def test_the_result_of_the_suicide_screen(values: tuple[str | None, ...], band: str | None) -> None:
    result = computed("asq", "result", {f"q{n}": value for n, value in enumerate(values, 1)})
    assert result.band == band


AUDIT_C = [
    ("female", 2, "negative", ()),
    ("female", 3, "positive", ("positive_screen",)),
    ("male", 3, "negative", ()),
    ("male", 4, "positive", ("positive_screen",)),
    (None, 2, "negative", ()),
    (None, 3, "positive_lower_threshold", ("positive_screen",)),
    ("intersex", 3, "positive_lower_threshold", ("positive_screen",)),
    (None, 12, "positive_lower_threshold", ("positive_screen",)),
]


@pytest.mark.parametrize(("sex", "total", "band", "met"), AUDIT_C)
def test_the_alcohol_screen_is_read_by_sex_and_the_unknown_by_the_lower_threshold(
    sex: str | None, total: int, band: str, met: tuple[str, ...]
) -> None:
    attributes = {} if sex is None else {"sex_at_birth": sex}
    answers = Scale(q(1, 3), 4).filled(total)
    result = computed("audit-c", "total", answers, attributes)
    assert (result.value, result.band, result.cutoffs_met) == (total, band, met)


@pytest.mark.parametrize(
    ("answers", "value"),
    [
        ({"q1": 0}, 0),
        ({"q1": 0, "q2": 4, "q3": 4}, 0),
        ({"q1": 1, "q2": 0}, None),
        ({"q2": 4, "q3": 4}, None),
        ({}, None),
    ],
)
def test_who_never_drinks_is_not_asked_how_much(
    answers: Mapping[str, int], value: int | None
) -> None:
    assert computed("audit-c", "total", answers).value == value


AUDIT = [
    (dict.fromkeys(q(1, 10), 0), 0, "low_risk"),
    (dict.fromkeys(q(1, 10), 4), 40, "possible_dependence"),
    ({**dict.fromkeys(q(1, 10), 0), "q1": 4, "q2": 3}, 7, "low_risk"),
    ({**dict.fromkeys(q(1, 10), 0), "q1": 4, "q2": 4}, 8, "hazardous"),
    ({**dict.fromkeys(q(1, 10), 0), "q1": 4, "q2": 4, "q3": 4, "q4": 3}, 15, "hazardous"),
    ({**dict.fromkeys(q(1, 10), 0), "q1": 4, "q2": 4, "q3": 4, "q4": 4}, 16, "harmful"),
    (
        {**dict.fromkeys(q(1, 10), 0), "q1": 4, "q2": 4, "q3": 4, "q4": 4, "q5": 3},
        19,
        "harmful",
    ),
    (
        {**dict.fromkeys(q(1, 10), 0), "q1": 4, "q2": 4, "q3": 4, "q4": 4, "q5": 4},
        20,
        "possible_dependence",
    ),
    ({"q1": 0, "q9": 4, "q10": 2}, 6, "low_risk"),
    ({"q1": 2, "q2": 0, "q3": 0, "q9": 0, "q10": 4}, 6, "low_risk"),
    ({"q1": 0, "q9": 4}, None, None),
]


@pytest.mark.parametrize(("answers", "value", "band"), AUDIT)
def test_the_alcohol_test_skips_what_need_not_be_asked(
    answers: Mapping[str, int], value: int | None, band: str | None
) -> None:
    result = computed("audit", "total", answers)
    assert (result.value, result.band) == (value, band)


@pytest.mark.parametrize(
    ("answers", "parts", "met"),
    [
        (dict.fromkeys(q(1, 10), 0), (0, 0, 0), ()),
        (dict.fromkeys(q(1, 10), 4), (12, 12, 16), ("dependence_suggested",)),
        ({**dict.fromkeys(q(1, 10), 0), "q1": 1, "q2": 1, "q4": 3}, (2, 3, 0), ()),
        (
            {**dict.fromkeys(q(1, 10), 0), "q1": 1, "q2": 1, "q4": 4},
            (2, 4, 0),
            ("dependence_suggested",),
        ),
        ({"q1": 1, "q2": 1, "q3": 0, "q4": 1}, (2, None, None), ()),
    ],
)
def test_the_parts_of_the_alcohol_test(
    answers: Mapping[str, int], parts: tuple[int | None, ...], met: tuple[str, ...]
) -> None:
    codes = ("consumption", "dependence", "problems")
    assert tuple(computed("audit", code, answers).value for code in codes) == parts
    assert computed("audit", "dependence", answers).cutoffs_met == met


# Income counts 0 or 4; the subscale is better when it is high.
PROTECTIVE = [
    ((0, 0, 0, 0, 0, 0), 0, ("low_protection",)),
    ((4, 4, 0, 0, 4, 0), 12, ("low_protection",)),
    ((4, 4, 1, 0, 4, 0), 13, ()),
    ((4, 4, 4, 4, 4, 4), 24, ()),
    ((4, 4, 4, 4, 4, None), None, ()),
]


@pytest.mark.parametrize(("values", "value", "met"), PROTECTIVE)
def test_protective_factors(
    values: tuple[int | None, ...], value: int | None, met: tuple[str, ...]
) -> None:
    answers = dict(zip(of(9, 10, 12, 13, 14, 16), values, strict=True))
    result = computed("bam", "protective", answers)
    assert (result.value, result.cutoffs_met) == (value, met)


def test_who_did_not_drink_is_not_asked_about_heavy_days() -> None:
    assert computed("bam", "use", {"q4": 0, "q6": 1}).value == 1
    assert computed("bam", "use", {"q4": 1, "q6": 1}).value is None


WITHOUT_D = [item for item in "abcdefghijklmno" if item != "d"]


def test_who_does_not_menstruate_is_scored_of_28_and_not_prorated() -> None:
    most = computed("phq-15", "total", dict.fromkeys(WITHOUT_D, 2))
    assert (most.value, most.is_prorated, most.missing) == (28, False, 0)

    three_blank = computed("phq-15", "total", dict.fromkeys(WITHOUT_D[3:], 1))
    assert (three_blank.value, three_blank.is_prorated, three_blank.missing) == (14, True, 3)

    four_blank = computed("phq-15", "total", dict.fromkeys(WITHOUT_D[4:], 1))
    assert four_blank.value is None


@pytest.mark.parametrize(
    ("severe", "met"),
    [(0, ()), (2, ()), (3, ("somatoform_suggested",)), (15, ("somatoform_suggested",))],
)
def test_symptoms_that_bother_a_lot_are_counted(severe: int, met: tuple[str, ...]) -> None:
    answers = {item: 2 if n < severe else 1 for n, item in enumerate("abcdefghijklmno")}
    result = computed("phq-15", "bothered_a_lot", answers)
    assert (result.value, result.cutoffs_met) == (severe, met)


CHECK_IN = ("bond", "goal", "task", "cohesion", "take_part", "useful")


@pytest.mark.parametrize(
    ("values", "alliance", "session"),
    [
        ((0,) * 6, 0, 0),
        ((4,) * 6, 4, 4),
        ((4, 3, 3, None, 2, 2), Decimal(10) / 3, Decimal("2.8")),
        ((4, 3, None, 1, 2, 2), None, Decimal("2.4")),
        ((None, None, None, None, None, 3), None, 3),
        ((None,) * 6, None, None),
    ],
)
def test_the_check_in_averages_what_was_answered(
    values: tuple[int | None, ...], alliance: Decimal | None, session: Decimal | None
) -> None:
    answers: dict[str, AnswerValue | None] = {
        **dict(zip(CHECK_IN, values, strict=True)),
        "tech": 0,
    }
    assert computed("session-check-in", "alliance", answers).value == alliance
    assert computed("session-check-in", "session", answers).value == session


@pytest.mark.parametrize("code", ["importance", "confidence", "commitment"])
@pytest.mark.parametrize(
    ("value", "band"),
    [
        (0, "precontemplation"),
        (3, "precontemplation"),
        (4, "contemplation"),
        (6, "contemplation"),
        (7, "preparation"),
        (8, "preparation"),
        (9, "action"),
        (10, "action"),
        (None, None),
    ],
)
def test_the_rulers(code: str, value: int | None, band: str | None) -> None:
    result = computed("rulers", f"{code}_ruler", {code: value})
    assert (result.value, result.band) == (value, band)
