"""Who asks: what is known of the caller once the token and the sign-in have been checked."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntFlag
from typing import Self
from uuid import UUID

from app.domain.roles import AccountKind, StaffRole
from app.security.scopes import ScopeSet


class Reach(IntFlag):
    """For whom a permission is given: the relationships that open a record (AUTHZ-02).

    Each is evaluated by the database in the query itself, at the moment of the request.
    """

    NONE = 0
    SELF = 1
    """The participant themselves."""
    CARE_TEAM = 2
    """Participants in whose care team the staff member is now."""
    ROSTER = 4
    """Participants who are now members of a group that the staff member leads now."""
    SUPERVISEES = 8
    """Participants in whose care team somebody is whom the staff member supervises."""
    MEMBER = 16
    """Groups, sessions and rooms that the caller is a member of."""
    ORGANIZATION = 32
    """Everything of the organization."""
    UNATTENDED = 64
    """Participants whom nobody attends: no one in their care team can sign in and see them now."""
    UNWATCHED = 128
    """Participants whose alerts nobody in their care team can sign in to and answer now."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller, as the access check found them. Nobody reads a token's claims past it.

    `reach` is what the route's permission gives this caller; it is empty until a guard set it.
    """

    organization_id: UUID
    account_id: UUID
    kind: AccountKind
    roles: frozenset[StaffRole]
    staff_member_id: UUID | None
    participant_id: UUID | None
    is_licensed: bool
    sign_in_id: UUID
    sign_in_version: int
    client_id: str
    scope: ScopeSet
    acr: str
    authenticated_at: datetime
    is_development: bool = False
    reach: Reach = Reach.NONE

    def reaching(self, reach: Reach) -> Self:
        """The same caller, with what the permission at hand gives them."""
        return replace(self, reach=reach)

    @property
    def is_staff(self) -> bool:
        """Whether the caller works for the organization."""
        return self.kind is AccountKind.STAFF
