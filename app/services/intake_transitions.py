"""The moves of an intake: each with who made it, when and why, stored beside the new state."""

from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.core.problems import Conflict
from app.domain.intake import INTAKE_MACHINE, IntakeAction, IntakeState, possible_moves
from app.domain.transitions import IllegalTransition
from app.models.intakes import Intake, IntakeTransition
from app.security import seals
from app.security.principal import Principal

TABLE: Final = "intake_transition"


class IntakeMoveRefused(Conflict):
    """The intake cannot go there from its `state`; `possible_states` and `possible_actions` can."""

    slug, title = "intake-move-refused", "The intake cannot move so from where it stands"


async def begin(db: AsyncSession, principal: Principal, intake: Intake, reason: str) -> None:
    """Store where an intake begins: it was referred, by whom and why."""
    await _store(db, principal, intake, reason)


async def move(
    db: AsyncSession, principal: Principal, intake: Intake, action: IntakeAction, reason: str
) -> None:
    """Move a locked intake, and store the move. Raises IntakeMoveRefused."""
    origin = intake.state
    try:
        intake.state = INTAKE_MACHINE.advance(origin, action)
    except IllegalTransition:
        possible = possible_moves(origin)
        raise IntakeMoveRefused(
            state=origin.value,
            possible_states=sorted({state.value for state in possible.values()}),
            possible_actions=sorted(each.value for each in possible),
        ) from None
    # Also where the state is the same again, the intake has changed: its version shows it.
    intake.updated_at = clock.now()
    await _store(db, principal, intake, reason, (action, origin))


async def _store(
    db: AsyncSession,
    principal: Principal,
    intake: Intake,
    reason: str,
    moved: tuple[IntakeAction, IntakeState] | None = None,
) -> None:
    action, origin = moved or (None, None)
    transition_id: UUID = new_id()
    key = await seals.participant_key(db, intake.participant_id)
    db.add(
        IntakeTransition(
            id=transition_id,
            intake_id=intake.id,
            action=action,
            from_state=origin,
            to_state=intake.state,
            actor_id=principal.account_id,
            at=clock.now(),
            **seals.sealed(key, TABLE, transition_id, reason=reason),
        )
    )
    await db.flush()
