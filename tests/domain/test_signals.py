"""The detector finds what is listed, however it is written, and nothing inside other words."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.alerts import Tier
from app.domain.policies import InvalidPolicy
from app.domain.signals import (
    CONTEXT,
    Detector,
    PhraseList,
    SignalConcern,
    default_detector,
    default_signal_policy,
    excerpt,
    load_signal_policy,
)

LISTED = [
    (phrase, each.concern, each.tier)
    for each in default_signal_policy().lists
    for phrase in each.phrases
]
URGENCY = [Tier.WATCH, Tier.URGENT, Tier.ACUTE]
listed = st.sampled_from(LISTED)
anything = st.text(max_size=200)
edges = st.sampled_from(["", " ", "\n", ", ", "...", "“", " — ", "(", "!?", "\t", "/", "_"])


def _document(*phrases: str) -> dict[str, object]:
    return {
        "key": "ours",
        "version": "2.0.0",
        "effective_from": "2026-03-01",
        "effective_to": None,
        "source": "The clinical director, in March.",
        "lists": [
            {"language": "en", "concern": "suicide", "tier": "urgent", "phrases": list(phrases)}
        ],
    }


@pytest.mark.parametrize(("phrase", "concern", "tier"), LISTED)
def test_each_phrase_that_ships_is_found(phrase: str, concern: SignalConcern, tier: Tier) -> None:
    (hit, *_) = (h for h in default_detector().hits(phrase) if h.concern is concern)
    assert URGENCY.index(hit.tier) >= URGENCY.index(tier)


@given(listed, anything, edges, edges, anything)
def test_a_phrase_is_found_wherever_it_stands(
    known: tuple[str, SignalConcern, Tier], before: str, left: str, right: str, after: str
) -> None:
    phrase, concern, tier = known
    text = f"{before} {left}{phrase}{right} {after}"
    found = {hit.concern: hit.tier for hit in default_detector().hits(text)}
    assert URGENCY.index(found[concern]) >= URGENCY.index(tier)


@given(
    listed, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]), st.sampled_from([str.upper, str.title])
)
def test_how_it_is_written_changes_nothing(
    known: tuple[str, SignalConcern, Tier], form: str, write: Callable[[str], str]
) -> None:
    phrase, *_ = known
    written = unicodedata.normalize(form, "\u200b".join(write(phrase))).replace(" ", "  \n")  # type: ignore[arg-type]  # one of the four forms
    assert default_detector().hits(written) == default_detector().hits(phrase)


@given(listed, st.text("abcxyz", min_size=1, max_size=5), st.sampled_from(["{0}{1}", "{1}{0}"]))
def test_nothing_is_found_inside_a_longer_word(
    known: tuple[str, SignalConcern, Tier], letters: str, order: str
) -> None:
    phrase, *_ = known
    alone = Detector(load_signal_policy(_document(phrase)))
    assert not alone.hits(order.format(letters, phrase))


@given(anything, anything)
def test_more_words_never_lower_the_tier(text: str, more: str) -> None:
    before = {hit.concern: hit.tier for hit in default_detector().hits(text)}
    after = {hit.concern: hit.tier for hit in default_detector().hits(f"{text} {more}")}
    for concern, tier in before.items():
        assert URGENCY.index(after[concern]) >= URGENCY.index(tier)


@given(st.lists(listed, min_size=1, max_size=4), anything)
def test_an_excerpt_shows_the_phrase_and_little_else(
    known: list[tuple[str, SignalConcern, Tier]], around: str
) -> None:
    text = around.join(f" {phrase} " for phrase, *_ in known)
    for hit in default_detector().hits(text):
        shown = excerpt(text, hit.phrase)
        assert len(shown) <= 4 * CONTEXT + len(hit.phrase) * 3 + len(around) + 2
        again = {each.concern: each.tier for each in default_detector().hits(shown)}
        assert URGENCY.index(again[hit.concern]) >= URGENCY.index(hit.tier)


def test_an_excerpt_leaves_out_the_rest_of_a_long_text() -> None:
    text = "breathing helped " * 100 + "but I want to die. " + "the bus was late " * 100
    shown = excerpt(text, "want to die")
    assert "but I want to die. the bus" in shown
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(shown) < 4 * CONTEXT + 30


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "I tried the breathing exercise twice this week.",
        "My skill myself-care list is long.",
        "We drove 300 km to see her.",
    ],
)
def test_an_ordinary_text_raises_nothing(text: str) -> None:
    assert default_detector().hits(text) == ()


def test_a_denial_is_a_hit_too() -> None:
    (hit,) = default_detector().hits("I don\u2019t want to kill myself anymore")
    assert (hit.code, hit.tier) == ("text_suicide", Tier.URGENT)


def test_the_most_urgent_comes_first_and_each_concern_once() -> None:
    hits = default_detector().hits(
        "I cut myself. I want to die, I am going to kill myself tonight, suicide is all I see."
    )
    assert [(h.concern, h.tier) for h in hits] == [
        (SignalConcern.SUICIDE, Tier.ACUTE),
        (SignalConcern.SELF_HARM, Tier.URGENT),
    ]


@pytest.mark.parametrize(
    ("phrases", "place", "reason"),
    [
        (["..."], "lists.0.phrases.0", "not_a_phrase"),
        (["one two three four five six seven eight nine ten 11 12 13"], "lists.0.phrases.0", None),
        (["can't go on", "CANT go   on"], "lists.0.phrases.1", "repeated"),
        ([f"word{n}" for n in range(1001)], "lists", "too_many_phrases"),
        ([], "lists.0.phrases", "too_short"),
    ],
)
def test_phrases_that_cannot_be_found_are_refused(
    phrases: list[str], place: str, reason: str | None
) -> None:
    with pytest.raises(InvalidPolicy) as refused:
        load_signal_policy(_document(*phrases))
    assert refused.value.place == place
    assert refused.value.reason == (reason or "not_a_phrase")


def test_the_phrases_that_ship_would_be_accepted_from_an_operator() -> None:
    seen: set[str] = set()
    for each in default_signal_policy().lists:
        assert isinstance(each, PhraseList)
        load_signal_policy(_document(*each.phrases))
        assert seen.isdisjoint(each.phrases)
        seen.update(each.phrases)
