"""Which rows: the relationship is part of every query, never a check after the load.

Every service's query for a participant's data contains `participants_visible_to(principal)`;
what it does not let through does not exist for the caller (AUTHZ-02, AUTHZ-05).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Uuid, and_, bindparam, false, or_, select, true
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.core import clock
from app.domain.roles import StaffRole
from app.models.accounts import Account, AccountState
from app.models.groups import GroupFacilitator, GroupMember
from app.models.participants import CareTeamMember
from app.models.staff import StaffMember
from app.security.permissions import Permission, roles_in_care_teams
from app.security.principal import Principal, Reach

IdColumn = InstrumentedAttribute[UUID] | InstrumentedAttribute[UUID | None] | ColumnElement[UUID]

_WHO_ATTENDS: Final = roles_in_care_teams(Permission.PARTICIPANT_READ)
_WHO_WATCHES: Final = roles_in_care_teams(Permission.ALERT_HANDLE)


@dataclass(frozen=True)
class Viewer:
    """Who looks, and when: the two facts that every relationship is judged by."""

    me: ColumnElement[UUID | None]
    now: ColumnElement[datetime]

    def participants(
        self, participant_id: IdColumn, reach: Reach, *, after: ColumnElement[UUID] | None = None
    ) -> ColumnElement[bool]:
        """The condition that a row's participant is within `reach` of the viewer.

        A page in the order of participants says `after` whom it begins, so that the relationships
        of everybody before are not read either.
        """
        if reach & Reach.ORGANIZATION:
            return true()
        ways: list[ColumnElement[bool]] = []
        if reach & Reach.SELF:
            ways.append(participant_id == self.me)
        related = [
            relationship
            for bit, relationship in (
                (Reach.CARE_TEAM, self._care_team()),
                (Reach.SUPERVISEES, self._supervised_care_teams()),
                (Reach.ROSTER, self._rosters()),
            )
            if reach & bit
        ]
        is_only_way = len(related) == 1 and not reach & (
            Reach.SELF | Reach.UNATTENDED | Reach.UNWATCHED
        )
        for relationship in related:
            (column,) = relationship.selected_columns
            if is_only_way:
                among = relationship if after is None else relationship.where(column > after)
                ways.append(participant_id.in_(among))
            else:
                # One way of several cannot be a join: asked for each row, it reads one row's
                # relationships, where a list of everybody's would be made first.
                ways.append(relationship.where(column == participant_id).exists())
        if reach & Reach.UNATTENDED:
            ways.append(self._is_left_by(_WHO_ATTENDS, participant_id))
        if reach & Reach.UNWATCHED:
            ways.append(self._is_left_by(_WHO_WATCHES, participant_id))
        return or_(*ways) if ways else false()

    def groups(self, group_id: IdColumn, reach: Reach) -> ColumnElement[bool]:
        """The condition that a row's group is led by the viewer, or joined by them."""
        if reach & Reach.ORGANIZATION:
            return true()
        if reach & Reach.MEMBER:
            return or_(group_id.in_(self.groups_led()), group_id.in_(self.groups_joined()))
        return false()

    def groups_led(self) -> Select[UUID]:
        """The groups that the viewer leads now."""
        return select(GroupFacilitator.group_id).where(
            GroupFacilitator.staff_member_id == self.me, self._is_current(GroupFacilitator)
        )

    def groups_joined(self) -> Select[UUID]:
        """The groups that the viewing participant belongs to now."""
        return select(GroupMember.group_id).where(
            GroupMember.participant_id == self.me, self._is_current(GroupMember)
        )

    def attends(self, tie: type[CareTeamMember]) -> ColumnElement[bool]:
        """The condition that a tie to a care team is one of now, and opens the record to somebody.

        Whose account is closed, or whose roles open no record by such a tie, attends nobody.
        """
        return self._is_kept_by(_WHO_ATTENDS, tie)

    def _is_kept_by(
        self, roles: Collection[StaffRole], tie: type[CareTeamMember]
    ) -> ColumnElement[bool]:
        who_can_sign_in = (
            select(StaffMember.id)
            .join(
                Account,
                (Account.organization_id == StaffMember.organization_id)
                & (Account.id == StaffMember.account_id),
            )
            .where(Account.state == AccountState.ACTIVE, StaffMember.roles.overlap(sorted(roles)))
        )
        return and_(self._is_current(tie), tie.staff_member_id.in_(who_can_sign_in))

    def _care_team(self) -> Select[UUID]:
        return select(CareTeamMember.participant_id).where(
            CareTeamMember.staff_member_id == self.me, self._is_current(CareTeamMember)
        )

    def _supervised_care_teams(self) -> Select[UUID]:
        supervised = aliased(StaffMember)
        return (
            select(CareTeamMember.participant_id)
            .join(
                supervised,
                (supervised.organization_id == CareTeamMember.organization_id)
                & (supervised.id == CareTeamMember.staff_member_id),
            )
            .where(
                or_(supervised.supervisor_id == self.me, supervised.id == self.me),
                self._is_current(CareTeamMember),
            )
        )

    def _rosters(self) -> Select[UUID]:
        return select(GroupMember.participant_id).where(
            GroupMember.group_id.in_(self.groups_led()), self._is_current(GroupMember)
        )

    def _is_left_by(
        self, roles: Collection[StaffRole], participant_id: IdColumn
    ) -> ColumnElement[bool]:
        """Whether nobody with one of the roles keeps a tie to the participant."""
        tie = aliased(CareTeamMember)
        somebody = select(tie.id).where(
            tie.participant_id == participant_id, self._is_kept_by(roles, tie)
        )
        return and_(participant_id.is_not(None), ~somebody.exists())

    def _is_current(
        self, relation: type[CareTeamMember | GroupMember | GroupFacilitator]
    ) -> ColumnElement[bool]:
        return and_(
            relation.started_at <= self.now,
            or_(relation.ended_at.is_(None), relation.ended_at > self.now),
        )


COMPILED: Final = Viewer(
    bindparam("me", type_=Uuid), bindparam("now", type_=TIMESTAMP(timezone=True))
)
"""The viewer of a statement that is compiled once: its parameters are named `me` and `now`."""


def visible_participants(
    participant_id: IdColumn, reach: Reach, *, after: ColumnElement[UUID] | None = None
) -> ColumnElement[bool]:
    """Whether a row's participant is visible, for a statement of the driver's lane.

    `reach_parameters` gives the values of its parameters.
    """
    return COMPILED.participants(participant_id, reach, after=after)


def visible_groups(group_id: IdColumn, reach: Reach) -> ColumnElement[bool]:
    """Whether a row's group is visible, for a statement of the driver's lane."""
    return COMPILED.groups(group_id, reach)


def participants_visible_to(principal: Principal, participant_id: IdColumn) -> ColumnElement[bool]:
    """Whether a row's participant is visible to this caller now, for the ORM's lane."""
    return viewer(principal).participants(participant_id, principal.reach)


def groups_visible_to(principal: Principal, group_id: IdColumn) -> ColumnElement[bool]:
    """Whether a row's group is visible to this caller now, for the ORM's lane."""
    return viewer(principal).groups(group_id, principal.reach)


def viewer(principal: Principal) -> Viewer:
    """This caller, at this moment."""
    values = reach_parameters(principal)
    return Viewer(
        bindparam(None, values["me"], type_=Uuid),
        bindparam(None, values["now"], type_=TIMESTAMP(timezone=True)),
    )


def reach_parameters(principal: Principal) -> dict[str, object]:
    """Who the caller is, and when it is, for a compiled statement."""
    return {"me": principal.participant_id or principal.staff_member_id, "now": clock.now()}
