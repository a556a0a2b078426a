"""Connectivity tests: what a participant's connection carries, by the server's clock."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from app.core.problems import Invalid, InvalidCursor, NotFound, problems
from app.routers.pages import PageQuery, page_of
from app.routers.route import router
from app.schemas.connectivity import ConnectivityTestPage, ExchangeCreate, ExchangeRead
from app.security.guards import Database, ReadLane, Requires, RequiresInLane
from app.security.permissions import Permission
from app.security.principal import Principal
from app.services import connectivity

routes = router("/v1/connectivity-tests", "connectivity")

Tester = Annotated[Principal, Depends(Requires(Permission.CONNECTIVITY_TEST))]
Reader = Annotated[Principal, Depends(RequiresInLane(Permission.CONNECTIVITY_READ))]
OfParticipant = Annotated[UUID | None, Query(description="Those of one participant only.")]


@routes.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=problems(connectivity.TooManyConnectivityTests),
)
async def begin_connectivity_test(db: Database, principal: Tester) -> ExchangeRead:
    """Begin a test of your own connection; give each token back at once to go on."""
    return await connectivity.begin_test(db, principal)


@routes.post(
    "/{test_id}/exchanges",
    responses=problems(
        NotFound, Invalid, connectivity.ConnectivityTestOver, connectivity.AnswerNotReceived
    ),
)
async def exchange_bodies(
    test_id: UUID, body: ExchangeCreate, db: Database, principal: Tester
) -> ExchangeRead:
    """Go on with a test: four round trips, a body down, a body up; then the figures."""
    return await connectivity.exchange(db, principal, test_id, body)


@routes.get("", responses=problems(InvalidCursor))
async def list_connectivity_tests(
    page: PageQuery, lane: ReadLane, principal: Reader, participant_id: OfParticipant = None
) -> ConnectivityTestPage:
    """List the tests that you may see; participants see their own."""
    found = await connectivity.list_tests(
        lane, principal, participant_id, after=page.after_id(), limit=page.limit
    )
    return page_of(ConnectivityTestPage, page, found)
