"""The form as a whole: names that are used once, placeholders and settings that exist."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from app.domain.instruments.definitions import Instrument
from app.domain.instruments.faults import Fault

_PLACEHOLDER: Final = re.compile(r"\{\{\s*([^{}\s]*)\s*\}\}")


def form_faults(instrument: Instrument, raw: Mapping[str, object]) -> Iterator[Fault]:
    """Give what is wrong between the parts of a definition."""
    # Items and scores share one namespace, because a delta may name either.
    yield from _repeated(
        [(f"/items/{place}/id", item.id) for place, item in enumerate(instrument.items)]
        + [(f"/scores/{place}/id", rule.id) for place, rule in enumerate(instrument.scores)]
    )
    yield from _repeated((f"/flags/{n}/id", flag.id) for n, flag in enumerate(instrument.flags))
    for name, options in instrument.response_sets.items():
        values = ((f"/response_sets/{name}/{n}/value", o.value) for n, o in enumerate(options))
        yield from _repeated(values, "duplicate_value")
    yield from _placeholders(instrument)
    for place, setting in enumerate(instrument.settings):
        if not resolves(raw, setting.at):
            yield Fault(f"/settings/{place}/at", "setting_of_nothing")


def resolves(raw: object, pointer: str) -> bool:
    """Say whether a JSON pointer leads to something in a document."""
    node = raw
    for part in pointer.split("/")[1:]:
        if isinstance(node, Mapping) and part in node:
            node = node[part]
        elif isinstance(node, list | tuple) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        else:
            return False
    return True


def _repeated(names: Iterable[tuple[str, object]], reason: str = "duplicate_id") -> Iterator[Fault]:
    seen: set[object] = set()
    for place, name in names:
        if name in seen:
            yield Fault(place, reason)
        seen.add(name)


def _placeholders(instrument: Instrument) -> Iterator[Fault]:
    """A blank in the wording, such as the therapist's name, is filled in by whoever shows it."""
    texts = [("/instruction", instrument.instruction), ("/stem", instrument.stem)]
    for place, item in enumerate(instrument.items):
        texts += [(f"/items/{place}/text", item.text), (f"/items/{place}/stem", item.stem)]
    used: set[str] = set()
    for where, text in texts:
        names = set(_PLACEHOLDER.findall(text))
        used |= names
        if names - set(instrument.placeholders):
            yield Fault(where, "unknown_placeholder")
    for place, name in enumerate(instrument.placeholders):
        if name not in used:
            yield Fault(f"/placeholders/{place}", "unused_placeholder")
