"""The demonstration: one synthetic organization, made once, through the services that people use.

Nobody in it exists. Because the services make it, its audit trail, events and sealed cells are
as real as any; the six weeks behind it are written with the organization's clock turned back.
Everything happens in one transaction, so that the demonstration is whole or absent.
"""

from typing import Final
from uuid import UUID

from sqlalchemy import text

from app.main import make_runtime
from app.runtime import Runtime
from app.security import passwords, seals
from app.security.sealing import normalize_email
from app.seed import care, group
from app.seed.cast import PARTICIPANTS, STAFF, address, login_of
from app.seed.organization import SLUG, found, open_programs
from app.seed.stage import Stage, days_ago
from app.services import development
from app.settings import Misconfigured, Settings

PASSWORD: Final = "stepwell-demo-only"  # noqa: S105 (printed at every start; development only)
_WEEK: Final = 7
_WEEKS: Final = 6
_KNOWN: Final = text("select count(*) from accounts_with_login(:index, :slug)")


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
                await _make(Stage(runtime, db, password_hash))
        return await _instructions(runtime)
    finally:
        await runtime.connections.close()


async def _is_there(runtime: Runtime) -> bool:
    async with runtime.connections.command() as db:
        db.info["vault"] = runtime.vault
        index = seals.login_index(db, normalize_email(address("administrator")))
        return bool(await db.scalar(_KNOWN, {"index": index, "slug": SLUG}))


async def _make(stage: Stage) -> None:
    """Everything, in the order in which it would have happened."""
    with days_ago(_WEEKS * _WEEK + 14):
        await found(stage)
        evening, recovery = await open_programs(stage)
    enrollments: dict[str, UUID] = {}
    for number, newcomer in enumerate(PARTICIPANTS, 1):
        login = login_of(number)
        with days_ago(_WEEKS * _WEEK):
            program = recovery if newcomer.is_in_recovery else evening
            intake_id = await care.refer(stage, login, newcomer, program)
            await care.screen(stage, login, newcomer)
        with days_ago(_WEEKS * _WEEK - 1):
            if newcomer.is_admitted:
                enrollments[login] = await care.admit(stage, intake_id)
            else:
                await care.recommend(stage, intake_id)
    await _treat(stage)
    await _plan(stage, enrollments)
    in_group = [login_of(n) for n, one in enumerate(PARTICIPANTS, 1) if not one.is_in_recovery]
    with days_ago(_WEEKS * _WEEK - 2):
        evening_skills = await group.gather(stage, evening, in_group)
    await group.schedule(stage, evening_skills)
    await group.attend(stage, evening_skills)
    await group.talk(stage, evening_skills)


async def _treat(stage: Stage) -> None:
    """Measure every week, and leave everybody one form for this week."""
    for number, newcomer in enumerate(PARTICIPANTS, 1):
        login = login_of(number)
        for week, total in enumerate(newcomer.phq9[1:], 1):
            with days_ago((_WEEKS - week) * _WEEK + 0.5):
                await care.measure_depression(
                    stage, login, total, mention=week == newcomer.mention_in_week
                )
        for half, total in enumerate(newcomer.gad7[1:], 1):
            with days_ago((_WEEKS - 2 * half) * _WEEK + 0.4):
                await care.measure_anxiety(stage, login, total)
        with days_ago(0):
            await care.assign(stage, login, "phq-9")


async def _plan(stage: Stage, enrollments: dict[str, UUID]) -> None:
    """One plan in force, and one that waits for the participant's signature."""
    with days_ago(5):
        signed = await care.propose_plan(stage, enrollments["participant1"])
        await care.sign_plan(stage, "participant1", signed)
    with days_ago(1):
        await care.propose_plan(stage, enrollments["participant2"])


async def _instructions(runtime: Runtime) -> list[str]:
    served = runtime.settings.address
    tokens = await development.issue_development_token(
        runtime, address("clinician"), organization=SLUG
    )
    participants = [login_of(number) for number, _ in enumerate(PARTICIPANTS, 1)]
    return [
        f"Stepwell serves    {served}",
        f"Documentation      {served}/docs",
        "",
        f"Sign-ins of the demonstration (password: {PASSWORD})",
        *(f"  {address(one.login):<42} {', '.join(one.roles)}" for one in STAFF),
        f"  {address(participants[0]):<42} participant; so are the others up to",
        f"  {address(participants[-1])}",
        "",
        "Try it (this token lasts five minutes; `.venv/bin/stepwell token ADDRESS` makes another):",
        "",
        f"  curl -H 'Authorization: Bearer {tokens.access_token}' {served}/v1/participants",
        "",
    ]
