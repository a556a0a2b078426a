"""Which rows: the relationship is part of every query, never a check after the load.

Every service's query for a participant's data contains `participants_visible_to(principal)`;
what it does not let through does not exist for the caller (AUTHZ-02, AUTHZ-05).
"""

from uuid import UUID

from sqlalchemy import ColumnElement, Select, Uuid, bindparam, false, func, or_, select, true
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.core import clock
from app.models.groups import GroupFacilitator, GroupMember
from app.models.participants import CareTeamMember
from app.models.staff import StaffMember
from app.security.principal import Principal, Reach

_ME = bindparam("me", type_=Uuid)
_NOW = bindparam("now", type_=TIMESTAMP(timezone=True))
IdColumn = InstrumentedAttribute[UUID] | InstrumentedAttribute[UUID | None] | ColumnElement[UUID]


def visible_participants(participant_id: IdColumn, reach: Reach) -> ColumnElement[bool]:
    """The condition that a row's participant is within `reach` of the caller.

    It has the parameters `me` (the caller's participant or staff-member id) and `now`, so that
    a statement of the driver's lane can be compiled once for each reach; `reach_parameters`
    gives their values.
    """
    if reach & Reach.ORGANIZATION:
        return true()
    ways: list[ColumnElement[bool]] = []
    if reach & Reach.SELF:
        ways.append(participant_id == _ME)
    if reach & Reach.CARE_TEAM:
        ways.append(participant_id.in_(_care_team_of_me()))
    if reach & Reach.SUPERVISEES:
        ways.append(participant_id.in_(_care_teams_i_supervise()))
    if reach & Reach.ROSTER:
        ways.append(participant_id.in_(_rosters_of_me()))
    return or_(*ways) if ways else false()


def participants_visible_to(principal: Principal, participant_id: IdColumn) -> ColumnElement[bool]:
    """The same condition, bound to this caller and this moment, for the ORM's lane."""
    condition = visible_participants(participant_id, principal.reach)
    return condition.params(**reach_parameters(principal))


def reach_parameters(principal: Principal) -> dict[str, object]:
    """Who the caller is, and when it is, for a condition of this module."""
    return {"me": principal.participant_id or principal.staff_member_id, "now": clock.now()}


def groups_led_by_me() -> Select[UUID]:
    """The groups that the caller leads now."""
    return select(GroupFacilitator.group_id).where(
        GroupFacilitator.staff_member_id == _ME,
        GroupFacilitator.started_at <= _NOW,
        func.coalesce(GroupFacilitator.ended_at > _NOW, true()),
    )


def groups_of_me() -> Select[UUID]:
    """The groups that the calling participant belongs to now."""
    return select(GroupMember.group_id).where(
        GroupMember.participant_id == _ME,
        GroupMember.started_at <= _NOW,
        func.coalesce(GroupMember.ended_at > _NOW, true()),
    )


def visible_groups(group_id: IdColumn, reach: Reach) -> ColumnElement[bool]:
    """The condition that a row's group is within `reach`: led by the caller, or joined by them."""
    if reach & Reach.ORGANIZATION:
        return true()
    if reach & Reach.MEMBER:
        return or_(group_id.in_(groups_led_by_me()), group_id.in_(groups_of_me()))
    return false()


def groups_visible_to(principal: Principal, group_id: IdColumn) -> ColumnElement[bool]:
    """The same condition, bound to this caller and this moment, for the ORM's lane."""
    return visible_groups(group_id, principal.reach).params(**reach_parameters(principal))


def _care_team_of_me() -> Select[UUID]:
    return select(CareTeamMember.participant_id).where(
        CareTeamMember.staff_member_id == _ME,
        CareTeamMember.started_at <= _NOW,
        func.coalesce(CareTeamMember.ended_at > _NOW, true()),
    )


def _care_teams_i_supervise() -> Select[UUID]:
    supervised = aliased(StaffMember)
    return (
        select(CareTeamMember.participant_id)
        .join(
            supervised,
            (supervised.organization_id == CareTeamMember.organization_id)
            & (supervised.id == CareTeamMember.staff_member_id),
        )
        .where(
            or_(supervised.supervisor_id == _ME, supervised.id == _ME),
            CareTeamMember.started_at <= _NOW,
            func.coalesce(CareTeamMember.ended_at > _NOW, true()),
        )
    )


def _rosters_of_me() -> Select[UUID]:
    return select(GroupMember.participant_id).where(
        GroupMember.group_id.in_(groups_led_by_me()),
        GroupMember.started_at <= _NOW,
        func.coalesce(GroupMember.ended_at > _NOW, true()),
    )
