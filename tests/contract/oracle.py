"""What each operation must answer, worked out without a line of the code that decides it.

The policy table says who gets which reach; the world says which reaches bring an actor to an
object. Everything else follows.
"""

from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from app.security.permissions import POLICY, Permission
from app.security.principal import Reach
from tests.contract.caller import Answer
from tests.contract.operations import Operation
from tests.contract.people import WORDS, Actor, Circle, Slot, slots_of


class Expected(Enum):
    """How an operation answers."""

    NOT_YOURS_TO_DO = auto()
    NOTHING_THERE = auto()
    NOTHING_LISTED = auto()
    """A list that was asked for what the caller may not see is empty."""

    ANSWERED = auto()
    """With a success, or with what the present state or a rule of the clinic has against it."""


@dataclass(frozen=True)
class Cell:
    """One question: an operation, by an actor, about a circle's objects, or about nothing's."""

    operation: Operation
    actor: Actor
    circle: Circle | None

    @property
    def question(self) -> str:
        """The question in words."""
        whose = (
            "nothing" if self.circle is None else f"{self.circle.name} {self.circle.clinic.name}"
        )
        return f"{self.operation} by {self.actor.name} {self.actor.clinic.name} about {whose}"


def objects_of(operation: Operation) -> tuple[Slot, ...]:
    """Where an operation names an object of an organization."""
    return tuple(slot for slot in slots_of(operation) if slot.name not in WORDS)


def named_in_body(operation: Operation) -> frozenset[str]:
    """The objects that the body's example names, so that a valid body names them, too."""
    example = operation.example()
    names = {slot.name for slot in slots_of(operation) if slot.place == "body"}
    return frozenset(name for name in names if example.get(name) is not None)


def granted(actor: Actor, permission: Permission) -> Reach:
    """What the policy table gives an actor."""
    rule = POLICY[permission]
    if actor.role is None:
        return rule.participant
    if rule.needs_license and not actor.is_licensed:
        return Reach.NONE
    return rule.staff.get(actor.role, Reach.NONE)


def reaches(actor: Actor, circle: Circle, reach: Reach) -> bool:
    """Whether a reach brings an actor to the objects of a circle."""
    if actor.clinic is not circle.clinic:
        return False
    ties = actor.ties if actor.circle is circle else Reach.NONE
    return bool(reach & (ties | circle.left | Reach.ORGANIZATION))


def expected(cell: Cell, permission: Permission) -> Expected:
    """The oracle."""
    reach = granted(cell.actor, permission)
    if reach is Reach.NONE:
        return Expected.NOT_YOURS_TO_DO
    objects = objects_of(cell.operation)
    is_reached = cell.circle is not None and reaches(cell.actor, cell.circle, reach)
    if not objects or is_reached:
        return Expected.ANSWERED
    places = {slot.place for slot in objects}
    if "path" in places or named_in_body(cell.operation):
        return Expected.NOTHING_THERE
    return Expected.NOTHING_LISTED if "query" in places else Expected.ANSWERED


def actual(answer: Answer) -> Expected:
    """What an answer amounts to."""
    if (answer.status, answer.code) == (HTTPStatus.FORBIDDEN, "forbidden"):
        return Expected.NOT_YOURS_TO_DO
    if (answer.status, answer.code) == (HTTPStatus.NOT_FOUND, "not_found"):
        return Expected.NOTHING_THERE
    is_empty = answer.status == HTTPStatus.OK and b'"items":[]' in answer.body
    return Expected.NOTHING_LISTED if is_empty else Expected.ANSWERED


def is_as_expected(cell: Cell, permission: Permission, answer: Answer) -> bool:
    """Whether an answer is the expected one; an empty list is an answer, too."""
    wanted, found = expected(cell, permission), actual(answer)
    if wanted is Expected.ANSWERED:
        is_answer = found in {Expected.ANSWERED, Expected.NOTHING_LISTED}
        return is_answer and answer.status not in _BROKEN
    return wanted is found


_BROKEN: Final = frozenset(
    {
        # A valid request was built for each operation: these would say that it was not.
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.PRECONDITION_REQUIRED,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
)
