"""Laws that hold for every instrument that ships and any answers to it."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from app.domain.instruments import (
    AnswerValue,
    FlagKind,
    Instrument,
    Item,
    ItemType,
    Method,
    is_asked,
    shipped,
)
from app.domain.scoring import SAFETY_ITEM_UNANSWERED, flags, flags_at_answer, score

Answers = Mapping[str, AnswerValue | None]
# The algorithms are classes in an order; their laws are the tables of vectors.
SCORED = [each for each in shipped().values() if each.scores]
instruments = st.sampled_from(SCORED)


def values(instrument: Instrument, item: Item) -> list[AnswerValue]:
    """The answers that an item takes, from the least worth to the most."""
    match item.type:
        case ItemType.CHOICE:
            return [option.value for option in instrument.options(item)]
        case ItemType.BOOLEAN:
            return [False, True]
        case ItemType.INTEGER | ItemType.DECIMAL | ItemType.VAS:
            assert item.numeric is not None
            return list(range(int(item.numeric.min), int(item.numeric.max) + 1))
        case ItemType.TEXT:
            return ["Work", "Home"]
        case ItemType.DATE:
            return ["2026-03-01"]


@st.composite
def forms(draw: st.DrawFn) -> tuple[Instrument, dict[str, AnswerValue | None]]:
    """Any shipped instrument, filled in, with blanks here and there."""
    instrument = draw(instruments)
    blank = draw(st.sampled_from([0, 0, 1, 4]))
    answers: dict[str, AnswerValue | None] = {}
    for item in instrument.items:
        offered: list[AnswerValue | None] = [*values(instrument, item), *[None] * blank]
        answers[item.id] = draw(st.sampled_from(offered))
    return instrument, answers


@given(forms())
def test_a_score_stays_within_its_range(form: tuple[Instrument, Answers]) -> None:
    instrument, answers = form
    for rule, result in zip(instrument.scores, score(instrument, answers), strict=True):
        if result.value is not None:
            assert rule.range[0] <= result.value <= rule.range[1]
            assert result.exact is not None


@given(forms(), st.data())
def test_raising_an_answer_never_lowers_a_score(
    form: tuple[Instrument, Answers], data: st.DataObject
) -> None:
    instrument, answers = form
    item = data.draw(st.sampled_from(instrument.items))
    before = answers[item.id]
    more = data.draw(st.sampled_from(values(instrument, item)))
    low, high = instrument.worth(item, before), instrument.worth(item, more)
    assume(low is not None and high is not None and low < high)

    then, now = score(instrument, answers), score(instrument, {**answers, item.id: more})

    for rule, less, greater in zip(instrument.scores, then, now, strict=True):
        if rule.method is Method.ALGORITHM or less.exact is None or greater.exact is None:
            continue
        assert less.exact <= greater.exact, (instrument.key, rule.id)
        if item.id not in rule.items and not _decides(instrument, item.id):
            assert less == greater


def _decides(instrument: Instrument, item_id: str) -> bool:
    return any(item_id in str(item.visible_when) for item in instrument.items)


@given(forms())
def test_reversing_twice_is_the_identity(form: tuple[Instrument, Answers]) -> None:
    instrument, answers = form
    for item in instrument.items:
        bounds, worth = instrument.bounds(item), instrument.worth(item, answers[item.id])
        if bounds is None or worth is None:
            continue
        turned = instrument.worth(replace(item, reverse=not item.reverse), answers[item.id])
        assert turned is not None
        assert bounds[0] <= turned <= bounds[1]
        assert bounds[0] + bounds[1] - turned == worth


@given(forms())
def test_an_unscored_item_changes_no_score(form: tuple[Instrument, Answers]) -> None:
    instrument, answers = form
    idle = [
        item.id
        for item in instrument.items
        if not any(item.id in rule.items for rule in instrument.scores)
        and not _decides(instrument, item.id)
    ]
    without = {item_id: value for item_id, value in answers.items() if item_id not in idle}
    assert score(instrument, without) == score(instrument, answers)


@given(forms(), st.randoms())
def test_the_order_of_the_answers_changes_nothing(
    form: tuple[Instrument, Answers], random: Random
) -> None:
    instrument, answers = form
    shuffled = list(answers.items())
    random.shuffle(shuffled)
    assert score(instrument, dict(shuffled)) == score(instrument, answers)


@given(forms())
def test_a_blank_is_never_a_zero(form: tuple[Instrument, Answers]) -> None:
    instrument, _ = form
    for result in score(instrument, {}):
        assert (result.value, result.exact, result.band) == (None, None, None)


@given(forms())
def test_prorating_keeps_the_average_of_what_was_answered(
    form: tuple[Instrument, Answers],
) -> None:
    instrument, answers = form
    for rule, result in zip(instrument.scores, score(instrument, answers), strict=True):
        if not result.is_prorated or result.exact is None or rule.method is not Method.SUM:
            continue
        worths = [
            instrument.worth(item, answers[item.id])
            for item in instrument.items
            if item.id in rule.items
        ]
        known = [worth for worth in worths if worth is not None]
        average = sum(known, Decimal()) / len(known)
        counted = result.answered + result.missing
        assert abs(result.exact / rule.multiply - average * counted) < Decimal("1e-9")


@given(forms())
def test_what_a_form_raises_for_safety_one_of_its_answers_has_raised(
    form: tuple[Instrument, Answers],
) -> None:
    instrument, answers = form
    raised = [f for f in flags(instrument, answers, []) if f.kind is FlagKind.SAFETY]
    for flag in raised:
        answered = [item_id for item_id in flag.item_ids if answers[item_id] is not None]
        at_answer = [f for i in answered for f in flags_at_answer(instrument, i, answers)]
        assert flag in at_answer


@given(forms())
def test_a_blank_safety_item_is_asked_for_unless_the_form_skips_it(
    form: tuple[Instrument, Answers],
) -> None:
    instrument, answers = form
    shown = is_asked(instrument, answers)
    wanted = {
        item.id
        for item in instrument.items
        if item.safety and answers[item.id] is None and shown[item.id] is not False
    }
    found = flags(instrument, answers, score(instrument, answers))
    assert {f.item_ids[0] for f in found if f.code == SAFETY_ITEM_UNANSWERED} == wanted
