"""Instruments: those that ship, those that an organization has loaded, and which of them it uses.

Nothing here is about a person. A version never changes: whoever wants other wording or figures
publishes a new version, and a stored score keeps the one that made it.
"""

from app.services.instruments.catalogue import (
    InstrumentUnavailable,
    assignable_instrument,
    find_instrument,
    list_instruments,
    read_definition,
    read_instrument,
)
from app.services.instruments.loading import (
    InstrumentKeyTaken,
    InstrumentVersionNotNewer,
    InstrumentVersionTaken,
    TooManyInstruments,
    adapt_instrument,
    load_instrument,
)
from app.services.instruments.switching import (
    ConditionNotAccepted,
    InstrumentVersionChanged,
    switch_instrument_off,
    switch_instrument_on,
)

__all__ = [
    "ConditionNotAccepted",
    "InstrumentKeyTaken",
    "InstrumentUnavailable",
    "InstrumentVersionChanged",
    "InstrumentVersionNotNewer",
    "InstrumentVersionTaken",
    "TooManyInstruments",
    "adapt_instrument",
    "assignable_instrument",
    "find_instrument",
    "list_instruments",
    "load_instrument",
    "read_definition",
    "read_instrument",
    "switch_instrument_off",
    "switch_instrument_on",
]
