"""On what terms a definition may be used: its license, and the codes of others that it carries."""

from collections.abc import Iterator
from typing import Final

from app.domain.instruments.definitions import Instrument
from app.domain.instruments.faults import Fault
from app.domain.instruments.loinc import is_loinc

LOINC_NOTICE: Final = "This material contains content from LOINC (loinc.org)."


def license_faults(instrument: Instrument) -> Iterator[Fault]:
    """Give what the license lacks."""
    if (instrument.ship == "conditional") is (instrument.license.condition is None):
        yield Fault("/license/condition", "condition_belongs_to_conditional")


def loinc_faults(instrument: Instrument) -> Iterator[Fault]:
    """Give the LOINC codes that are none, and the notice that their license asks for."""
    coded = list(_codes(instrument))
    for place, code in coded:
        if not is_loinc(code):
            yield Fault(place, "invalid_loinc")
    if coded and not any(n.startswith(LOINC_NOTICE) for n in instrument.license.notices):
        yield Fault("/license/notices", "loinc_notice_missing")


def _codes(instrument: Instrument) -> Iterator[tuple[str, str]]:
    """Walk every LOINC code with its place."""
    if instrument.loinc is not None:
        yield "/loinc", instrument.loinc
    for code in instrument.loinc_display:
        yield f"/loinc_display/{code}", code
    for number, item in enumerate(instrument.items):
        if item.loinc is not None:
            yield f"/items/{number}/loinc", item.loinc
    for number, rule in enumerate(instrument.scores):
        if rule.loinc is not None:
            yield f"/scores/{number}/loinc", rule.loinc
    for name, options in instrument.response_sets.items():
        for number, option in enumerate(options):
            if option.loinc is not None:
                yield f"/response_sets/{name}/{number}/loinc", option.loinc
