"""The organization itself, who works there, and what it offers."""

from datetime import timedelta
from typing import Final

from app import events
from app.core import clock
from app.core.ids import new_id
from app.domain.roles import AccountKind, AuthorizationKind
from app.models.organizations import Environment, KeyPurpose, Organization
from app.models.programs import Program
from app.models.staff import StaffAuthorization, StaffMember
from app.schemas.programs import ProgramCreate, TrackCreate
from app.security import seals
from app.security.permissions import Permission
from app.seed.cast import STAFF, Colleague, address
from app.seed.stage import Stage
from app.services import accounts, programs

SLUG: Final = "cedar-bridge"
TIME_ZONE: Final = "America/Denver"
HOME_STATE: Final = "US-CO"
_LICENSED_FOR: Final = timedelta(days=730)


async def found(stage: Stage) -> None:
    """Begin the organization, and let its people start to work."""
    await stage.enter()
    stage.db.add(
        Organization(
            organization_id=stage.organization_id,
            slug=SLUG,
            name="Cedar Bridge",
            environment=Environment.DEVELOPMENT,
            created_at=clock.now(),
        )
    )
    await stage.db.flush()
    for colleague in STAFF:
        await _hire(stage, colleague)


async def _hire(stage: Stage, colleague: Colleague) -> None:
    db, now, member_id = stage.db, clock.now(), new_id()
    key = await seals.organization_key(db, KeyPurpose.STAFF)
    account = await accounts.create_account(db, AccountKind.STAFF, address(colleague.login), key)
    supervisor = colleague.supervisor
    db.add(
        StaffMember(
            id=member_id,
            account_id=account.id,
            roles=[role.value for role in colleague.roles],
            supervisor_id=None if supervisor is None else stage.staff_member_id(supervisor),
            is_independently_licensed=colleague.is_licensed,
            created_at=now,
            updated_at=now,
            **seals.sealed(key, "staff_member", member_id, name=colleague.name),
        )
    )
    await db.flush()
    if colleague.is_licensed:
        db.add(
            StaffAuthorization(
                id=new_id(),
                staff_member_id=member_id,
                state=HOME_STATE,
                kind=AuthorizationKind.FULL_LICENSE,
                starts_on=(now - _LICENSED_FOR).date(),
                ends_on=None,
            )
        )
    await stage.introduce(
        colleague.login,
        account,
        roles=frozenset(colleague.roles),
        staff_member_id=member_id,
        is_licensed=colleague.is_licensed,
    )
    await events.record(db, "staff.created", member_id, version=1)


async def open_programs(stage: Stage) -> tuple[Program, Program]:
    """Offer an evening program, and one for recovery whose records 42 CFR Part 2 protects."""
    evening = await _open(stage, "adult-evening", "Adult Evening", is_part2=False)
    recovery = await _open(stage, "recovery", "Recovery", is_part2=True)
    return evening, recovery


async def _open(stage: Stage, slug: str, name: str, *, is_part2: bool) -> Program:
    administrator = await stage.act("administrator", Permission.PROGRAM_MANAGE)
    program = await programs.open_program(
        stage.db,
        administrator,
        ProgramCreate(
            slug=slug,
            name=name,
            is_part2=is_part2,
            time_zone=TIME_ZONE,
            opens_on=clock.now().date(),
        ),
    )
    for suffix, variant in (("a", "A"), ("b", "B")):
        await programs.open_track(
            stage.db,
            administrator,
            program.id,
            TrackCreate(slug=f"{slug}-{suffix}", name=f"{name} {variant}"),
        )
    return program
