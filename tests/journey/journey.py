"""What the parts of the journey share: the people, the time, and what has come to exist."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.journey.people import BROWSER, Person
from tests.journey.processes import Service
from tests.journey.receiver import Receiver
from tests.journey.story import Story, Surprise

ZONE_NAME: Final = "America/Denver"
ZONE: Final = ZoneInfo(ZONE_NAME)
PATIENCE_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05
_DAY: Final = timedelta(days=1)
_LEAD: Final = timedelta(days=19)


@dataclass(frozen=True, slots=True)
class Calendar:
    """When the journey takes place: around the next change of clocks in Denver.

    The clocks change on a Sunday. The group meets on the two Tuesdays before and the two after.
    """

    change_on: date

    @classmethod
    def after(cls, now: datetime) -> "Calendar":
        """Around the first change that leaves room for what comes before it."""
        day = (now + _LEAD + _DAY).astimezone(ZONE).date()
        while _midnight(day).utcoffset() == _midnight(day + _DAY).utcoffset():
            day += _DAY
        return cls(day)

    @property
    def begins_at(self) -> datetime:
        """The morning on which everything before the first session takes place."""
        return datetime.combine(self.change_on - _LEAD, time(9), ZONE).astimezone(UTC)

    @property
    def first_evening(self) -> datetime:
        """When the group first meets, as the clock on the wall in Denver says."""
        return datetime.combine(self.change_on - timedelta(days=12), time(17))


@dataclass
class Case:
    """One participant's way: what was made for them, by id."""

    person: Person
    alias: str
    participant_id: str
    intake_id: str
    assessments: dict[str, str] = field(default_factory=dict)
    evidence: dict[str, set[str]] = field(default_factory=dict)
    enrollment_id: str = ""
    plan_id: str = ""

    @property
    def secrets(self) -> set[str]:
        """What must not reach another participant: who they are, and what is theirs, by id."""
        person = self.person
        ids = {self.participant_id, self.intake_id, self.enrollment_id, self.plan_id}
        return {
            *person.name.split(),
            person.email,
            person.me["account_id"],
            *ids - {""},
            *self.assessments.values(),
        }


@dataclass
class Journey:
    """The walk so far."""

    story: Story
    service: Service
    receiver: Receiver
    stack: AsyncExitStack
    calendar: Calendar
    staff: dict[str, Person] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    program: dict[str, Any] = field(default_factory=dict)
    listens_after: int = 0
    """The position in the feed after which the receiver is owed every event."""
    group: dict[str, Any] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    _people: int = 0

    @property
    def administrator(self) -> Person:
        """Avery, who opens the program."""
        return self.staff["administrator"]

    @property
    def coordinator(self) -> Person:
        """Dana, who refers and schedules."""
        return self.staff["care_coordinator"]

    @property
    def clinician(self) -> Person:
        """Robin, who is licensed."""
        return self.staff["clinician"]

    @property
    def facilitator(self) -> Person:
        """Sol, who leads the group."""
        return self.staff["facilitator"]

    @property
    def jordan(self) -> Case:
        """The participant whose journey it is."""
        return self.cases["jordan"]

    @property
    def casey(self) -> Case:
        """The other participant of the same program."""
        return self.cases["casey"]

    def introduce(self, name: str, email: str, app: str = BROWSER) -> Person:
        """Somebody new, whose device knows one of the two processes by turns."""
        person = Person(self.story, name, email, self.service.address(self._people), app)
        self._people += 1
        self.stack.push_async_callback(person.close)
        return person

    async def move_clock(self, to: datetime) -> None:
        """Let the organization live at an instant."""
        moved = await self.administrator.post(
            "/v1/clock", {"now": to.astimezone(UTC).isoformat()}, expect=HTTPStatus.OK
        )
        self.story.step(
            f"Avery moves the clock to {to.astimezone(ZONE):%A, %B %d, %H:%M} in Denver",
            moved.status,
            f"now {moved['now']}",
        )

    async def eventually(self, reached: Callable[[], Awaitable[bool]], otherwise: str) -> None:
        """Ask again until it is so: another process does it. Raises Surprise."""
        self.story.expectations += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await reached():  # noqa: ASYNC110 (no event crosses processes)
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise Surprise(otherwise) from None


def instant(text: str) -> datetime:
    """An instant of an answer."""
    return datetime.fromisoformat(text)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(0), ZONE)
