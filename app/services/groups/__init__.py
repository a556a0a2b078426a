"""Groups: who meets with whom, and who leads them.

A group never holds more than its capacity: a trigger counts under the group's row lock, so that
two people cannot share its last place (design, invariant 2). Joining books the member into what
the group does next and opens its room to them; leaving takes both away in the same transaction.
No answer to a participant says who else is in a group, or how many.
"""

from app.services.groups.directory import (
    GroupClosed,
    UnknownTrack,
    get_group,
    group_room,
    hold,
    list_groups,
    open_group,
    read_group,
)
from app.services.groups.facilitators import (
    AlreadyFacilitator,
    begin_facilitation,
    end_facilitation,
)
from app.services.groups.members import (
    AlreadyInGroup,
    GroupFull,
    StartsInThePast,
    admit_due_members,
    groups_with_due_members,
    join_group,
    leave_group,
    leave_groups_of,
    read_roster,
)

__all__ = [
    "AlreadyFacilitator",
    "AlreadyInGroup",
    "GroupClosed",
    "GroupFull",
    "StartsInThePast",
    "UnknownTrack",
    "admit_due_members",
    "begin_facilitation",
    "end_facilitation",
    "get_group",
    "group_room",
    "groups_with_due_members",
    "hold",
    "join_group",
    "leave_group",
    "leave_groups_of",
    "list_groups",
    "open_group",
    "read_group",
    "read_roster",
]
