"""The instruments that ship, read once from `app/instruments`."""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from app.domain.instruments.definitions import Instrument
from app.domain.instruments.faults import Fault, InvalidDefinition
from app.domain.instruments.loading import load


@cache
def shipped() -> Mapping[str, Instrument]:
    """Give every shipped instrument by its key.

    Raises InvalidDefinition when a file contradicts itself or its own name.
    """
    catalogue: dict[str, Instrument] = {}
    folder = resources.files("app") / "instruments"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".json"):
            continue
        instrument = load(json.loads(file.read_text(encoding="utf-8")))
        if file.name != f"{instrument.key}.json":
            raise InvalidDefinition([Fault("/key", "key_differs_from_file_name")])
        catalogue[instrument.key] = instrument
    return MappingProxyType(catalogue)
