"""One flight of the whole API: everything is asked, for good, over a world that may be used up.

Each operation is asked well by somebody who may, badly by the same, by somebody who may not, and
by nobody. Whatever can be written holds a canary. The worker carries mail and webhooks meanwhile,
and everything that is logged, sent or told is kept for the tests that look for canaries (PHI-20)
and for what was put on record (AUD-09).
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from app.core import logging
from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.jobs import sequencer
from app.jobs.workplace import Workplace
from tests.contract import outside
from tests.contract.caller import JSON, Answer, Request, call
from tests.contract.canaries import BANNER, Aviary, filled, too_long
from tests.contract.matrix import Matrix
from tests.contract.operations import Operation
from tests.contract.oracle import Cell, Expected, expected, granted, reaches
from tests.contract.people import Actor, Circle, Clinic, World
from tests.contract.requests import request_for
from tests.contract.things import body_for
from tests.contract.world import versions_of
from tests.routers.assessing import assigned
from tests.routers.signing_in import Tokens, device, give_password

Json = dict[str, Any]

WELL, BADLY, MALFORMED, STRANGER, NOBODY, OUTSIDE, DECLINED = (
    "well",
    "badly",
    "malformed",
    "stranger",
    "nobody",
    "outside",
    "declined",
)
"""How somebody asked."""

_ENDINGS: Final = (
    "adapt_instrument",
    "cancel_session",
    "end_series",
    "remove_room_member",
    "leave_group",
    "end_facilitation",
    "discharge_enrollment",
    "leave_care_team",
    "move_clock",
    "disable_webhook",
    "disable_staff_member",
    "change_password",
    "sign_out",
    "sign_out_everywhere",
    "end_sign_in",
)
"""After these less is possible than before, so they come last."""

_WHO_LEAVES: Final = {
    "sign_out": "facilitator unrelated",
    "sign_out_everywhere": "peer_specialist unrelated",
}
_OUTSIDERS: Final = (
    "another participant",
    "administrator unrelated",
    "care_coordinator unrelated",
    "clinician unrelated",
    "privacy_officer unrelated",
    "supervisor unrelated",
)
_REFERRING: Final = "refer_participant"
_INVITING: Final = "invite_participant"
_IN_WORDS: Final = ("primary_location", "emergency_contact", "reconnect_plan")
"""Items of the readiness checklist that are answered in words."""

_SECRETS: Final = frozenset(
    {"access_token", "auth_session", "refresh_token", "secret", "ticket", "token"}
)


@dataclass(frozen=True)
class Passage:
    """One exchange of the flight."""

    operation: Operation
    circle: Circle
    actor: Actor | None
    kind: str
    request: Request
    answer: Answer

    @property
    def is_success(self) -> bool:
        """Whether it was done."""
        return self.answer.status < HTTPStatus.BAD_REQUEST


@dataclass(repr=False)
class Flight:
    """What was planted, asked and answered, and everything that was said meanwhile."""

    world: World
    aviary: Aviary = field(default_factory=Aviary)
    passages: list[Passage] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)
    console: io.StringIO = field(default_factory=io.StringIO)
    webhooks: list[bytes] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    mail: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def of(self, *kinds: str) -> Iterator[Passage]:
        """The exchanges of some kinds."""
        return (one for one in self.passages if one.kind in kinds)

    def is_for(self, one: Passage, canary: str) -> bool:
        """Whether somebody may be told a canary by what they asked."""
        clinic, _, author = self.aviary.owners[canary].partition("/")
        if one.actor is None or one.actor.clinic.name != clinic or one.operation.permission is None:
            return False
        if canary.startswith(BANNER) or author:
            # Whom somebody has referred they look after, and nobody else yet.
            return author in {"", one.actor.name}
        return reaches(
            one.actor, one.actor.clinic.own, granted(one.actor, one.operation.permission)
        )

    @property
    def secrets(self) -> set[str]:
        """Every secret that was given out."""
        return self.tokens | {
            value
            for one in self.of(WELL)
            if one.answer.header("content-type") == JSON and one.answer.body
            for value in _secrets(one.answer.json())
        }


def _secrets(value: Any) -> Iterator[str]:  # noqa: ANN401 (JSON)
    if isinstance(value, dict):
        for name, member in value.items():
            if name in _SECRETS and isinstance(member, str):
                yield member
            else:
                yield from _secrets(member)
    elif isinstance(value, list):
        for member in value:
            yield from _secrets(member)


@dataclass
class Pilot:
    """Who asks."""

    app: FastAPI
    matrix: Matrix
    flight: Flight

    async def write(self, operation: Operation, clinic: Clinic) -> None:
        """Everything that changes something: badly, by those who may not, and then well."""
        circle, actor, owner = clinic.own, self._able(operation, clinic), clinic.name
        if operation.id == _REFERRING and actor is not None:
            owner = f"{owner}/{actor.name}"
        if operation.needs_version:
            clinic.versions = await versions_of(clinic.make)
        if operation.media_type == JSON:
            body = self._phoned(filled(operation, self._body(operation, circle)), owner)
            await self._write_badly(operation, circle, actor, body, owner)
            await self._write_well(operation, circle, actor, body, owner)
        else:
            await self._ask(WELL, operation, circle, actor, request_for(operation, circle, actor))

    async def read(self, operation: Operation, clinic: Clinic) -> None:
        """Everything that can be read, by somebody who finds something."""
        circle = clinic.own
        actor = _insider(operation, clinic) or self._able(operation, clinic)
        await self._ask(WELL, operation, circle, actor, request_for(operation, circle, actor))

    async def refuse(self, operation: Operation, clinic: Clinic) -> None:
        """Asked by nobody, by somebody who may not, and in words that nobody understands."""
        circle, actor = clinic.own, self._able(operation, clinic)
        if operation.permission is not None:
            nobody = request_for(operation, circle, None)
            await self._ask(NOBODY, operation, circle, None, nobody)
        request = request_for(operation, circle, actor)
        mark = b"&" if b"?" in request.target else b"?"
        nonsense = replace(request, target=request.target + mark + b"colour=blue")
        await self._ask(MALFORMED, operation, circle, actor, nonsense)
        if (stranger := _stranger(operation, clinic)) is not None:
            await self._ask(
                STRANGER, operation, circle, stranger, request_for(operation, circle, stranger)
            )

    async def look_from_outside(self, operation: Operation, clinic: Clinic) -> None:
        """A read, by those who have nothing to do with it, of their own and of other houses."""
        circle, others = clinic.own, self.flight.world.elsewhere
        outsiders = [clinic.actor(name) for name in _OUTSIDERS]
        outsiders += [others.actor("participant"), others.actor("clinician in the care team")]
        for actor in outsiders:
            request = request_for(operation, circle, actor)
            await self._ask(OUTSIDE, operation, circle, actor, request)

    async def fill_in(self, operation: Operation, clinic: Clinic) -> None:
        """A form that has room for words, with words."""
        circle, actor = clinic.own, clinic.actor("participant")
        given = await assigned(circle.clinician, circle.participant, "readiness")
        answers = [
            {"item_id": item, "value": self.flight.aviary.hatch(clinic.name)} for item in _IN_WORDS
        ]
        request = request_for(
            operation,
            circle,
            actor,
            words={"assessment_id": str(given["id"])},
            body={"answers": answers},
        )
        version = f'"{given["version"]}"'
        request = request.with_header("If-Match", version)
        await self._ask(WELL, operation, circle, actor, request)

    async def sign_in(self, clinic: Clinic) -> None:
        """Somebody signs in for real, with a password that is a canary."""
        person, password = clinic.own.spare, f"{self.flight.aviary.hatch(clinic.name)} it is"
        username = await give_password(clinic.make, person, password)
        async with device(self.app) as app:
            tokens = await app.sign_in(username, password)
            renewed = Tokens.of(await app.refresh(tokens.refresh))
        for one in (tokens, renewed):
            self.flight.tokens |= {one.access, one.refresh}

    async def _write_well(
        self, operation: Operation, circle: Circle, actor: Actor | None, body: Json, owner: str
    ) -> None:
        """With every text that there can be; where rules forbid some, with those of the example."""
        example = self._body(operation, circle)
        for one in (body, filled(operation, example, lists=False), example):
            planted = self.flight.aviary.plant(operation, one, owner)
            request = request_for(operation, circle, actor, body=planted)
            if operation.method == "POST":
                request = request.with_header("Idempotency-Key", new_id().hex)
            answer = await call(self.app, request)
            is_done = answer.status < HTTPStatus.BAD_REQUEST
            kind = WELL if is_done or one is example else DECLINED
            self.flight.passages.append(Passage(operation, circle, actor, kind, request, answer))
            if is_done:
                return

    async def _write_badly(
        self, operation: Operation, circle: Circle, actor: Actor | None, body: Json, owner: str
    ) -> None:
        aviary = self.flight.aviary

        def planted() -> Request:
            return request_for(operation, circle, actor, body=aviary.plant(operation, body, owner))

        cut, added = planted(), planted()
        unknown = f',"unknown":"{aviary.hatch(owner)}"}}'.encode()
        bad = [replace(cut, body=cut.body[:-1]), replace(added, body=added.body[:-1] + unknown)]
        if operation.permission is not None:
            unsigned = planted()
            headers = {k: v for k, v in unsigned.headers.items() if k != "Authorization"}
            bad.append(replace(unsigned, headers=headers))
        bad += [
            request_for(operation, circle, actor, body=one)
            for one in too_long(operation, body, aviary, owner)
        ]
        for one in bad:
            await self._ask(BADLY, operation, circle, actor, one)

    def _body(self, operation: Operation, circle: Circle) -> Json:
        """A valid body; an invitation's secret is the newest, because each ends the one before."""
        body: Json = body_for(operation, circle)
        if operation.id == "accept_invitation":
            invited = [one for one in self.flight.of(WELL) if one.operation.id == _INVITING]
            body["token"] = invited[-1].answer.json()["token"]
        return body

    def _phoned(self, body: Json, owner: str) -> Json:
        """With a telephone number, wherever one may stand."""
        for holder in (body, body.get("participant")):
            if isinstance(holder, dict) and ("alias" in holder or "phone" in holder):
                holder["phone"] = self.flight.aviary.phone(owner)
        return body

    def _able(self, operation: Operation, clinic: Clinic) -> Actor | None:
        able = self.matrix.able.get(operation.id)
        if able is None:
            return None
        return clinic.actor(_WHO_LEAVES.get(operation.id, able.name))

    async def _ask(
        self,
        kind: str,
        operation: Operation,
        circle: Circle,
        actor: Actor | None,
        request: Request,
    ) -> None:
        answer = await call(self.app, request)
        self.flight.passages.append(Passage(operation, circle, actor, kind, request, answer))


def _insider(operation: Operation, clinic: Clinic) -> Actor | None:
    """Somebody who reaches the organization's first circle; None when it takes nobody."""
    permission = operation.permission
    if permission is None:
        return None
    return next(
        (one for one in clinic.actors if reaches(one, clinic.own, granted(one, permission))), None
    )


def _stranger(operation: Operation, clinic: Clinic) -> Actor | None:
    """Somebody of the same organization who may not; None when everybody may."""
    if operation.permission is None:
        return None
    refused = {Expected.NOT_YOURS_TO_DO, Expected.NOTHING_THERE}
    return next(
        (
            actor
            for actor in clinic.actors
            if expected(Cell(operation, actor, clinic.own), operation.permission) in refused
        ),
        None,
    )


@contextmanager
def _kept(flight: Flight) -> Iterator[None]:
    """Keep what is logged, strictly, and what is written past the log."""
    previous = logging._Output.stream, logging._Output.is_strict  # noqa: SLF001 (to give it back)
    logging._Output.stream, logging._Output.is_strict = flight.log, True  # noqa: SLF001
    try:
        with contextlib.redirect_stdout(flight.console), contextlib.redirect_stderr(flight.console):
            yield
    finally:
        logging._Output.stream, logging._Output.is_strict = previous  # noqa: SLF001


async def fly(  # noqa: PLR0913, PLR0917 (everything there is)
    app: FastAPI,
    world: World,
    matrix: Matrix,
    operations: Sequence[Operation],
    server: EmbeddedServer,
    place: Workplace,
    directory: Path,
) -> Flight:
    """Fly."""
    flight = Flight(world)
    pilot = Pilot(app, matrix, flight)
    by_id = {one.id: one for one in operations}
    clinics = (world.clinic, world.elsewhere)
    while await sequencer.sequence(place):
        pass  # so that whoever listens from here on hears of nothing earlier
    with _kept(flight):
        async with outside.overhearing(server) as hints, outside.receiving(*clinics) as listening:
            for operation in operations:
                await pilot.refuse(operation, world.clinic)
            for clinic in clinics:
                await pilot.sign_in(clinic)
                await pilot.fill_in(by_id["answer_assessment"], clinic)
                for operation in operations:
                    if operation.method != "GET" and operation.id not in _ENDINGS:
                        await pilot.write(operation, clinic)
            for operation in operations:
                if operation.method == "GET":
                    await pilot.read(operation, world.clinic)
                    await pilot.look_from_outside(operation, world.clinic)
            for ending in _ENDINGS:
                await pilot.write(by_id[ending], world.clinic)
            await outside.carry(place)
            flight.mail = await outside.mail(place, directory)
        flight.hints, flight.webhooks = hints, listening.requests
    return flight
