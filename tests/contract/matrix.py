"""Every question of the authorization matrix, asked once for all tests that look at the answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus

from starlette.types import ASGIApp

from app.security.principal import Reach
from tests.contract.caller import Answer, call
from tests.contract.operations import Operation
from tests.contract.oracle import Cell, granted, named_in_body, objects_of
from tests.contract.people import Actor, Circle, World, slots_of
from tests.contract.requests import NOBODY, path_words, request_for
from tests.contract.things import body_for


@dataclass(frozen=True)
class Asked:
    """A question and what was answered."""

    cell: Cell
    answer: Answer


@dataclass(repr=False)  # no failure is told better by nine thousand answers
class Matrix:
    """Every question about every operation that a permission guards."""

    asked: list[Asked] = field(default_factory=list)

    @cached_property
    def able(self) -> dict[str, Actor]:
        """By operation, somebody who succeeded with their own organization's own objects."""
        found: dict[str, Actor] = {}
        for one in self.asked:
            cell = one.cell
            is_own = cell.circle is not None and cell.circle is cell.actor.clinic.own
            if is_own and one.answer.status < HTTPStatus.MULTIPLE_CHOICES:
                found.setdefault(cell.operation.id, cell.actor)
        return found


async def ask_everything(app: ASGIApp, world: World, operations: Sequence[Operation]) -> Matrix:
    """Fill the matrix. The application must be one that changes nothing."""
    matrix = Matrix()
    for operation in operations:
        if operation.permission is not None:
            for cell in _cells(world, operation):
                matrix.asked.append(Asked(cell, await _ask(app, cell)))
    return matrix


def _cells(world: World, operation: Operation) -> Iterator[Cell]:
    """Actors of both organizations; objects of four kinds, where that can make a difference."""
    here, elsewhere = world.clinic, world.elsewhere
    strangers = [a for a in elsewhere.actors if a.ties & (Reach.CARE_TEAM | Reach.SELF)]
    names_objects = bool(objects_of(operation))
    for actor in (*here.actors, *strangers):
        if not names_objects:
            yield Cell(operation, actor, actor.clinic.own)
            continue
        yield Cell(operation, actor, here.own)
        yield Cell(operation, actor, None)
        permission = operation.permission
        if actor.clinic is here and permission and granted(actor, permission):
            yield Cell(operation, actor, here.other)
            yield Cell(operation, actor, elsewhere.own)
            yield from (Cell(operation, actor, circle) for circle in _left_to(actor, operation))


def _left_to(actor: Actor, operation: Operation) -> Iterator[Circle]:
    """Whom nobody looks after: asked for by those who have no ties that could hide a mistake."""
    if actor.role is None or actor.ties is Reach.NONE:
        for circle in actor.clinic.left:
            if circle.has(slots_of(operation)):
                yield circle


async def _ask(app: ASGIApp, cell: Cell) -> Answer:
    operation, actor = cell.operation, cell.actor
    if cell.circle is not None:
        return await call(app, request_for(operation, cell.circle, actor))
    circle = actor.clinic.own
    places = {slot.name: slot.place for slot in objects_of(operation)}
    words = {
        name: NOBODY if name in places else word
        for name, word in path_words(operation, circle).items()
    }
    query = {name: NOBODY for name, place in places.items() if place == "query"}
    body = body_for(operation, circle)
    if isinstance(body, dict):
        body = {**body, **dict.fromkeys(named_in_body(operation), NOBODY)}
    request = request_for(operation, circle, actor, words=words, query=query, body=body)
    return await call(app, request)
