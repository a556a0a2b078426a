"""Lets the people of the demonstration act, each at their own time and with their own rights."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.ids import new_id
from app.domain.roles import AccountKind, StaffRole
from app.models.accounts import Account, AccountState
from app.runtime import Runtime
from app.security.guards import allow, own
from app.security.permissions import Permission
from app.security.principal import Principal
from app.security.scopes import ScopeSet

_ENTER: Final = text(
    "select enter_organization(:organization), set_config('stepwell.account_id', :account, true),"
    " set_config('stepwell.actor_role', :role, true),"
    " set_config('stepwell.request_id', 'seed', true)"
)


@contextmanager
def days_ago(days: float) -> Iterator[None]:
    """Let the services write as if it were then."""
    token = clock.set_organization_offset(-timedelta(days=days))
    try:
        yield
    finally:
        clock.reset_organization_offset(token)


class Stage:
    """One transaction, in which people of one organization act in turn."""

    def __init__(self, runtime: Runtime, db: AsyncSession, password_hash: str) -> None:
        self.db = db
        self.organization_id = new_id()
        self._runtime = runtime
        self._password_hash = password_hash
        self._people: dict[str, Principal] = {}

    async def enter(self, account_id: UUID | None = None, role: str = "seed") -> None:
        """Make the transaction one of the organization, and of an account if it is known."""
        await self.db.execute(
            _ENTER,
            {"organization": self.organization_id, "account": str(account_id or ""), "role": role},
        )
        self.db.info.update(
            organization_id=self.organization_id, account_id=account_id, vault=self._runtime.vault
        )

    async def act(self, login: str, permission: Permission) -> Principal:
        """Let somebody act, with what a permission gives them and no more."""
        person = self._people[login]
        await self.enter(person.account_id, next(iter(sorted(person.roles)), person.kind))
        principal = allow(person, permission)
        own(self.db, self._runtime, principal)
        return principal

    def staff_member_id(self, login: str) -> UUID:
        """Which staff member signs in so. Raises LookupError when none does."""
        member_id = self._people[login].staff_member_id
        if member_id is None:
            raise LookupError(login)
        return member_id

    def participant_id(self, login: str) -> UUID:
        """Which participant signs in so. Raises LookupError when none does."""
        participant_id = self._people[login].participant_id
        if participant_id is None:
            raise LookupError(login)
        return participant_id

    async def introduce(  # noqa: PLR0913 (who somebody is, by name)
        self,
        login: str,
        account: Account,
        *,
        roles: frozenset[StaffRole] = frozenset(),
        staff_member_id: UUID | None = None,
        participant_id: UUID | None = None,
        is_licensed: bool = False,
    ) -> None:
        """Activate somebody's account; from now on they can act, and sign in."""
        account.password_hash = self._password_hash
        account.state = AccountState.ACTIVE
        await self.db.flush()
        is_staff = account.kind is AccountKind.STAFF
        self._people[login] = Principal(
            organization_id=self.organization_id,
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
            authenticated_at=clock.wall(),
            is_development=True,
        )
