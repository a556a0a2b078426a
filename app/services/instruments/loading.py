"""Loading a definition, and setting the figures that a shipped one leaves to the operator.

Both publish a new version and change none. A definition is stored whole or not at all, and
whoever wrote it learns of every mistake with its place.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid, NotFound, constraint_problem
from app.domain.instruments import Fault, Instrument, InvalidDefinition, dump, load, shipped
from app.fhir.questionnaires import translate
from app.models.audit import AuditAction
from app.models.instruments import InstrumentOrigin, InstrumentVersion
from app.schemas.instruments import (
    DefinitionFormat,
    InstrumentAdapt,
    InstrumentDefinitionRead,
    InstrumentLoad,
    Origin,
)
from app.security import audit
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.instruments.catalogue import Kept, definition_read, find_instrument, find_kept

_MOST: Final = 500
"""How many versions an organization may keep."""
_MOST_FAULTS: Final = 100
_EVENTS: Final = {
    InstrumentOrigin.LOADED: "instrument.loaded",
    InstrumentOrigin.ADAPTED: "instrument.adapted",
}
_REASONS: Final = {
    "ship_is_ours": "What an organization loads does not ship.",
    "license_evidence_missing": "Name the document that shows the right to use the instrument.",
    "license_expired": "The license has expired.",
    "not_a_setting": "The instrument leaves only its settings to the organization.",
    "repeated": "A setting is set once in a request.",
}


class InstrumentKeyTaken(Conflict):
    """An instrument that ships has this key; its figures are set, its wording is not replaced."""

    slug, title = "instrument-key-taken", "An instrument that ships has this key"


class InstrumentVersionTaken(Conflict):
    """The version was published; a published version never changes."""

    slug, title = "instrument-version-taken", "The version was published already"


class InstrumentVersionNotNewer(Conflict):
    """A new version is newer than the present one."""

    slug, title = "instrument-version-not-newer", "The version is not newer than the present one"


class TooManyInstruments(Conflict):
    """The organization keeps as many versions as it may."""

    slug, title = "too-many-instruments", "The organization keeps too many versions"


constraint_problem("instrument_version_key_idx", InstrumentVersionTaken)


async def load_instrument(
    db: AsyncSession, principal: Principal, request: InstrumentLoad
) -> InstrumentDefinitionRead:
    """Publish a definition that the organization has the right to use.

    Raises Invalid with the place of every mistake, InstrumentKeyTaken, InstrumentVersionTaken,
    InstrumentVersionNotNewer or TooManyInstruments.
    """
    instrument, place_of = _read(request)
    faults = _terms(instrument)
    if faults:
        raise _invalid(faults, place_of)
    if instrument.key in shipped():
        raise InstrumentKeyTaken
    return await _publish(db, principal, instrument, InstrumentOrigin.LOADED)


async def adapt_instrument(
    db: AsyncSession, principal: Principal, key: str, request: InstrumentAdapt
) -> InstrumentDefinitionRead:
    """Set what no source settles, as a new version with the organization's source.

    Raises NotFound, Invalid, InstrumentVersionTaken, InstrumentVersionNotNewer or
    TooManyInstruments.
    """
    kept = await find_kept(db, key)
    if kept is None:
        raise NotFound
    _check_settings(kept.instrument, request)
    written: Any = copy.deepcopy(dump(kept.instrument))
    written["version"] = request.version
    sources = {each.at: each.source for each in request.settings}
    for each in request.settings:
        _set(written, each.at, each.value)
    for setting in written["settings"]:
        if setting["at"] in sources:
            setting["note"] = f"Set by the organization: {sources[setting['at']]}"
    try:
        instrument = load(written)
    except InvalidDefinition as refused:
        raise _invalid(refused.faults, lambda place: _setting_place(request, place)) from None
    return await _publish(db, principal, instrument, InstrumentOrigin.ADAPTED)


async def _publish(
    db: AsyncSession, principal: Principal, instrument: Instrument, origin: InstrumentOrigin
) -> InstrumentDefinitionRead:
    present = await find_instrument(db, instrument.key)
    if await find_instrument(db, instrument.key, instrument.version) is not None:
        raise InstrumentVersionTaken
    if present is not None and _numbers(instrument.version) <= _numbers(present.version):
        raise InstrumentVersionNotNewer(present_version=present.version)
    kept = await db.scalar(select(func.count()).select_from(InstrumentVersion))
    if kept is not None and kept >= _MOST:
        raise TooManyInstruments
    row = InstrumentVersion(
        id=new_id(),
        instrument_key=instrument.key,
        instrument_version=instrument.version,
        origin=origin,
        definition=dump(instrument),
        loaded_by=principal.account_id,
        loaded_at=clock.now(),
    )
    db.add(row)
    await db.flush()
    await audit.record(
        db, AuditAction.CREATE, Permission.INSTRUMENT_MANAGE, "instrument_version", row.id
    )
    await events.record(db, _EVENTS[origin], row.id)
    return definition_read(Kept(instrument, Origin(origin.value)))


def _read(request: InstrumentLoad) -> tuple[Instrument, Callable[[str], str]]:
    """The definition in a request, and how its places are found in the request."""
    if request.format is DefinitionFormat.STEPWELL:
        written: dict[str, Any] = dict(request.definition)
        place_of: Callable[[str], str] = _in_definition
    else:
        try:
            translated = translate(dict(request.definition), dict(request.supplement or {}))
        except InvalidDefinition as refused:
            raise _invalid(refused.faults, _in_definition) from None
        written, place_of = translated.definition, translated.place
    try:
        return load(written), place_of
    except InvalidDefinition as refused:
        raise _invalid(refused.faults, place_of) from None


def _in_definition(place: str) -> str:
    return f"/definition{place}"


def _terms(instrument: Instrument) -> list[Fault]:
    """What an organization must show before it uses the words of others."""
    license_ = instrument.license
    faults: list[Fault] = []
    if instrument.ship != "no":
        faults.append(Fault("/ship", "ship_is_ours"))
    if not license_.evidence_file:
        faults.append(Fault("/license/evidence_file", "license_evidence_missing"))
    if license_.expires_on is not None and license_.expires_on < clock.now().date():
        faults.append(Fault("/license/expires_on", "license_expired"))
    return faults


def _check_settings(instrument: Instrument, request: InstrumentAdapt) -> None:
    known = {setting.at for setting in instrument.settings}
    faults: list[Fault] = []
    seen: set[str] = set()
    for number, each in enumerate(request.settings):
        if each.at not in known:
            faults.append(Fault(f"/settings/{number}/at", "not_a_setting"))
        elif each.at in seen:
            faults.append(Fault(f"/settings/{number}/at", "repeated"))
        seen.add(each.at)
    if faults:
        raise _invalid(faults, str)


def _setting_place(request: InstrumentAdapt, place: str) -> str:
    """Where in the request a mistake of the new definition comes from."""
    for number, each in enumerate(request.settings):
        if place == each.at or place.startswith(f"{each.at}/"):
            return f"/settings/{number}/value{place.removeprefix(each.at)}"
    return "/version" if place == "/version" else "/settings"


def _set(document: Any, pointer: str, value: object) -> None:  # noqa: ANN401 - JSON
    *path, last = pointer.split("/")[1:]
    node = document
    for part in path:
        node = node[int(part)] if isinstance(node, list) else node[part]
    node[int(last) if isinstance(node, list) else last] = value


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _invalid(faults: Sequence[Fault], place_of: Callable[[str], str]) -> Invalid:
    """The mistakes as a problem; what was written is not repeated."""
    return Invalid(
        errors=[
            FieldError(place_of(fault.place), fault.reason, _sentence(fault.reason))
            for fault in faults[:_MOST_FAULTS]
        ]
    )


def _sentence(reason: str) -> str:
    return _REASONS.get(reason, f"{reason.replace('_', ' ').capitalize()}.")
