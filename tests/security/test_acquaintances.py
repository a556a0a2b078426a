"""A process that knows a caller still asks the database whether anything has changed."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pytest
from sqlalchemy import text

from app.core.ids import new_id
from app.domain.roles import AccountKind, StaffRole
from app.security.acquaintances import Acquaintance, Acquaintances
from app.security.principal import Principal
from app.security.scopes import ScopeSet
from tests.factories import Make


@pytest.fixture
def acquaintance() -> Acquaintance:
    principal = Principal(
        organization_id=new_id(),
        account_id=new_id(),
        kind=AccountKind.STAFF,
        roles=frozenset(),
        staff_member_id=None,
        participant_id=None,
        is_licensed=False,
        sign_in_id=new_id(),
        sign_in_version=1,
        client_id="stepwell-spa",
        scope=ScopeSet(),
        acr="iop:1",
        authenticated_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Acquaintance(principal, timedelta(), "known")


async def test_authz_02_a_role_that_was_taken_opens_nothing_although_the_process_knew_it(
    make: Make,
) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)
    participant = await make.participant(team=[clinician])
    record = f"/v1/participants/{participant.participant_id}"
    assert (await clinician.get(record)).status_code == HTTPStatus.OK

    async with make.transaction() as db:
        await db.execute(
            text("update staff_member set roles = '{administrator}' where id = :id"),
            {"id": clinician.staff_member_id},
        )

    assert (await clinician.get(record)).status_code == HTTPStatus.FORBIDDEN


async def test_auth_12_a_revoked_sign_in_is_refused_although_the_process_knew_it(
    make: Make,
) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)
    assert (await clinician.get("/v1/participants")).status_code == HTTPStatus.OK

    async with make.transaction() as db:
        await db.execute(
            text("update sign_in set revoked_at = now() where id = :id"),
            {"id": clinician.sign_in_id},
        )

    assert (await clinician.get("/v1/participants")).status_code == HTTPStatus.UNAUTHORIZED


async def test_authz_02_a_role_that_was_given_opens_at_once_although_the_process_knew_them_without(
    make: Make,
) -> None:
    somebody = await make.staff(StaffRole.ADMINISTRATOR)
    assert (await somebody.get("/v1/participants")).status_code == HTTPStatus.FORBIDDEN
    assert (await somebody.get("/v1/rooms")).status_code == HTTPStatus.FORBIDDEN

    async with make.transaction() as db:
        await db.execute(
            text("update staff_member set roles = '{clinician}' where id = :id"),
            {"id": somebody.staff_member_id},
        )

    assert (await somebody.get("/v1/participants")).status_code == HTTPStatus.OK


@pytest.mark.parametrize(
    "path", ["/v1/participants?limit=much", "/v1/participants?cursor=bent", "/v1/participants"]
)
async def test_auth_12_a_revoked_sign_in_learns_nothing_of_what_else_is_wrong(
    make: Make, path: str
) -> None:
    """Requests that fail before the database is asked are checked all the same."""
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    clinician = await make.staff(StaffRole.CLINICIAN)
    people = [administrator, clinician]
    before = [(await person.get(path)).status_code for person in people]

    async with make.transaction() as db:
        await db.execute(text("update sign_in set revoked_at = now()"))

    assert HTTPStatus.UNAUTHORIZED not in before
    answers = [(await person.get(path)).status_code for person in people]
    assert answers == [HTTPStatus.UNAUTHORIZED] * 2


async def test_a_moved_clock_reaches_a_known_caller(make: Make) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)
    participant = await make.participant(team=[clinician])
    record = f"/v1/participants/{participant.participant_id}"
    before = (await clinician.get(record)).status_code

    async with make.transaction() as db:
        # A day before the care team began.
        await db.execute(text("update organization set clock_offset = interval '-1 day'"))

    assert before == HTTPStatus.OK
    assert (await clinician.get(record)).status_code == HTTPStatus.NOT_FOUND


async def test_authz_21_an_opening_cannot_be_escaped_from(make: Make) -> None:
    clinician = await make.staff(StaffRole.CLINICIAN)
    await clinician.get("/v1/participants")

    answer = await clinician.get("/v1/participants", headers={"X-Request-Id": "a'; select 1; --"})

    assert answer.status_code == HTTPStatus.OK


def test_the_one_met_longest_ago_makes_room(acquaintance: Acquaintance) -> None:
    met = Acquaintances(capacity=2)
    ids = [acquaintance.principal.account_id, acquaintance.principal.sign_in_id]
    third = acquaintance.principal.organization_id
    for token_id in (*ids, third):
        met.make(token_id, acquaintance)

    assert met.get(ids[0]) is None
    assert met.get(ids[1]) is acquaintance
    met.forget(third)
    assert met.get(third) is None
