"""Programs, over HTTP."""

from http import HTTPStatus

from app.domain.roles import StaffRole
from tests.factories import Make


async def test_a_program_that_would_close_before_it_opens_says_which_field(make: Make) -> None:
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    opened = await administrator.post(
        "/v1/programs",
        json={
            "slug": "evening",
            "name": "Adult Evening",
            "time_zone": "America/New_York",
            "opens_on": "2026-03-01",
        },
    )
    assert opened.status_code == HTTPStatus.CREATED, opened.text

    refused = await administrator.patch(
        opened.headers["Location"], json={"closes_on": "2020-01-01"}, headers={"If-Match": '"1"'}
    )

    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert refused.json()["errors"] == [
        {
            "pointer": "/closes_on",
            "code": "before_opens_on",
            "detail": "It may not lie before opens_on.",
        }
    ]
