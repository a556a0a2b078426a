"""What a definition must not say: each check names the place and the reason.

The checks read the whole definition, so that an author sees every mistake at once.
"""

from collections.abc import Iterator, Mapping

from app.domain.instruments.checks.conditions import cycles, flag_faults
from app.domain.instruments.checks.forms import form_faults
from app.domain.instruments.checks.items import item_faults
from app.domain.instruments.checks.scores import change_faults, score_faults
from app.domain.instruments.checks.terms import license_faults, loinc_faults
from app.domain.instruments.definitions import Instrument
from app.domain.instruments.faults import Fault

__all__ = ["faults_of"]


def faults_of(instrument: Instrument, raw: Mapping[str, object]) -> Iterator[Fault]:
    """Give every mistake of a readable definition; `raw` is the document it was read from."""
    yield from form_faults(instrument, raw)
    yield from cycles(instrument)
    for place, item in enumerate(instrument.items):
        yield from item_faults(instrument, item, f"/items/{place}")
    for place, rule in enumerate(instrument.scores):
        yield from score_faults(instrument, rule, f"/scores/{place}")
    for place, flag in enumerate(instrument.flags):
        yield from flag_faults(instrument, flag, f"/flags/{place}")
    yield from change_faults(instrument)
    yield from loinc_faults(instrument)
    yield from license_faults(instrument)
