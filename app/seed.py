"""The demonstration: one synthetic organization, made once, through the services that people use.

Nobody in it exists. Because the services make it, its audit trail, events and sealed cells are
as real as any; the six weeks behind it are written with the organization's clock turned back.
Everything happens in one transaction, so that the demonstration is whole or absent.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.ids import new_id
from app.domain.roles import (
    AccountKind,
    AgeBand,
    CareTeamRole,
    LevelOfCare,
    ReferralSource,
    StaffRole,
)
from app.main import make_runtime
from app.models.accounts import Account, AccountState
from app.models.organizations import Environment, KeyPurpose, Organization
from app.models.participants import Participant
from app.models.programs import Program
from app.models.staff import StaffMember
from app.runtime import Runtime
from app.schemas.participants import CareTeamMemberCreate, ParticipantCreate, ReferralCreate
from app.schemas.programs import ProgramCreate, TrackCreate
from app.security import passwords, seals
from app.security.guards import allow, own
from app.security.permissions import Permission
from app.security.principal import Principal
from app.security.scopes import ScopeSet
from app.security.sealing import normalize_email
from app.services import accounts, development, participants, programs
from app.settings import Misconfigured, Settings

SLUG: Final = "cedar-bridge"
PASSWORD: Final = "stepwell-demo-only"  # noqa: S105 (printed at every start; development only)
TIME_ZONE: Final = "America/Denver"
_DOMAIN: Final = "cedar-bridge.example"
_HISTORY: Final = timedelta(weeks=6)
_ENTER: Final = text(
    "select enter_organization(:organization), set_config('stepwell.account_id', :account, true),"
    " set_config('stepwell.actor_role', :role, true),"
    " set_config('stepwell.request_id', 'seed', true)"
)
_KNOWN: Final = text("select count(*) from accounts_with_login(:index, :slug)")


@dataclass(frozen=True, slots=True)
class _Colleague:
    """Somebody who works at Cedar Bridge."""

    login: str
    name: str
    roles: tuple[StaffRole, ...]
    is_licensed: bool = False
    supervisor: str | None = None


_STAFF: Final = (
    _Colleague("administrator", "Avery Lindqvist", (StaffRole.ADMINISTRATOR,)),
    _Colleague("supervisor", "Morgan Achebe", (StaffRole.SUPERVISOR,), is_licensed=True),
    _Colleague(
        "clinician",
        "Robin Vale",
        (StaffRole.CLINICIAN, StaffRole.FACILITATOR),
        is_licensed=True,
        supervisor="supervisor",
    ),
    _Colleague("prescriber", "Kei Tanaka", (StaffRole.PRESCRIBER,), is_licensed=True),
    _Colleague("facilitator", "Sol Marchetti", (StaffRole.FACILITATOR,)),
    _Colleague("peer", "Jamie Okonkwo", (StaffRole.PEER_SPECIALIST,)),
    _Colleague("coordinator", "Dana Whitfield", (StaffRole.CARE_COORDINATOR,)),
    _Colleague("privacy", "Noor Haddad", (StaffRole.PRIVACY_OFFICER,)),
)


@dataclass(frozen=True, slots=True)
class _Newcomer:
    """Somebody who is in treatment at Cedar Bridge."""

    given_name: str
    family_name: str
    alias: str
    born_on: date
    is_in_recovery: bool = False


_PARTICIPANTS: Final = (
    _Newcomer("Jordan", "Reed", "Blue Heron", date(1994, 3, 9)),
    _Newcomer("Casey", "Lindholm", "Quiet Fern", date(1988, 11, 21)),
    _Newcomer("Amara", "Nwosu", "River Stone", date(2001, 6, 2)),
    _Newcomer("Theo", "Castellano", "Grey Owl", date(1979, 1, 30)),
    _Newcomer("Priya", "Raman", "Copper Leaf", date(1996, 8, 14)),
    _Newcomer("Wren", "Halvorsen", "North Wind", date(1991, 12, 5)),
    _Newcomer("Luis", "Ortega", "Tall Cedar", date(1985, 4, 17)),
    _Newcomer("Mina", "Sato", "Paper Boat", date(1999, 9, 26)),
    _Newcomer("Sam", "Doyle", "Stone Bridge", date(1983, 2, 11), is_in_recovery=True),
    _Newcomer("Ines", "Faure", "Green Lantern", date(1990, 7, 7), is_in_recovery=True),
)


async def run(settings: Settings, database_url: str) -> list[str]:
    """Make the demonstration unless it is there, and say what can be done with it.

    Raises Misconfigured in production, where nobody may sign in with a published password, and
    IntegrityError when another process makes it at the same time.
    """
    if settings.is_production:
        raise Misconfigured(
            ["The demonstration has published passwords: it is not for production."]
        )
    runtime = make_runtime(settings, database_url)
    try:
        if not await _is_there(runtime):
            password_hash = await passwords.hash_password(PASSWORD)
            async with runtime.connections.command() as db:
                await _Demonstration(runtime, db, password_hash).make()
        return await _instructions(runtime)
    finally:
        await runtime.connections.close()


def address(login: str) -> str:
    """The address that somebody of the demonstration signs in with."""
    return f"{login}@{_DOMAIN}"


async def _is_there(runtime: Runtime) -> bool:
    async with runtime.connections.command() as db:
        db.info["vault"] = runtime.vault
        index = seals.login_index(db, normalize_email(address("administrator")))
        return bool(await db.scalar(_KNOWN, {"index": index, "slug": SLUG}))


async def _instructions(runtime: Runtime) -> list[str]:
    issuer = runtime.settings.issuer
    tokens = await development.issue_development_token(
        runtime, address("clinician"), organization=SLUG
    )
    return [
        f"Stepwell serves {issuer}",
        f"Documentation      {issuer}/docs",
        "",
        f"Sign-ins of the demonstration (password: {PASSWORD})",
        *(f"  {address(one.login):<42} {', '.join(one.roles)}" for one in _STAFF),
        *(
            f"  {address(_login(number)):<42} participant"
            for number, _ in enumerate(_PARTICIPANTS, 1)
        ),
        "",
        "Try it (this token lasts five minutes; `stepwell token ADDRESS` makes another):",
        "",
        f"  curl -H 'Authorization: Bearer {tokens.access_token}' {issuer}/v1/participants",
        "",
    ]


def _login(number: int) -> str:
    return f"participant{number}"


@contextmanager
def _days_ago(days: float) -> Iterator[None]:
    """Let the services write as if it were then."""
    token = clock.set_organization_offset(-timedelta(days=days))
    try:
        yield
    finally:
        clock.reset_organization_offset(token)


class _Demonstration:
    """The organization while it is made, and who acts in it at the moment."""

    def __init__(self, runtime: Runtime, db: AsyncSession, password_hash: str) -> None:
        self._runtime = runtime
        self._db = db
        self._password_hash = password_hash
        self._organization_id = new_id()
        self._people: dict[str, Principal] = {}
        self._participant_ids: list[UUID] = []

    async def make(self) -> None:
        """Make all of it, in the order in which it would have happened."""
        with _days_ago(_HISTORY.days + 7):
            await self._found()
            for colleague in _STAFF:
                await self._hire(colleague)
            evening, recovery = await self._open_programs()
        with _days_ago(_HISTORY.days):
            for number, newcomer in enumerate(_PARTICIPANTS, 1):
                program = recovery if newcomer.is_in_recovery else evening
                self._participant_ids.append(await self._refer(number, newcomer, program))

    async def _found(self) -> None:
        await self._enter(None, "seed")
        self._db.add(
            Organization(
                organization_id=self._organization_id,
                slug=SLUG,
                name="Cedar Bridge",
                environment=Environment.DEVELOPMENT,
                created_at=clock.now(),
            )
        )
        await self._db.flush()

    async def _enter(self, account_id: UUID | None, role: str) -> None:
        await self._db.execute(
            _ENTER,
            {
                "organization": self._organization_id,
                "account": str(account_id or ""),
                "role": role,
            },
        )
        self._db.info.update(
            organization_id=self._organization_id,
            account_id=account_id,
            vault=self._runtime.vault,
        )

    async def _as(self, login: str, permission: Permission) -> Principal:
        """Let somebody act, with what a permission gives them."""
        person = self._people[login]
        await self._enter(person.account_id, next(iter(person.roles), person.kind))
        principal = allow(person, permission)
        own(self._db, self._runtime, principal)
        return principal

    async def _hire(self, colleague: _Colleague) -> None:
        now = clock.now()
        key = await seals.organization_key(self._db, KeyPurpose.STAFF)
        account = await accounts.create_account(
            self._db, AccountKind.STAFF, address(colleague.login), key
        )
        await self._activate(account)
        member_id = new_id()
        supervisor = self._people.get(colleague.supervisor or "")
        self._db.add(
            StaffMember(
                id=member_id,
                account_id=account.id,
                roles=[role.value for role in colleague.roles],
                supervisor_id=supervisor.staff_member_id if supervisor else None,
                is_independently_licensed=colleague.is_licensed,
                created_at=now,
                updated_at=now,
                **seals.sealed(key, "staff_member", member_id, name=colleague.name),
            )
        )
        await self._db.flush()
        await events.record(self._db, "staff.created", member_id, version=1)
        self._people[colleague.login] = self._principal(
            account,
            frozenset(colleague.roles),
            staff_member_id=member_id,
            is_licensed=colleague.is_licensed,
        )

    async def _activate(self, account: Account) -> None:
        account.password_hash = self._password_hash
        account.state = AccountState.ACTIVE
        await self._db.flush()

    def _principal(
        self,
        account: Account,
        roles: frozenset[StaffRole],
        *,
        staff_member_id: UUID | None = None,
        participant_id: UUID | None = None,
        is_licensed: bool = False,
    ) -> Principal:
        is_staff = account.kind is AccountKind.STAFF
        return Principal(
            organization_id=self._organization_id,
            account_id=account.id,
            kind=account.kind,
            roles=roles,
            staff_member_id=staff_member_id,
            participant_id=participant_id,
            is_licensed=is_licensed,
            sign_in_id=new_id(),
            sign_in_version=1,
            client_id="stepwell-spa",
            scope=ScopeSet.parse("user/*.cruds" if is_staff else "patient/*.cruds"),
            acr="iop:1",
            authenticated_at=clock.now(),
            request_id="seed",
            is_development=True,
        )

    async def _open_programs(self) -> tuple[Program, Program]:
        administrator = await self._as("administrator", Permission.PROGRAM_MANAGE)
        opens_on = clock.now().date()
        evening = await programs.open_program(
            self._db,
            administrator,
            ProgramCreate(
                slug="adult-evening",
                name="Adult Evening",
                level_of_care=LevelOfCare.INTENSIVE_OUTPATIENT,
                hours_per_week=9,
                time_zone=TIME_ZONE,
                opens_on=opens_on,
            ),
        )
        recovery = await programs.open_program(
            self._db,
            administrator,
            ProgramCreate(
                slug="recovery",
                name="Recovery",
                level_of_care=LevelOfCare.INTENSIVE_OUTPATIENT,
                hours_per_week=9,
                is_part2=True,
                time_zone=TIME_ZONE,
                opens_on=opens_on,
            ),
        )
        for program, slug, name in (
            (evening, "adult-evening-a", "Adult Evening A"),
            (recovery, "recovery-mornings", "Recovery Mornings"),
        ):
            await programs.open_track(
                self._db,
                administrator,
                program.id,
                TrackCreate(slug=slug, name=name, age_band=AgeBand.ADULT),
            )
        return evening, recovery

    async def _refer(self, number: int, newcomer: _Newcomer, program: Program) -> UUID:
        coordinator = await self._as("coordinator", Permission.PARTICIPANT_REFER)
        referral = await participants.refer(
            self._db,
            coordinator,
            ReferralCreate(
                program_id=program.id,
                source=ReferralSource.OUTPATIENT_PROVIDER,
                reason="Weekly sessions are no longer enough; asks for more support.",
                participant=ParticipantCreate(
                    given_name=newcomer.given_name,
                    family_name=newcomer.family_name,
                    alias=newcomer.alias,
                    born_on=newcomer.born_on,
                    email=address(_login(number)),
                    time_zone=TIME_ZONE,
                    home_state="US-CO",
                ),
            ),
        )
        coordinator = await self._as("coordinator", Permission.CARE_TEAM_CHANGE)
        for login, role in (
            ("clinician", CareTeamRole.PRIMARY_CLINICIAN),
            ("prescriber", CareTeamRole.PRESCRIBER),
        ):
            await participants.join_care_team(
                self._db,
                coordinator,
                referral.participant_id,
                CareTeamMemberCreate(staff_member_id=self._staff_member_id(login), role=role),
            )
        await self._give_account(_login(number), referral.participant_id)
        return referral.participant_id

    def _staff_member_id(self, login: str) -> UUID:
        member_id = self._people[login].staff_member_id
        if member_id is None:
            raise LookupError(login)
        return member_id

    async def _give_account(self, login: str, participant_id: UUID) -> None:
        key = await seals.participant_key(self._db, participant_id)
        account = await accounts.create_account(
            self._db, AccountKind.PARTICIPANT, address(login), key
        )
        await self._activate(account)
        participant = (
            await self._db.scalars(select(Participant).where(Participant.id == participant_id))
        ).one()
        participant.account_id = account.id
        await self._db.flush()
        await events.record(
            self._db, "account.activated", account.id, participant_id=participant_id
        )
        self._people[login] = self._principal(account, frozenset(), participant_id=participant_id)


def people() -> Sequence[str]:
    """Every address of the demonstration."""
    participants_ = (_login(number) for number, _ in enumerate(_PARTICIPANTS, 1))
    return [address(login) for login in (*(one.login for one in _STAFF), *participants_)]
