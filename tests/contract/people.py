"""Who and what the world consists of: circles, actors, clinics, and where objects are named."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from app.core import clock
from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.security.principal import Reach
from app.security.tokens import AccessClaims
from tests.contract.operations import Operation
from tests.factories import Make, Person

_FRESH: Final = timedelta(minutes=3)

WORDS: Final = frozenset({"key"})
"""Slots that hold a word of the software itself, the same for every organization."""


CHOSEN: Final = frozenset({"client_message_id"})
"""Ids that the client makes up: they name nothing that exists."""


class Unmade(AssertionError):
    """An operation needs an object that this world does not make; the message says what to add."""


@dataclass(frozen=True)
class Slot:
    """Where an operation names an object."""

    operation: Operation
    place: str
    name: str

    @property
    def keys(self) -> tuple[str, ...]:
        """Under what the object is found, the most particular first.

        `close_alert.alert_id` is an alert in the state that the operation needs;
        `/v1/groups/{group_id}/members/{member_id}` says what `member_id` means there.
        """
        particular = (f"{self.operation.id}.{self.name}",)
        if self.place != "path":
            return (*particular, self.name)
        before, parameter, _ = self.operation.path.partition(f"{{{self.name}}}")
        return (*particular, before + parameter, self.name)


def slots_of(operation: Operation) -> tuple[Slot, ...]:
    """Every place in which an operation names an object: path, query and body."""
    path = [Slot(operation, "path", one.name) for one in operation.placed("path")]
    query = [
        Slot(operation, "query", one.name)
        for one in operation.placed("query")
        if one.name.endswith("_id")
    ]
    body = (Slot(operation, "body", n) for n in operation.id_fields if n not in CHOSEN)
    return (*path, *query, *body)


@dataclass(eq=False, repr=False)
class Circle:
    """One participant, and everything that is about them."""

    name: str
    clinic: "Clinic"
    participant: Person
    clinician: Person
    spare: Person
    """A staff member who is related to nobody yet."""

    team: tuple[Person, ...]
    leaders: tuple[Person, ...]
    left: Reach = Reach.NONE
    """Which reaches open it to whoever has them, because nobody else looks after it."""

    things: dict[str, str] = field(default_factory=dict)

    def has(self, slots: Iterable[Slot]) -> bool:
        """Whether it has an object for each of these."""
        return all(any(key in self.things for key in slot.keys) for slot in slots)

    def thing(self, slot: Slot) -> str:
        """The id of this circle's object for a slot. Raises Unmade."""
        for key in slot.keys:
            if key in self.things:
                return self.things[key]
        raise Unmade(
            f"{slot.operation} names an object as {slot.name}, and tests/contract/things.py makes"
            f" none: add {slot.keys[-2]!r} or {slot.name!r} to MAKERS."
        )

    @property
    def ids(self) -> frozenset[str]:
        """Whatever tells that this circle's participant exists."""
        person = self.participant
        assert person.participant_id is not None
        return frozenset(map(str, (person.participant_id, person.account_id)))


@dataclass(eq=False, repr=False)
class Actor:
    """Somebody who calls, and how they stand to the first circle of their organization."""

    name: str
    clinic: "Clinic"
    person: Person
    role: StaffRole | None
    ties: Reach
    circle: Circle | None = None
    is_licensed: bool = True

    def __post_init__(self) -> None:
        now = clock.wall()
        self._token = self.person.token
        self._claims = self.clinic.make.runtime.verifier.verify(self._token, now)

    @property
    def claims(self) -> AccessClaims:
        """What their token says."""
        return self._claims

    def token(self) -> str:
        """An access token that is valid for a while yet."""
        now = clock.wall()
        if now - self._claims.iat > _FRESH:
            self._claims = replace(
                self._claims, iat=now, exp=now + 2 * _FRESH, auth_time=now, jti=new_id()
            )
            self._token = self.clinic.make.runtime.issuer.issue(self._claims, now)
        return self._token


@dataclass(eq=False, repr=False)
class Clinic:
    """One organization."""

    name: str
    make: Make
    administrator: Person
    coordinator: Person
    supervisor: Person
    circles: list[Circle] = field(default_factory=list)
    left: list[Circle] = field(default_factory=list)
    """Circles of participants whom nobody attends, or whose alerts nobody answers."""

    actors: list[Actor] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)

    @property
    def own(self) -> Circle:
        """The circle that the related actors are related to."""
        return self.circles[0]

    @property
    def other(self) -> Circle:
        """The circle of strangers."""
        return self.circles[1]

    def actor(self, name: str) -> Actor:
        """One of the people, by name: `clinician in the care team`."""
        return next(actor for actor in self.actors if actor.name == name)


@dataclass(repr=False)
class World:
    """Both organizations."""

    clinic: Clinic
    elsewhere: Clinic

    @property
    def circles(self) -> Iterator[Circle]:
        """All four circles that have an object of every kind."""
        yield from (*self.clinic.circles, *self.elsewhere.circles)

    @property
    def everybody(self) -> Iterator[Circle]:
        """The same, and those who are left alone."""
        yield from (*self.circles, *self.clinic.left, *self.elsewhere.left)
