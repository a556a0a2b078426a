"""Participants, their referral and their care team."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response

from app.core.problems import (
    InvalidCursor,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    problems,
)
from app.routers.pages import PageQuery, page_of
from app.routers.route import IfMatch, expected_version, router, tagged
from app.schemas.participants import (
    CareTeamMemberCreate,
    CareTeamMemberRead,
    CareTeamPage,
    ParticipantPage,
    ParticipantRead,
    ParticipantUpdate,
    ReferralAgainCreate,
    ReferralCreate,
    ReferralRead,
)
from app.security.guards import Database, ReadLane, Requires, RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import care_teams, participants
from app.services import referrals as referring
from app.services.enrollments import AlreadyEnrolled

routes = router("/v1/participants", "participants")
referrals = router("/v1/referrals", "referrals")

ParticipantList = Annotated[Principal, Depends(RequiresInLane(Permission.PARTICIPANT_LIST))]
ParticipantRecord = Annotated[Principal, Depends(RequiresInLane(Permission.PARTICIPANT_READ))]
ParticipantChange = Annotated[Principal, Depends(Requires(Permission.PARTICIPANT_UPDATE))]
Referrer = Annotated[Principal, Depends(Requires(Permission.PARTICIPANT_REFER))]
ReferrerAgain = Annotated[Principal, Depends(Requires(Permission.PARTICIPANT_REFER_AGAIN))]
CareTeamReader = Annotated[Principal, Depends(Requires(Permission.CARE_TEAM_READ))]
CareTeamChange = Annotated[Principal, Depends(Requires(Permission.CARE_TEAM_CHANGE))]


@referrals.post("", status_code=HTTPStatus.CREATED, responses=problems(NotFound))
async def refer_participant(
    body: ReferralCreate, response: Response, db: Database, principal: Referrer
) -> ReferralRead:
    """Refer somebody to a program: their record and an open intake begin."""
    referral = await participants.refer(db, principal, body)
    response.headers["Location"] = f"/v1/participants/{referral.participant_id}"
    return referral


@routes.get("", responses=problems(InvalidCursor))
async def list_participants(
    page: PageQuery, lane: ReadLane, principal: ParticipantList
) -> ParticipantPage:
    """List the participants whom you may see."""
    found = await participants.list_participants(
        lane, principal, after=page.after_id(), limit=page.limit
    )
    return page_of(ParticipantPage, page, found)


@routes.get("/{participant_id}", responses=problems(NotFound))
async def read_participant(
    participant_id: UUID, response: Response, lane: ReadLane, principal: ParticipantRecord
) -> ParticipantRead:
    """Read one participant's record."""
    return tagged(response, await participants.read_participant(lane, principal, participant_id))


@routes.patch(
    "/{participant_id}", responses=problems(NotFound, PreconditionRequired, PreconditionFailed)
)
async def update_participant(
    participant_id: UUID,
    body: ParticipantUpdate,
    response: Response,
    db: Database,
    principal: ParticipantChange,
    if_match: IfMatch = None,
) -> ParticipantRead:
    """Change a participant's own fields; what is absent stays."""
    version = expected_version(if_match)
    return tagged(
        response,
        await participants.update_participant(db, principal, participant_id, body, version),
    )


@routes.post(
    "/{participant_id}/referrals",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, referring.IntakeUnderWay, AlreadyEnrolled),
)
async def refer_participant_again(
    participant_id: UUID, body: ReferralAgainCreate, db: Database, principal: ReferrerAgain
) -> ReferralRead:
    """Refer somebody who has a record, or yourself, to a program: a new intake begins."""
    return await referring.refer_again(db, principal, participant_id, body)


@routes.get("/{participant_id}/care-team", responses=problems(NotFound))
async def list_care_team(
    participant_id: UUID, db: Database, principal: CareTeamReader
) -> CareTeamPage:
    """List who is and was related to a participant."""
    members = await care_teams.list_care_team(db, principal, participant_id)
    return CareTeamPage(items=list(members), next_cursor=None)


@routes.post(
    "/{participant_id}/care-team",
    status_code=HTTPStatus.CREATED,
    responses=problems(NotFound, care_teams.AlreadyInCareTeam),
)
async def join_care_team(
    participant_id: UUID, body: CareTeamMemberCreate, db: Database, principal: CareTeamChange
) -> CareTeamMemberRead:
    """Relate a staff member to a participant; from now on they may see the record."""
    return await care_teams.join_care_team(db, principal, participant_id, body)


@routes.post(
    "/{participant_id}/care-team/{member_id}/end",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(NotFound, care_teams.LastOfCareTeam),
)
async def leave_care_team(
    participant_id: UUID, member_id: UUID, db: Database, principal: CareTeamChange
) -> None:
    """End a relationship; the next request of that staff member no longer sees the record."""
    await care_teams.leave_care_team(db, principal, participant_id, member_id)
