"""Which instruments an organization uses. A condition is accepted by a person, and kept."""

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.database import in_lane
from app.core.ids import new_id
from app.core.problems import Conflict, NotFound
from app.domain.instruments import Instrument
from app.models.audit import AuditAction
from app.models.instruments import InstrumentSwitch
from app.schemas.instruments import InstrumentRead, InstrumentSwitchOn
from app.security import audit
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services.instruments.catalogue import find_instrument, read_instrument


class ConditionNotAccepted(Conflict):
    """The instrument may be used on a condition; `condition` is what must be accepted."""

    slug, title = "condition-not-accepted", "The condition of use was not accepted"


class InstrumentVersionChanged(Conflict):
    """The instrument has another version than the one whose condition was read."""

    slug, title = "instrument-version-changed", "The instrument has another version now"


async def switch_instrument_on(
    db: AsyncSession, principal: Principal, key: str, request: InstrumentSwitchOn
) -> InstrumentRead:
    """Use an instrument from now on; whoever accepts its condition is on record with it.

    Raises NotFound, InstrumentVersionChanged or ConditionNotAccepted.
    """
    instrument = await _get(db, key)
    if request.version != instrument.version:
        raise InstrumentVersionChanged(present_version=instrument.version)
    condition = instrument.license.condition
    if condition is not None and not request.accepts_condition:
        raise ConditionNotAccepted(condition=condition)
    return await _switch(db, principal, key, is_on=True, condition=condition)


async def switch_instrument_off(db: AsyncSession, principal: Principal, key: str) -> InstrumentRead:
    """Assign an instrument no more; what was assigned can still be answered. Raises NotFound."""
    await _get(db, key)
    return await _switch(db, principal, key, is_on=False, condition=None)


async def _get(db: AsyncSession, key: str) -> Instrument:
    instrument = await find_instrument(db, key)
    if instrument is None:
        raise NotFound
    return instrument


async def _switch(
    db: AsyncSession, principal: Principal, key: str, *, is_on: bool, condition: str | None
) -> InstrumentRead:
    now = clock.now()
    said = {
        "is_on": is_on,
        "accepted_condition": condition,
        "switched_by": principal.account_id,
        "updated_at": now,
    }
    statement = (
        insert(InstrumentSwitch)
        .values(id=new_id(), instrument_key=key, version=1, created_at=now, **said)
        .on_conflict_do_update(
            index_elements=["organization_id", "instrument_key"],
            set_={**said, "version": InstrumentSwitch.version + 1},
        )
        .returning(InstrumentSwitch.id)
    )
    switch_id = (await db.scalars(statement)).one()
    await audit.record(
        db, AuditAction.UPDATE, Permission.INSTRUMENT_MANAGE, "instrument_switch", switch_id
    )
    event = "instrument.switched_on" if is_on else "instrument.switched_off"
    await events.record(db, event, switch_id)
    return await read_instrument(await in_lane(db), key)
