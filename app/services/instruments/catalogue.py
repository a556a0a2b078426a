"""What an organization can assign: its own versions first, and what ships."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import ARRAY, Numeric, String, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import distinct_on

from app.core import clock
from app.core.database import Handle, Lane, Query, in_lane
from app.core.problems import Conflict, FieldError, Invalid, NotFound
from app.domain.instruments import Instrument, dump, load, shipped
from app.models.instruments import InstrumentSwitch, InstrumentVersion
from app.schemas.instruments import (
    InstrumentDefinitionRead,
    InstrumentRead,
    InstrumentSummary,
    Origin,
)
from app.services.instruments import describing

_OWN: Final = select(
    InstrumentVersion.id,
    InstrumentVersion.instrument_key,
    InstrumentVersion.origin,
    # Text is what a definition is kept by in memory, where reading it again would cost most.
    cast(InstrumentVersion.definition, String).label("definition"),
)
# A version is compared number by number, and a number may have any length.
_NEWEST_FIRST: Final = cast(
    func.string_to_array(InstrumentVersion.instrument_version, "."), ARRAY(Numeric)
).desc()
_ONE_VERSION: Final = Query(
    _OWN.where(
        InstrumentVersion.instrument_key == bindparam("key", type_=String),
        InstrumentVersion.instrument_version == bindparam("version", type_=String),
    )
)
_PRESENT: Final = Query(
    _OWN.where(InstrumentVersion.instrument_key == bindparam("key", type_=String))
    .order_by(_NEWEST_FIRST)
    .limit(1)
)
_EVERY_PRESENT: Final = Query(
    _OWN.ext(distinct_on(InstrumentVersion.instrument_key)).order_by(
        InstrumentVersion.instrument_key, _NEWEST_FIRST
    )
)
_SWITCH: Final = Query(
    select(InstrumentSwitch.is_on).where(
        InstrumentSwitch.instrument_key == bindparam("key", type_=String)
    )
)
_SWITCHES: Final = Query(select(InstrumentSwitch.instrument_key, InstrumentSwitch.is_on))


class InstrumentUnavailable(Conflict):
    """The instrument is switched off, or its license has expired."""

    slug, title = "instrument-unavailable", "The instrument cannot be assigned"


@dataclass(frozen=True, slots=True)
class Kept:
    """A definition, and how the organization came by it."""

    instrument: Instrument
    origin: Origin


async def find_instrument(
    handle: Handle, key: str, version: str | None = None
) -> Instrument | None:
    """The definition under a key, in the given version or in the present one; None if not kept."""
    kept = await find_kept(handle, key, version)
    return None if kept is None else kept.instrument


async def find_kept(handle: Handle, key: str, version: str | None = None) -> Kept | None:
    """A definition with its origin. An organization's own versions come before what ships."""
    own = shipped().get(key)
    if own is not None and version == own.version:
        return Kept(own, Origin.SHIPPED)
    lane = await in_lane(handle)
    if version is None:
        row = await lane.one(_PRESENT, key=key)
    else:
        row = await lane.one(_ONE_VERSION, key=key, version=version)
        own = None
    if row is not None:
        return _kept(row)
    return None if own is None else Kept(own, Origin.SHIPPED)


async def assignable_instrument(handle: Handle, key: str) -> Instrument:
    """The present version of an instrument that may be given to somebody today.

    Raises Invalid for a key that is unknown, and InstrumentUnavailable.
    """
    instrument = await find_instrument(handle, key)
    if instrument is None:
        raise Invalid(
            errors=[FieldError("/instrument_key", "unknown_instrument", "See /v1/instruments.")]
        )
    lane = await in_lane(handle)
    is_on: bool | None = await lane.value(_SWITCH, key=key)
    if not _is_assignable(instrument, is_on, clock.now().date()):
        raise InstrumentUnavailable
    return instrument


async def list_instruments(lane: Lane) -> Sequence[InstrumentSummary]:
    """Every instrument that the organization has, by key, whether it may be assigned or not."""
    present = {key: Kept(each, Origin.SHIPPED) for key, each in shipped().items()}
    present |= {row["instrument_key"]: _kept(row) for row in await lane.all(_EVERY_PRESENT)}
    switches = {row["instrument_key"]: row["is_on"] for row in await lane.all(_SWITCHES)}
    today = clock.now().date()
    return [
        InstrumentSummary.model_validate(_standing(kept, switches.get(key), today))
        for key, kept in sorted(present.items())
    ]


async def read_instrument(lane: Lane, key: str) -> InstrumentRead:
    """One instrument with its items, in its present version. Raises NotFound."""
    kept = await _get(lane, key)
    is_on: bool | None = await lane.value(_SWITCH, key=key)
    standing = _standing(kept, is_on, clock.now().date())
    return InstrumentRead.model_validate({**describing.whole(kept.instrument), **standing})


async def read_definition(lane: Lane, key: str, version: str | None) -> InstrumentDefinitionRead:
    """One version as it is written, with what the organization may set in it. Raises NotFound."""
    kept = await _get(lane, key, version)
    return definition_read(kept)


def definition_read(kept: Kept) -> InstrumentDefinitionRead:
    """A version as those who decide on it read it."""
    return InstrumentDefinitionRead.model_validate(
        {
            "key": kept.instrument.key,
            "version": kept.instrument.version,
            "origin": kept.origin,
            "definition": dump(kept.instrument),
            "settings": [{"at": s.at, "note": s.note} for s in kept.instrument.settings],
        }
    )


async def _get(lane: Lane, key: str, version: str | None = None) -> Kept:
    kept = await find_kept(lane, key, version)
    if kept is None:
        raise NotFound
    return kept


def _kept(row: asyncpg.Record) -> Kept:
    return Kept(_loaded(row["id"], row["definition"]), Origin(row["origin"]))


@lru_cache(maxsize=512)
def _loaded(_: UUID, definition: str) -> Instrument:
    """Read a stored definition once: a row never changes."""
    written: dict[str, object] = json.loads(definition)
    return load(written)


def _standing(kept: Kept, is_on: bool | None, today: date) -> Mapping[str, Any]:  # noqa: FBT001 - a column
    instrument = kept.instrument
    return {
        **describing.summary(instrument),
        "origin": kept.origin,
        "is_assignable": _is_assignable(instrument, is_on, today),
        "condition": instrument.license.condition,
        "license_expires_on": instrument.license.expires_on,
    }


def _is_assignable(instrument: Instrument, is_on: bool | None, today: date) -> bool:  # noqa: FBT001 - a column
    """What ships on a condition is off until somebody accepts it; an expired license ends use."""
    expires_on = instrument.license.expires_on
    if expires_on is not None and expires_on < today:
        return False
    return instrument.ship != "conditional" if is_on is None else is_on
