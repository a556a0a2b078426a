"""State machines as tables: which verb moves which state to which.

Alerts, intakes and plans each declare one. A move that the table does not name
is refused, so a state is only ever reached by a verb that means it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)
A = TypeVar("A", bound=StrEnum)


class IllegalTransition(ValueError):
    """The verb does not apply in this state; both are words, never content."""

    def __init__(self, state: StrEnum, action: StrEnum) -> None:
        super().__init__(f"cannot {action.value} what is {state.value}")
        self.state = state
        self.action = action


@dataclass(frozen=True, slots=True)
class Machine(Generic[S, A]):
    """The legal moves of one kind of thing."""

    moves: Mapping[tuple[S, A], S]

    def advance(self, state: S, action: A) -> S:
        """Give the state that follows, or raise IllegalTransition."""
        try:
            return self.moves[state, action]
        except KeyError:
            raise IllegalTransition(state, action) from None

    def actions(self, state: S) -> frozenset[A]:
        """Give the verbs that apply in a state; an end state has none."""
        return frozenset(action for origin, action in self.moves if origin == state)
