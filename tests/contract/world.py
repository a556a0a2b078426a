"""Two organizations with the same kinds of people and things in them, made once for all tests.

In each there are two circles: a participant, the group they belong to, and everything that is
about them. Staff of every role stand to the first circle in every way in which somebody can: in
the care team, leading the group, supervising a member of the care team, or not at all. So every
object is somebody's own, a stranger's of the same organization, or another organization's.

A route that needs an object of a new kind fails with a sentence that names `MAKERS`: that is
where to add how such an object comes to be.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from argon2 import PasswordHasher
from fastapi import FastAPI
from httpx import Response
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.domain.roles import CareTeamRole, StaffRole
from app.models.accounts import Account
from app.models.base import Base, Versioned
from app.models.organizations import KeyPurpose
from app.models.participants import CareTeamMember
from app.models.rooms import RoomMember
from app.models.webhooks import DeliveryState, WebhookDelivery
from app.runtime import Runtime
from app.security import seals
from app.security.principal import Reach
from app.security.tokens import AccessClaims
from tests.contract.operations import Operation
from tests.factories import Make, Person
from tests.routers.admission import ADMITTING, decided, open_intake, recommended, screened
from tests.routers.assessing import answered, assigned
from tests.routers.signing_in import PASSWORD, give_password

Json = dict[str, Any]

_FRESH: Final = timedelta(minutes=3)


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


@dataclass(eq=False)
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
    things: dict[str, str] = field(default_factory=dict)

    def thing(self, slot: Slot) -> str:
        """The id of this circle's object for a slot. Raises Unmade."""
        for key in slot.keys:
            if key in self.things:
                return self.things[key]
        raise Unmade(
            f"{slot.operation} names an object as {slot.name}, and tests/contract/world.py makes"
            f" none: add {slot.keys[-2]!r} or {slot.name!r} to MAKERS."
        )

    @property
    def ids(self) -> frozenset[str]:
        """Whatever tells that this circle's participant exists."""
        person = self.participant
        assert person.participant_id is not None
        return frozenset(map(str, (person.participant_id, person.account_id)))


@dataclass(eq=False)
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
            fresh = {"iat": now, "exp": now + 2 * _FRESH, "auth_time": now, "jti": new_id()}
            self._claims = replace(self._claims, **fresh)
            self._token = self.clinic.make.runtime.issuer.issue(self._claims, now)
        return self._token


@dataclass(eq=False)
class Clinic:
    """One organization."""

    name: str
    make: Make
    administrator: Person
    coordinator: Person
    supervisor: Person
    circles: list[Circle] = field(default_factory=list)
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


@dataclass
class World:
    """Both organizations."""

    clinic: Clinic
    elsewhere: Clinic

    @property
    def circles(self) -> Iterator[Circle]:
        """All four circles."""
        yield from (*self.clinic.circles, *self.elsewhere.circles)


async def build(app: FastAPI, runtime: Runtime) -> World:
    """Make everything."""
    return World(
        await _clinic(app, runtime, "here"),
        await _clinic(app, runtime, "elsewhere"),
    )


# People


async def _clinic(app: FastAPI, runtime: Runtime, name: str) -> Clinic:
    make = await Make.organization(app, runtime)
    clinic = Clinic(
        name,
        make,
        administrator=await make.staff(StaffRole.ADMINISTRATOR),
        coordinator=await make.staff(StaffRole.CARE_COORDINATOR),
        supervisor=await make.staff(StaffRole.SUPERVISOR),
    )
    async with make.transaction() as db:
        for purpose in (KeyPurpose.STAFF, KeyPurpose.SECRET):
            await seals.organization_key(db, purpose)
    staff = await _staff(clinic)
    await _give_passwords(make)
    team = tuple(a.person for a in staff if a.ties & Reach.CARE_TEAM)
    leaders = tuple(a.person for a in staff if a.ties & Reach.MEMBER)
    clinic.circles.append(await _circle(clinic, "own", team, leaders))
    clinic.circles.append(await _circle(clinic, "stranger's", (), ()))
    for actor in staff:
        actor.circle = clinic.own if actor.ties else None
    clinic.actors.extend([*staff, *map(_participant, clinic.circles)])
    clinic.versions = await _versions(make)
    return clinic


async def _give_passwords(make: Make) -> None:
    """Let everybody have a password, whose hash costs little to compare with."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(f"another {PASSWORD}")
    async with make.transaction() as db:
        await db.execute(update(Account).values(password_hash=cheap))


async def _staff(clinic: Clinic) -> list[Actor]:
    """Every role, in every relationship to the first circle."""
    make, actors = clinic.make, []
    for role in StaffRole:
        supervising = await make.staff(role)
        people = {
            "supervising the care team": (supervising, Reach.SUPERVISEES),
            # Who is in the care team belongs to those whom they supervise as well.
            "in the care team": (
                await make.staff(role, supervisor=supervising),
                Reach.CARE_TEAM | Reach.SUPERVISEES,
            ),
            "leading the group": (await make.staff(role), Reach.MEMBER | Reach.ROSTER),
            "unrelated": (await make.staff(role), Reach.NONE),
        }
        for tie, (person, ties) in people.items():
            actors.append(Actor(f"{role.value} {tie}", clinic, person, role, ties))
    unlicensed = await make.staff(StaffRole.CLINICIAN, is_licensed=False)
    ties = Reach.CARE_TEAM | Reach.SUPERVISEES
    name = "unlicensed clinician in the care team"
    actors.append(Actor(name, clinic, unlicensed, StaffRole.CLINICIAN, ties, is_licensed=False))
    return actors


def _participant(circle: Circle) -> Actor:
    name = "participant" if circle is circle.clinic.own else "another participant"
    ties = Reach.SELF | Reach.MEMBER
    return Actor(name, circle.clinic, circle.participant, None, ties, circle)


async def _circle(
    clinic: Clinic, name: str, team: tuple[Person, ...], leaders: tuple[Person, ...]
) -> Circle:
    make = clinic.make
    clinician = await make.staff(supervisor=clinic.supervisor)
    circle = Circle(
        name,
        clinic,
        participant=await make.participant(team=[clinician, *team]),
        clinician=clinician,
        spare=await make.staff(),
        team=(clinician, *team),
        leaders=leaders,
    )
    await give_password(make, circle.participant)
    for key, maker in MAKERS.items():
        circle.things[key] = str(await maker(circle))
    return circle


async def _versions(make: Make) -> dict[str, int]:
    """The version of every row that has one: what a change must name."""
    versions: dict[str, int] = {}
    async with make.transaction() as db:
        for mapper in Base.registry.mappers:
            if issubclass(mapper.class_, Versioned):
                table = mapper.local_table
                rows = await db.execute(select(table.c.id, table.c.version))
                versions.update((str(row_id), version) for row_id, version in rows)
    return versions


# Things


async def _new(person: Person, path: str, body: object = None) -> str:
    """Post, and answer with the id of what was made."""
    return str((await _post(person, path, body))["id"])


async def _post(person: Person, path: str, body: object = None) -> Json:
    return _made(await person.post(path, json=body) if body else await person.post(path))


def _made(answer: Response) -> Json:
    assert answer.status_code in {HTTPStatus.OK, HTTPStatus.CREATED}, (
        f"{answer.request.method} {answer.request.url.path}: {answer.text}"
    )
    made: Json = answer.json()
    return made


async def _program(circle: Circle) -> str:
    body = {
        "slug": f"evening-{new_id().hex[-8:]}",
        "name": "Adult Evening",
        "hours_per_week": 9,
        "time_zone": "America/Denver",
        "opens_on": "2026-01-05",
    }
    return await _new(circle.clinic.administrator, "/v1/programs", body)


async def _track(circle: Circle) -> str:
    path = f"/v1/programs/{circle.things['program_id']}/tracks"
    body = {"slug": "sud", "name": "Recovery"}
    return await _new(circle.clinic.administrator, path, body)


async def _newcomer(circle: Circle) -> str:
    """Somebody who was referred, has an address and no account, in the same care team."""
    body = {
        "program_id": circle.things["program_id"],
        "source": "self",
        "participant": {
            "given_name": "Ari",
            "family_name": "Stone",
            "email": f"{new_id().hex}@example.org",
            "time_zone": "America/Denver",
        },
    }
    referral = await _post(circle.clinic.coordinator, "/v1/referrals", body)
    async with circle.clinic.make.transaction() as db:
        for person in circle.team:
            db.add(_relation(UUID(referral["participant_id"]), person))
    return str(referral["participant_id"])


def _relation(participant_id: UUID, person: Person) -> CareTeamMember:
    return CareTeamMember(
        id=new_id(),
        participant_id=participant_id,
        staff_member_id=person.staff_member_id,
        role=CareTeamRole.CLINICIAN,
        started_at=clock.now(),
    )


async def _invited_staff_member(circle: Circle) -> str:
    body = {"name": "Sam Wells", "email": f"{new_id().hex}@example.org", "roles": ["clinician"]}
    return await _new(circle.clinic.administrator, "/v1/staff", body)


async def _care_team_member(circle: Circle) -> str:
    path = f"/v1/participants/{circle.participant.participant_id}/care-team"
    found = _made(await circle.clinician.get(path))["items"]
    mine = str(circle.clinician.staff_member_id)
    return next(str(one["id"]) for one in found if one["staff_member_id"] == mine)


async def _group(circle: Circle) -> str:
    body = {
        "program_id": circle.things["program_id"],
        "name": "Tuesday Skills",
        "kind": "skill_building",
        "capacity": 10,
    }
    group = await _post(circle.clinic.coordinator, "/v1/groups", body)
    for leader in circle.leaders:
        body = {"staff_member_id": str(leader.staff_member_id)}
        await _post(circle.clinic.coordinator, f"/v1/groups/{group['id']}/facilitators", body)
    return str(group["id"])


async def _group_member(circle: Circle) -> str:
    path = f"/v1/groups/{circle.things['group_id']}/members"
    body = {"participant_id": str(circle.participant.participant_id)}
    return await _new(circle.clinic.coordinator, path, body)


async def _facilitator(circle: Circle) -> str:
    path = f"/v1/groups/{circle.things['group_id']}/facilitators"
    body = {"staff_member_id": str(circle.clinician.staff_member_id)}
    return await _new(circle.clinic.coordinator, path, body)


async def _assessment(circle: Circle) -> str:
    return str((await assigned(circle.clinician, circle.participant))["id"])


_DISPOSITION: Final = {
    "assessment": "Structured interview by phone.",
    "risk": "low",
    "rationale": "Passive thoughts, no plan or intent.",
    "protective_factors": "Lives with a sister.",
    "is_means_safety_discussed": True,
    "is_safety_plan_reviewed": True,
    "decision": "increase_contact",
    "told": "The supervisor, as part of treatment.",
    "next_check_due_at": "2030-03-03T17:00:00Z",
}


def _alert_after(*verbs: str) -> Callable[[Circle], Awaitable[str]]:
    """An alert to which these steps have happened."""

    async def maker(circle: Circle) -> str:
        assessment = await assigned(circle.clinician, circle.participant)
        await answered(circle.participant, assessment, {"q9": 1})
        path = f"/v1/alerts?participant_id={circle.participant.participant_id}&limit=100"
        found = _made(await circle.clinician.get(path))["items"]
        alert_id = next(str(one["id"]) for one in found if one["source_id"] == assessment["id"])
        for verb in verbs:
            body = _DISPOSITION if verb == "disposition" else {"note": None}
            await _post(circle.clinician, f"/v1/alerts/{alert_id}/{verb}", body)
        return alert_id

    return maker


async def _webhook(circle: Circle) -> str:
    body = {"url": "https://receiver.example.org/stepwell", "event_types": ["*"]}
    return await _new(circle.clinic.administrator, "/v1/webhooks", body)


async def _disabled_webhook(circle: Circle) -> str:
    webhook_id = await _webhook(circle)
    await _post(circle.clinic.administrator, f"/v1/webhooks/{webhook_id}/disable")
    return webhook_id


async def _delivery(circle: Circle) -> str:
    """The first delivery of the webhook, given up, so that it can be sent again."""
    webhook_id = circle.things["webhook_id"]
    path = f"/v1/webhooks/{webhook_id}/deliveries"
    delivery_id = _made(await circle.clinic.administrator.get(path))["items"][0]["id"]
    async with circle.clinic.make.transaction() as db:
        await _give_up(db, UUID(delivery_id))
    return str(delivery_id)


async def _give_up(db: AsyncSession, delivery_id: UUID) -> None:
    await db.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id)
        .values(state=DeliveryState.DEAD)
    )


async def _invitation_token(circle: Circle) -> str:
    path = f"/v1/participants/{circle.things['invite_participant.participant_id']}/invitations"
    return str((await _post(circle.team[0], path))["token"])


async def _open_intake(circle: Circle) -> str:
    _, _, intake_id = await open_intake(
        circle.clinic.make, circle.clinician, participant=circle.participant
    )
    return intake_id


async def _recommended_intake(circle: Circle) -> str:
    await screened(circle.clinician, circle.participant)
    intake_id = await _open_intake(circle)
    await recommended(circle.clinician, intake_id, **ADMITTING)
    return intake_id


async def _recommendation(circle: Circle) -> str:
    path = f"/v1/intakes/{circle.things['decide_intake.intake_id']}"
    return str(_made(await circle.clinician.get(path))["recommendation"]["id"])


async def _enrollment(circle: Circle) -> str:
    intake_id = await _recommended_intake(circle)
    decision = {"outcome": "admit_iop", "rationale": "Moderate symptoms; wants to begin."}
    return str((await decided(circle.clinician, intake_id, **decision))["enrollment_id"])


async def _series(circle: Circle) -> str:
    """One session that is about to start, with everybody of the group."""
    zone = "America/Denver"
    starts_at = clock.now().astimezone(ZoneInfo(zone)) + timedelta(minutes=5)
    body = {
        "group_id": circle.things["group_id"],
        "title": "Tuesday Skills",
        "kind": "skill_building",
        "modality": "video",
        "local_start": f"{starts_at:%Y-%m-%dT%H:%M}",
        "time_zone": zone,
        "duration_minutes": 90,
    }
    return await _new(circle.clinic.coordinator, "/v1/series", body)


async def _session(circle: Circle) -> str:
    found = _made(await circle.clinic.coordinator.get("/v1/sessions?limit=100"))["items"]
    series_id = circle.things["series_id"]
    return next(str(one["id"]) for one in found if one["series_id"] == series_id)


async def _room_member(circle: Circle) -> UUID:
    async with circle.clinic.make.transaction() as db:
        query = select(RoomMember.id).where(
            RoomMember.room_id == UUID(circle.things["room_id"]),
            RoomMember.participant_id == circle.participant.participant_id,
            RoomMember.left_at.is_(None),
        )
        return (await db.scalars(query)).one()


async def _room(circle: Circle) -> str:
    path = f"/v1/groups/{circle.things['group_id']}"
    return str(_made(await circle.clinic.coordinator.get(path))["room_id"])


async def _participant_id(circle: Circle) -> UUID | None:
    return circle.participant.participant_id


async def _sign_in_id(circle: Circle) -> UUID | None:
    return circle.participant.sign_in_id


async def _staff_member_id(circle: Circle) -> UUID | None:
    return circle.clinician.staff_member_id


async def _spare_id(circle: Circle) -> UUID | None:
    return circle.spare.staff_member_id


async def _supervisor_id(circle: Circle) -> UUID | None:
    return circle.clinic.supervisor.staff_member_id


async def _instrument(_: Circle) -> str:
    return "phq-9"


MAKERS: Final[Mapping[str, Callable[[Circle], Awaitable[object]]]] = {
    "participant_id": _participant_id,
    "sign_in_id": _sign_in_id,
    "staff_member_id": _staff_member_id,
    "supervisor_id": _supervisor_id,
    "join_care_team.staff_member_id": _spare_id,
    "begin_facilitation.staff_member_id": _spare_id,
    "invite_staff_member_again.staff_member_id": _invited_staff_member,
    "program_id": _program,
    "track_id": _track,
    "invite_participant.participant_id": _newcomer,
    "join_group.participant_id": _newcomer,
    "/v1/participants/{participant_id}/care-team/{member_id}": _care_team_member,
    "group_id": _group,
    "/v1/groups/{group_id}/members/{member_id}": _group_member,
    "facilitator_id": _facilitator,
    "room_id": _room,
    "series_id": _series,
    "session_id": _session,
    "/v1/rooms/{room_id}/members/{member_id}": _room_member,
    "intake_id": _open_intake,
    "decide_intake.intake_id": _recommended_intake,
    "recommendation_id": _recommendation,
    "enrollment_id": _enrollment,
    "assessment_id": _assessment,
    "alert_id": _alert_after(),
    "assess_alert.alert_id": _alert_after("acknowledge"),
    "disposition_alert.alert_id": _alert_after("acknowledge", "assess"),
    "close_alert.alert_id": _alert_after("acknowledge", "assess", "disposition"),
    "webhook_id": _webhook,
    "enable_webhook.webhook_id": _disabled_webhook,
    "delivery_id": _delivery,
    "key": _instrument,
    "accept_invitation.token": _invitation_token,
}
"""How the object of each slot comes to be, in an order in which each finds what it needs."""

WORDS: Final = frozenset({"key"})
"""Slots that hold a word of the software itself, the same for every organization."""


CHOSEN: Final = frozenset({"client_message_id"})
"""Ids that the client makes up: they name nothing that exists."""


def body_for(operation: Operation, circle: Circle) -> Any:  # noqa: ANN401 (JSON)
    """A valid body: the document's example, with the circle's ids in it; None without a body."""
    body = operation.example()
    if not isinstance(body, dict):
        return body
    for slot in slots_of(operation):
        if slot.place == "body" and body.get(slot.name) is not None:
            body[slot.name] = circle.thing(slot)
    return {**body, **_own_words(operation, circle)}


def _own_words(operation: Operation, circle: Circle) -> Json:
    """What an example cannot know: a secret that was given out, a password that was chosen."""
    match operation.id:
        case "accept_invitation":
            return {"token": circle.things["accept_invitation.token"]}
        case "change_password":
            return {"current_password": PASSWORD}
        case "recommend_intake":
            # What a clinician alone may state is left out, so that the policy table decides.
            return {"attestations": [], "functional_ratings": []}
        case "create_series":
            return {"local_start": "2030-03-05T17:00", "excluded": []}
        case "assign_assessment":
            return {"due_at": None, "expires_at": None}
        case "decide_intake":
            return {"starts_on": None}
        case _:
            return {}
