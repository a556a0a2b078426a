"""Text signals: phrases that may say that somebody is in danger.

A first look at what people write, and no more (clinical reference, section 5.4): a hit opens an
alert for people to read, and no hit is never evidence of safety. Nothing here judges a risk.
The phrases are data, by language, and an organization may load its own; a hit says which version
of them made it. A denial, a quotation or a joke is a hit too: who reads it can tell, and a rule
that guesses would be wrong where it matters most.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from functools import cache
from typing import Annotated, ClassVar, Final

from pydantic import Field

from app.domain.alerts import Tier
from app.domain.policies import STRICT, Dated, InvalidPolicy, load_policy, shipped_policy

MOST_PHRASES: Final = 1000
MOST_WORDS: Final = 12

Phrase = Annotated[str, Field(min_length=1, max_length=120)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")]


@unique
class SignalConcern(StrEnum):
    """What a phrase may be about; the alert's code is `text_` and this word."""

    SUICIDE = "suicide"
    SELF_HARM = "self_harm"
    OVERDOSE = "overdose"
    ABUSE = "abuse"
    VIOLENCE = "violence"


@dataclass(frozen=True, slots=True)
class PhraseList:
    """Phrases of one language that mean the same concern, equally urgent."""

    __pydantic_config__: ClassVar = STRICT
    language: Language
    concern: SignalConcern
    tier: Tier
    phrases: Annotated[tuple[Phrase, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalPolicy(Dated):
    """Every phrase that is looked for."""

    lists: Annotated[tuple[PhraseList, ...], Field(min_length=1, max_length=100)]


@dataclass(frozen=True, slots=True)
class Hit:
    """A concern that a text may raise: the most urgent phrase about it."""

    concern: SignalConcern
    tier: Tier
    phrase: str

    @property
    def code(self) -> str:
        """The alert's code."""
        return f"text_{self.concern.value}"


@cache
def default_signal_policy() -> SignalPolicy:
    """Give the phrases that ship, in English and Spanish."""
    return shipped_policy(SignalPolicy, "signals-default")


def load_signal_policy(raw: Mapping[str, object]) -> SignalPolicy:
    """Read an organization's own phrases.

    Refused are a phrase without a word or with more than twelve, one that is listed twice, and
    more than a thousand in all. Raises InvalidPolicy.
    """
    policy = load_policy(SignalPolicy, raw)
    seen: set[tuple[str, ...]] = set()
    for place, each in enumerate(policy.lists):
        for at, phrase in enumerate(each.phrases):
            words = tuple(_words(phrase))
            if not 0 < len(words) <= MOST_WORDS:
                raise InvalidPolicy(f"lists.{place}.phrases.{at}", "not_a_phrase")
            if words in seen:
                raise InvalidPolicy(f"lists.{place}.phrases.{at}", "repeated")
            seen.add(words)
    if len(seen) > MOST_PHRASES:
        raise InvalidPolicy("lists", "too_many_phrases")
    return policy


class Detector:
    """The phrases of one policy, ready to be looked for.

    Looking costs one pass to fold the text and one to collect its words. A phrase is only
    searched for when its longest word is among them, so an ordinary text is searched for hardly
    any; a text made of nothing but those words costs one linear search for each phrase.
    """

    __slots__ = ("_anchors", "_by_anchor", "version")

    def __init__(self, policy: SignalPolicy) -> None:
        self.version = f"{policy.key}@{policy.version}"
        """What a hit records: which phrases were looked for."""
        self._by_anchor: dict[str, list[tuple[str, Hit]]] = {}
        for each in policy.lists:
            for phrase in each.phrases:
                words = _words(phrase)
                entry = (f" {' '.join(words)} ", Hit(each.concern, each.tier, phrase))
                self._by_anchor.setdefault(max(words, key=len), []).append(entry)
        self._anchors = frozenset(self._by_anchor)

    def hits(self, text: str) -> tuple[Hit, ...]:
        """Give the concerns that a text may raise, each once, the most urgent first.

        Words are compared whole, without regard to case, accents, punctuation, apostrophes and
        invisible characters. Languages that write no spaces need phrases that stand alone.
        """
        words = _words(text)
        present = self._anchors.intersection(words)
        if not present:
            return ()
        padded = f" {' '.join(words)} "
        found: dict[SignalConcern, Hit] = {}
        for anchor in present:
            for phrase, hit in self._by_anchor[anchor]:
                if phrase in padded:
                    known = found.get(hit.concern)
                    if known is None or _order(hit) < _order(known):
                        found[hit.concern] = hit
        return tuple(sorted(found.values(), key=_order))


_URGENCY: Final = {Tier.ACUTE: 0, Tier.URGENT: 1, Tier.WATCH: 2}


def _order(hit: Hit) -> tuple[int, SignalConcern, str]:
    """The most urgent first, and the same for the same text whatever the order of the lists."""
    return _URGENCY[hit.tier], hit.concern, hit.phrase


@cache
def default_detector() -> Detector:
    """Give the detector for the phrases that ship."""
    return Detector(default_signal_policy())


CONTEXT: Final = 80
"""How many characters an excerpt shows on each side of a phrase, to the next word."""


def excerpt(text: str, phrase: str) -> str:
    """Cut a text to a phrase that was found in it, and what stands around it.

    People who answer an alert need the words in their context, and not the whole page (clinical
    reference, section 5.4).
    """
    # A run without spaces may hold several words ("kill-myself"), each of which ends with it.
    spans = [
        (word, run.start(), run.end())
        for run in _RUN.finditer(text)
        for word in _words(run.group())
    ]
    wanted = _words(phrase)
    found = _position([word for word, _, _ in spans], wanted)
    first, last = spans[found][1], spans[found + len(wanted) - 1][2]
    start = max((s for _, s, _ in spans if s <= max(first - CONTEXT, 0)), default=0)
    end = min((e for _, _, e in spans if e >= last + CONTEXT), default=len(text))
    start = max(start, first - 2 * CONTEXT)
    end = min(end, last + 2 * CONTEXT)
    return f"{'…' if start else ''}{text[start:end].strip()}{'…' if end < len(text) else ''}"


def _position(words: Sequence[str], wanted: Sequence[str]) -> int:
    for at in range(len(words) - len(wanted) + 1):
        if words[at : at + len(wanted)] == wanted:
            return at
    raise ValueError("the phrase is not in the text")


_RUN: Final = re.compile(r"\S+")
_UNSEEN: Final = frozenset({"Mn", "Me", "Cf"})
_APOSTROPHES: Final = frozenset("'`\u00b4\u02bc\u2018\u2019\u201b\uff07")


def _folded(character: str) -> str | None:
    """What a character of a case-folded text is to a word: part of it, its end, or nothing."""
    if character in _APOSTROPHES or unicodedata.category(character) in _UNSEEN:
        return None
    return character if character.isalnum() else " "


# For most texts one lookup for each character is all there is.
_ASCII: Final = {code: _folded(chr(code).casefold()) for code in range(128)}


def _words(text: str) -> list[str]:
    """Fold a text into the words that are compared."""
    if text.isascii():
        return text.translate(_ASCII).split()
    # An apostrophe may be taken apart into a space and a mark, hence before; folding may compose
    # anew what was taken apart, hence twice.
    for apostrophe in _APOSTROPHES.intersection(text):
        text = text.replace(apostrophe, "")
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return text.translate({ord(each): _folded(each) for each in set(text)}).split()
