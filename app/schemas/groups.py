"""Groups, their roster and their facilitators as they cross the wire."""

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.domain.roles import SessionKind
from app.schemas.base import Page, ReadSchema, Schema
from app.schemas.types import Flag, Instant, Name

_ID = "018f3d5e-7c1a-7b5e-9a63-2f0c8f5f1d{:02x}"
_MEMBER: JsonDict = {
    "id": _ID.format(6),
    "group_id": _ID.format(4),
    "participant_id": _ID.format(2),
    "started_at": "2026-03-01T17:00:00Z",
    "ended_at": None,
}
_NAMED: JsonDict = {"given_name": "Jordan", "family_name": "Reed", "alias": "Blue Heron"}


class GroupCreate(Schema):
    """A standing set of participants who meet."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "program_id": _ID.format(1),
                    "name": "Tuesday Skills",
                    "kind": "skill_building",
                    "capacity": 10,
                }
            ]
        }
    )

    program_id: UUID
    track_id: UUID | None = None
    name: Name
    kind: SessionKind
    capacity: Annotated[
        int, Field(strict=True, ge=1, le=50, description="The most participants at one time.")
    ]


class GroupRead(ReadSchema):
    """A group. Nothing in it says who else is there, or how many."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID.format(4),
                    "version": 1,
                    "program_id": _ID.format(1),
                    "track_id": None,
                    "name": "Tuesday Skills",
                    "kind": "skill_building",
                    "capacity": 10,
                    "room_id": _ID.format(5),
                    "closed_at": None,
                    "created_at": "2026-03-01T17:00:00Z",
                    "updated_at": "2026-03-01T17:00:00Z",
                }
            ]
        }
    )

    id: UUID
    version: int
    program_id: UUID
    track_id: UUID | None
    name: str
    kind: SessionKind
    capacity: int
    room_id: Annotated[UUID, Field(description="The group's own room.")]
    closed_at: Instant | None
    created_at: Instant
    updated_at: Instant


class GroupPage(Page[GroupRead]):
    """A page of groups."""


class GroupMemberCreate(Schema):
    """Who joins the group, and from when."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"participant_id": _ID.format(2), "starts_at": None}]}
    )

    participant_id: UUID
    starts_at: Annotated[
        Instant | None, Field(description="Now when absent; never in the past.")
    ] = None


class GroupMemberRead(ReadSchema):
    """That a participant belongs to the group, from when to when."""

    model_config = ConfigDict(json_schema_extra={"examples": [_MEMBER]})

    id: UUID
    group_id: UUID
    participant_id: UUID
    started_at: Instant
    ended_at: Instant | None


class RosterEntry(GroupMemberRead):
    """A member by name, for those who lead the group."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_MEMBER, **_NAMED}]})

    given_name: str
    family_name: str
    alias: Annotated[str, Field(description="As the other members know them.")]


class RosterPage(Page[RosterEntry]):
    """A page of a roster."""


class GroupFacilitatorCreate(Schema):
    """Who leads the group from now on."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"staff_member_id": _ID.format(3), "is_lead": True}]}
    )

    staff_member_id: UUID
    is_lead: Flag = False


class GroupFacilitatorRead(ReadSchema):
    """That a staff member leads the group, from when to when."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID.format(7),
                    "group_id": _ID.format(4),
                    "staff_member_id": _ID.format(3),
                    "is_lead": True,
                    "started_at": "2026-03-01T17:00:00Z",
                    "ended_at": None,
                }
            ]
        }
    )

    id: UUID
    group_id: UUID
    staff_member_id: UUID
    is_lead: bool
    started_at: Instant
    ended_at: Instant | None
