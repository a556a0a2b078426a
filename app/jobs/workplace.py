"""What every job works with, and how it enters one organization's transaction."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self, TypeVar
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Connections
from app.core.ids import new_id
from app.jobs.supervision import SomeFailed
from app.models.organizations import Organization
from app.security import catalogue, keys
from app.security.vault import Vault
from app.settings import Misconfigured, Settings, unsafe

T = TypeVar("T")

_ENTER: Final = text(
    "select enter_organization(:organization),"
    " set_config('stepwell.account_id', '', true),"
    " set_config('stepwell.actor_role', 'worker', true),"
    " set_config('stepwell.request_id', :request, true)"
)
_ORGANIZATIONS: Final = text("select worker_organizations()")


@dataclass(frozen=True, slots=True)
class Workplace:
    """The worker's pool, as a role that owns nothing, and the keys that unseal."""

    settings: Settings
    connections: Connections
    vault: Vault

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Made from the settings. Raises Misconfigured."""
        if findings := unsafe(settings):
            raise Misconfigured(findings)
        if settings.worker_database_url is None:
            raise Misconfigured(
                ["STEPWELL_WORKER_DATABASE_URL is not set: give the URL of stepwell_worker."]
            )
        url = settings.worker_database_url.get_secret_value()
        connections = Connections(url, size=settings.pool_size, application_name="stepwell-worker")
        return cls(settings, connections, Vault(keys.load(settings).root))

    async def check(self) -> None:
        """Refuse a database that does not keep its promises. Raises Misconfigured."""
        if findings := await catalogue.findings(self.connections, role=catalogue.WORKER_ROLE):
            raise Misconfigured(findings)

    @asynccontextmanager
    async def enter(self, organization_id: UUID) -> AsyncIterator[AsyncSession]:
        """A transaction of one organization, at that organization's time."""
        async with self.connections.command() as db:
            await db.execute(_ENTER, {"organization": organization_id, "request": new_id().hex})
            db.info.update(organization_id=organization_id, account_id=None, vault=self.vault)
            offset = await db.scalar(select(Organization.clock_offset))
            token = clock.set_organization_offset(offset or clock.ZERO)
            try:
                yield db
            finally:
                clock.reset_organization_offset(token)

    async def organizations(self) -> list[UUID]:
        """Every organization there is."""
        async with self.connections.command() as db:
            return list((await db.scalars(_ORGANIZATIONS)).all())

    async def in_each(self, work: Callable[[AsyncSession], Awaitable[int | None]]) -> bool:
        """Do the same in every organization, each in a transaction of its own.

        Answers whether any of them did something, so that there may be more. What fails in one
        does not keep the others waiting; it is raised when all have had their turn.
        """
        has_more = False

        async def enter_and_work(organization_id: UUID) -> None:
            nonlocal has_more
            async with self.enter(organization_id) as db:
                has_more |= bool(await work(db))

        await in_turn(await self.organizations(), enter_and_work)
        return has_more


async def in_turn(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do the same for one after the other; what failed is raised when all have had their turn.

    Raises SomeFailed, or ExceptionGroup when nothing at all was done.
    """
    failures: list[Exception] = []
    is_some_done = False
    for item in items:
        try:
            await work(item)
            is_some_done = True
        except Exception as error:  # noqa: BLE001 (raised below, with the others)
            failures.append(error)
            is_some_done |= isinstance(error, SomeFailed)
    if failures and is_some_done:
        raise SomeFailed("some have failed, and the others were done", failures)
    if failures:
        raise ExceptionGroup("all have failed", failures)
