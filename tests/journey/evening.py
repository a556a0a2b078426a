"""One session, live: three people on two processes, a tunnel, a removal, and the minutes."""

import asyncio
import json
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, TypeVar

from tests.clients.chat import ChatClient, Frame, RefusedError, RoomView
from tests.clients.checkers import Acknowledged, Display, Logged, Membership, check_rooms
from tests.journey.journey import PATIENCE_SECONDS, Journey, instant
from tests.journey.people import Person
from tests.journey.story import Surprise

T = TypeVar("T")

SAID: Final = (
    "Welcome, everybody. Let us begin with one breath.",
    "I tried the breathing exercise twice this week.",
    "I could not sleep again.",
)
MISSED: Final = (
    "What helped you on the second evening?",
    "Leaving the phone in the kitchen.",
    "Thank you for saying that.",
)
AFTERWARDS: Final = "We go on in a smaller circle tonight."
_REMOVED_WITHIN_SECONDS: Final = 2.0
_TUNNEL_AT: Final = timedelta(minutes=30)
_REMOVAL_AT: Final = timedelta(minutes=45)
_LEAVES_AT: Final = timedelta(minutes=80)


class Tunnel:
    """Keeps a device that has lost its connection from coming back until it is out again."""

    def __init__(self) -> None:
        self.is_over = asyncio.Event()

    async def pause(self, _seconds: float) -> None:
        """Wait for the other end."""
        await self.is_over.wait()


@dataclass(slots=True)
class Seat:
    """Somebody in the room: their device, what it shows, and as whom the room knows them."""

    person: Person
    client: ChatClient
    view: RoomView
    member_id: str
    first_seq: int
    until_seq: int | None = None

    @property
    def display(self) -> Display:
        """What the device showed, for the checkers."""
        shown = tuple((entry["seq"], entry["entry_id"]) for entry in self.view.shown)
        return Display(self.view.room_id, self.member_id, self.view.began_after, shown)

    @property
    def membership(self) -> Membership:
        """Between which entries they were in the room."""
        return Membership(self.view.room_id, self.member_id, self.first_seq, self.until_seq)


class Evening:
    """The first session of the series."""

    def __init__(self, journey: Journey) -> None:
        self._journey, self._story = journey, journey.story
        self._session = journey.sessions[0]
        self._path = f"/v1/sessions/{self._session['id']}"
        self._starts_at = instant(self._session["starts_at"])
        self._room_id = ""
        self._tunnel = Tunnel()
        self._seats: dict[str, Seat] = {}

    async def walk(self) -> None:
        """From the closed door to the minutes."""
        self._story.chapter("At the hour: one room, two processes, three people")
        await self._come_too_early()
        await self._journey.move_clock(self._starts_at)
        async with AsyncExitStack() as stack:
            stack.callback(self._remember)
            await self._enter(stack)
            await self._talk()
            await self._journey.move_clock(self._starts_at + _TUNNEL_AT)
            await self._lose_a_connection()
            await self._journey.move_clock(self._starts_at + _REMOVAL_AT)
            await self._remove_casey()
            await self._check_the_room()
            await self._journey.move_clock(self._starts_at + _LEAVES_AT)
        await self._count_minutes()

    async def _come_too_early(self) -> None:
        early = await self._journey.jordan.person.post(
            f"{self._path}/join", expect=HTTPStatus.CONFLICT
        )
        self._story.step("Jordan comes days too early", early.status, early["code"])

    async def _enter(self, stack: AsyncExitStack) -> None:
        """Each joins the session by REST and follows its room, on one process or the other."""
        guests = (
            (self._journey.facilitator, 0),
            (self._journey.jordan.person, 1),
            (self._journey.casey.person, 0),
        )
        for person, process in guests:
            door = await person.post(f"{self._path}/join", expect=HTTPStatus.OK)
            self._story.expect(self._room_id in {"", door["room_id"]}, "the session has two rooms")
            self._room_id = door["room_id"]
            room = await person.get(f"/v1/rooms/{self._room_id}")
            client = await stack.enter_async_context(
                person.chat(
                    self._journey.service.socket_address(process),
                    *([self._tunnel.pause] if person is self._journey.jordan.person else []),
                )
            )
            view = await _patiently(
                client.follow(self._room_id, after_seq=room["first_seq"] - 1),
                f"{person.name} could not follow the room",
            )
            self._seats[person.given_name] = Seat(
                person, client, view, room["member_id"], room["first_seq"]
            )
            self._story.step(
                f"{person.given_name} enters over WebSocket at process {process + 1}",
                101,
                f"{room['role']}, sees entries from {room['first_seq']}",
            )

    async def _talk(self) -> None:
        for seat, body in zip(self._seats.values(), SAID, strict=True):
            await self._say(seat, body)
        await self._expect_everybody_to_see(SAID)
        authors = [
            entry["author"]["alias"]
            for entry in self._seats["Casey"].view.shown
            if entry["kind"] == "message"
        ]
        self._story.expect(
            self._journey.jordan.alias in authors and "Jordan" not in str(authors),
            f"Casey knows the authors as {authors}",
        )
        self._story.step(
            "Each writes, and all see all of it, by alias only", telling=", ".join(authors)
        )

    async def _lose_a_connection(self) -> None:
        """Jordan's train enters a tunnel; what is said meanwhile is shown afterwards, in order."""
        jordan = self._seats["Jordan"]
        await jordan.client.drop()
        for name, body in zip(("Sol", "Casey", "Sol"), MISSED, strict=True):
            await self._say(self._seats[name], body)
        bodies = [entry["body"] for entry in jordan.view.shown]
        self._story.expect(
            not set(bodies) & set(MISSED), "a lost connection was told what was said"
        )
        self._story.step(
            "Jordan's connection is lost; the others go on", telling=f"{len(MISSED)} messages"
        )
        self._tunnel.is_over.set()
        await self._expect_everybody_to_see(MISSED)
        places = [entry["seq"] for entry in jordan.view.shown]
        self._story.expect(
            places == list(range(places[0], places[-1] + 1)), f"Jordan's screen shows {places}"
        )
        self._story.expect(jordan.client.close_codes == [1006], "the connection was not lost")
        self._story.step(
            "Jordan comes back and resumes without a gap",
            telling=f"entries {places[0]} to {places[-1]}, each once",
        )

    async def _remove_casey(self) -> None:
        """Sol removes Casey: the socket hears nothing more of the room, and neither does REST."""
        sol, casey = self._seats["Sol"], self._seats["Casey"]
        casey.until_seq = max(entry["seq"] for entry in sol.view.shown)
        told = asyncio.ensure_future(casey.client.until_ended(self._room_id))
        removed = await sol.person.post(
            f"/v1/rooms/{self._room_id}/members/{casey.member_id}/remove",
            expect=HTTPStatus.NO_CONTENT,
        )
        committed_at = asyncio.get_running_loop().time()
        code = await _patiently(told, "Casey's socket still follows the room")
        took = asyncio.get_running_loop().time() - committed_at
        self._story.expect(
            took < _REMOVED_WITHIN_SECONDS, f"Casey's socket was told after {took:.1f} s"
        )
        self._story.step(
            "Sol removes Casey, and Casey's socket leaves the room", removed.status, f"{code}"
        )
        await self._say(sol, AFTERWARDS)
        await self._expect_everybody_to_see((AFTERWARDS,), ("Sol", "Jordan"))
        gone = await casey.person.get(
            f"/v1/rooms/{self._room_id}/entries", expect=HTTPStatus.NOT_FOUND
        )
        back = await casey.person.post(f"{self._path}/join", expect=HTTPStatus.FORBIDDEN)
        try:
            await casey.client.say(self._room_id, "Am I still here?")
        except RefusedError as refused:
            self._story.step(
                "Casey can neither read on, nor come back, nor write",
                gone.status,
                f"{back['code']}, {refused.code}",
            )
        else:
            self._story.surprise("somebody who was removed still writes")

    async def _check_the_room(self) -> None:
        """Hold the log, the acknowledgements and every screen against the invariants."""
        log = await self._seats["Sol"].person.entries(self._room_id)
        seats = self._seats.values()
        violations = check_rooms(
            [Logged(self._room_id, entry["seq"], entry["entry_id"]) for entry in log],
            [
                Acknowledged(self._room_id, ack["seq"], ack["message_id"])
                for seat in seats
                for ack in seat.client.acks
                if ack["seq"] is not None
            ],
            [seat.display for seat in seats],
            [seat.membership for seat in seats],
        )
        self._story.expect(not violations, f"the room breaks its promises: {violations}")
        self._story.step(
            "Log, acknowledgements and three screens agree",
            telling=f"{len(log)} entries, nothing missing, doubled or out of place",
        )

    def _remember(self) -> None:
        """Keep every frame with what each device has heard by HTTP."""
        for seat in self._seats.values():
            client = seat.client
            frames = [*seat.view.shown, *client.events, *client.presence, *client.errors]
            seat.person.heard.append(json.dumps(frames))

    async def _count_minutes(self) -> None:
        """The sockets are closed; the minutes that they prove are read when the session is over."""
        journey = self._journey
        lines: list[dict[str, Any]] = []

        async def have_left() -> bool:
            attendance = await journey.facilitator.get(f"{self._path}/attendance")
            lines[:] = attendance["lines"]
            return len(lines) == 2 and not any(each["unexplained_minutes"] for each in lines)

        await journey.eventually(have_left, "somebody's presence was not ended")
        await journey.move_clock(instant(self._session["ends_at"]) + timedelta(minutes=1))
        await journey.eventually(have_left, "the attendance changed after the session")
        minutes = {each["participant_id"]: each["minutes"] for each in lines}
        self._expect_minutes(minutes[journey.jordan.participant_id], _LEAVES_AT, "Jordan")
        self._expect_minutes(minutes[journey.casey.participant_id], _REMOVAL_AT, "Casey")
        self._story.step(
            "Sol reads the minutes of both",
            200,
            ", ".join(f"{each['minutes']} ({each['status']})" for each in lines),
        )
        own = (await journey.jordan.person.get(f"{self._path}/attendance"))["lines"]
        self._story.expect(
            [each["participant_id"] for each in own] == [journey.jordan.participant_id],
            "Jordan reads somebody else's attendance",
        )
        self._story.step(
            "Jordan reads their own, and no other", 200, f"{own[0]['minutes']} minutes"
        )

    def _expect_minutes(self, minutes: int, expected: timedelta, name: str) -> None:
        """A session's clock jumps here, and seconds pass between the jumps."""
        whole = int(expected.total_seconds()) // 60
        self._story.expect(
            whole - 1 <= minutes <= whole + 1, f"{name} attended {minutes} minutes, not {whole}"
        )

    async def _say(self, seat: Seat, body: str) -> Frame:
        ack = await _patiently(
            seat.client.say(self._room_id, body), f"{seat.person.name}'s message was not taken"
        )
        self._story.expect(not ack["duplicate"], "a message said once was there already")
        return ack

    async def _expect_everybody_to_see(
        self, bodies: Sequence[str], names: Sequence[str] = ("Sol", "Jordan", "Casey")
    ) -> None:
        """Wait until these bodies are the last messages on each of these screens."""
        last = max(ack["seq"] for seat in self._seats.values() for ack in seat.client.acks)
        for name in names:
            shown = await _patiently(
                self._seats[name].client.until_shown(self._room_id, last),
                f"{name} does not see entry {last}",
            )
            said = [entry["body"] for entry in shown if entry["kind"] == "message"]
            self._story.expect(
                said[-len(bodies) :] == list(bodies), f"{name} sees {said[-len(bodies) :]}"
            )


async def attend(journey: Journey) -> None:
    """Walk through the first session."""
    await Evening(journey).walk()


async def _patiently(answer: Awaitable[T], otherwise: str) -> T:
    """Wait for an answer as long as anybody would. Raises Surprise."""
    try:
        return await asyncio.wait_for(answer, PATIENCE_SECONDS)
    except TimeoutError:
        raise Surprise(otherwise) from None
    except RefusedError as refused:
        raise Surprise(f"{otherwise}: {refused.code}") from None
