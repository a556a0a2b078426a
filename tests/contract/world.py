"""Two organizations with the same kinds of people and things in them, made once for all tests.

In each there are two circles: a participant, the group they belong to, and everything that is
about them. Staff of every role stand to the first circle in every way in which somebody can: in
the care team, leading the group, supervising a member of the care team, or not at all. So every
object is somebody's own, a stranger's of the same organization, or another organization's. Two
more participants are left alone: one whom nobody attends, and one whose alerts nobody answers.

A route that needs an object of a new kind fails with a sentence that names `MAKERS`: that is
where to add how such an object comes to be.
"""

from collections.abc import Container

from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy import select, update

from app.domain.roles import StaffRole
from app.models.accounts import Account, AccountState
from app.models.base import Base, Versioned
from app.models.organizations import KeyPurpose
from app.runtime import Runtime
from app.security import seals
from app.security.principal import Reach
from tests.contract.people import Actor, Circle, Clinic, World
from tests.contract.things import MADE_FOR_THE_LEFT, MAKERS
from tests.factories import Make, Person
from tests.routers.signing_in import PASSWORD, give_password
from tests.tracer import repeated


@repeated
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
    if name == "here":
        clinic.left.append(await _left(clinic, "unattended", Reach.UNATTENDED | Reach.UNWATCHED))
        coordinator = await make.staff(StaffRole.CARE_COORDINATOR)
        clinic.left.append(await _left(clinic, "unwatched", Reach.UNWATCHED, coordinator))
    for actor in staff:
        actor.circle = clinic.own if actor.ties else None
    clinic.actors.extend([*staff, *map(_participant, clinic.circles)])
    clinic.versions = await versions_of(make)
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
    clinic: Clinic,
    name: str,
    team: tuple[Person, ...],
    leaders: tuple[Person, ...],
    made: Container[str] = MAKERS,
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
        if key in made:
            circle.things[key] = str(await maker(circle))
    return circle


async def _left(clinic: Clinic, name: str, left: Reach, *team: Person) -> Circle:
    """A participant whose clinician's account is closed; whoever else is in the team stays."""
    circle = await _circle(clinic, name, team, (), MADE_FOR_THE_LEFT)
    circle.left = left
    async with clinic.make.transaction() as db:
        closed = Account.id == circle.clinician.account_id
        await db.execute(update(Account).where(closed).values(state=AccountState.DISABLED))
    return circle


async def versions_of(make: Make) -> dict[str, int]:
    """The version of every row that has one: what a change must name."""
    versions: dict[str, int] = {}
    async with make.transaction() as db:
        for mapper in Base.registry.mappers:
            if issubclass(mapper.class_, Versioned):
                table = mapper.local_table
                rows = await db.execute(select(table.c.id, table.c.version))
                versions.update((str(row_id), version) for row_id, version in rows)
    return versions
