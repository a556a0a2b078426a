"""Webhook endpoints, over HTTP."""

from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.models.webhooks import WebhookEndpoint
from app.webhooks.signing import WebhookSecret
from tests.factories import Make, Person, problem_of

URL = "https://receiver.example.org/stepwell?key=1"
BODY = {"url": URL, "event_types": ["plan.signed", "session.*"]}


@pytest.fixture
async def administrator(make: Make) -> Person:
    return await make.staff(StaffRole.ADMINISTRATOR)


@pytest.fixture
async def endpoint(administrator: Person) -> dict[str, Any]:
    answer = await administrator.post("/v1/webhooks", json=BODY)
    assert answer.status_code == HTTPStatus.CREATED
    registered: dict[str, Any] = answer.json()
    return registered


def path(endpoint: dict[str, Any]) -> str:
    return f"/v1/webhooks/{endpoint['id']}"


async def test_wh_03_the_secret_is_shown_once(administrator: Person) -> None:
    registered = await administrator.post("/v1/webhooks", json=BODY)
    body = registered.json()
    read = await administrator.get(registered.headers["Location"])
    listed = await administrator.get("/v1/webhooks")

    assert len(WebhookSecret.parse(body["secret"]).key) == 32
    assert body["state"] == "pending"
    assert read.json() == {name: value for name, value in body.items() if name != "secret"}
    assert body["secret"] not in read.text + listed.text
    assert read.headers["ETag"] == registered.headers["ETag"] == '"1"'


@pytest.mark.parametrize("unknown", ["plan.singed", "program.created", "nope.*", "plan.s"])
async def test_types_that_no_event_has_are_refused_where_they_stand(
    administrator: Person, endpoint: dict[str, Any], unknown: str
) -> None:
    types = {"event_types": ["plan.*", unknown]}
    registered = await administrator.post("/v1/webhooks", json={**BODY, **types})
    changed = await administrator.patch(path(endpoint), json=types, headers={"If-Match": '"1"'})

    for answer in (registered, changed):
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        [error] = answer.json()["errors"]
        assert (error["pointer"], error["code"]) == ("/event_types/1", "unknown_event_type")
        assert "/openapi.json" in error["detail"]
        assert unknown not in answer.text


async def test_wh_03_the_secret_rests_sealed(make: Make, endpoint: dict[str, Any]) -> None:
    async with make.transaction() as db:
        stored = await db.scalar(
            select(WebhookEndpoint.secret).where(WebhookEndpoint.id == UUID(endpoint["id"]))
        )

    assert stored is not None
    assert endpoint["secret"].encode() not in stored
    assert WebhookSecret.parse(endpoint["secret"]).key not in stored


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://receiver.example.org/", "scheme"),
        ("ftp://receiver.example.org/", "scheme"),
        ("https://receiver.example.org:444/", "port"),
        ("https://user@receiver.example.org/", "userinfo"),
        ("https://receiver.example.org/#part", "fragment"),
        ("https://10.0.0.1/", "ip_literal"),
        ("https://[::1]/", "ip_literal"),
        ("https://localhost/", "host_without_dot"),
        ("https://receiver.example.org/a b", "character"),
    ],
)
async def test_wh_13_urls_are_checked_when_they_are_saved(
    administrator: Person, endpoint: dict[str, Any], url: str, code: str
) -> None:
    registered = await administrator.post("/v1/webhooks", json={**BODY, "url": url})
    changed = await administrator.patch(
        path(endpoint), json={"url": url}, headers={"If-Match": '"1"'}
    )

    for answer in (registered, changed):
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert problem_of(answer) == "bad-webhook-url"
        assert answer.json()["errors"] == [{"pointer": "/url", "code": code}]
        assert url not in answer.text


@pytest.mark.parametrize(
    "types", [[], ["plan"], ["plan."], ["Plan.Signed"], ["plan.signed.twice"], ["*.signed"], "*"]
)
async def test_event_types_are_names_or_stars(administrator: Person, types: object) -> None:
    answer = await administrator.post("/v1/webhooks", json={**BODY, "event_types": types})

    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_a_change_of_types_keeps_the_rest(
    administrator: Person, endpoint: dict[str, Any]
) -> None:
    answer = await administrator.patch(
        path(endpoint), json={"event_types": ["*"]}, headers={"If-Match": '"1"'}
    )

    assert answer.status_code == HTTPStatus.OK
    assert (answer.json()["event_types"], answer.json()["url"]) == (["*"], URL)
    assert answer.headers["ETag"] == '"2"'


async def test_a_change_names_the_version_it_is_of(
    administrator: Person, endpoint: dict[str, Any]
) -> None:
    unnamed = await administrator.patch(path(endpoint), json={"event_types": ["*"]})
    stale = await administrator.patch(
        path(endpoint), json={"event_types": ["*"]}, headers={"If-Match": '"7"'}
    )

    assert unnamed.status_code == HTTPStatus.PRECONDITION_REQUIRED
    assert stale.status_code == HTTPStatus.PRECONDITION_FAILED


async def test_wh_04_a_rotation_shows_a_new_secret_and_keeps_the_old_for_a_day(
    administrator: Person, endpoint: dict[str, Any]
) -> None:
    rotated = (await administrator.post(f"{path(endpoint)}/rotate-secret")).json()

    assert rotated["secret"] != endpoint["secret"]
    assert rotated["previous_secret_until"] is not None
    assert endpoint["previous_secret_until"] is None


async def test_wh_12_a_new_endpoint_is_asked_for_proof(
    administrator: Person, endpoint: dict[str, Any]
) -> None:
    deliveries = (await administrator.get(f"{path(endpoint)}/deliveries")).json()["items"]

    [delivery] = deliveries
    assert (delivery["event_type"], delivery["state"]) == ("endpoint.verification", "waiting")
    assert delivery["attempts"] == []


async def test_a_disabled_endpoint_is_sent_nothing_until_it_is_enabled(
    administrator: Person, endpoint: dict[str, Any]
) -> None:
    disabled = (await administrator.post(f"{path(endpoint)}/disable")).json()
    [canceled] = (await administrator.get(f"{path(endpoint)}/deliveries")).json()["items"]
    replay = await administrator.post(f"{path(endpoint)}/deliveries/{canceled['id']}/replay")
    range_ = await administrator.post(
        f"{path(endpoint)}/replays", json={"since": "2026-03-02T17:00:00Z"}
    )
    tested = await administrator.post(f"{path(endpoint)}/test")
    moved = await administrator.patch(
        path(endpoint),
        json={"url": "https://other.example.org/"},
        headers={"If-Match": f'"{disabled["version"]}"'},
    )
    enabled = (await administrator.post(f"{path(endpoint)}/enable")).json()
    after = (await administrator.get(f"{path(endpoint)}/deliveries")).json()["items"]

    assert (disabled["state"], disabled["disabled_because"]) == ("disabled", "by_administrator")
    assert (canceled["state"], canceled["next_attempt_at"]) == ("canceled", None)
    refusals = [problem_of(answer) for answer in (replay, range_, tested, moved)]
    assert refusals == ["webhook-disabled"] * 4
    assert (enabled["state"], enabled["disabled_because"]) == ("pending", None)
    assert [delivery["state"] for delivery in after] == ["canceled", "waiting"]


async def test_disabling_twice_changes_nothing_more(
    administrator: Person, endpoint: dict[str, Any]
) -> None:
    once = (await administrator.post(f"{path(endpoint)}/disable")).json()
    twice = (await administrator.post(f"{path(endpoint)}/disable")).json()

    assert once == twice


async def test_wh_11_what_is_under_way_is_not_replayed(
    administrator: Person, endpoint: dict[str, Any]
) -> None:
    [waiting] = (await administrator.get(f"{path(endpoint)}/deliveries")).json()["items"]

    answer = await administrator.post(f"{path(endpoint)}/deliveries/{waiting['id']}/replay")

    assert answer.status_code == HTTPStatus.CONFLICT
    assert problem_of(answer) == "delivery-under-way"


async def test_endpoints_come_in_pages(administrator: Person) -> None:
    ids = [(await administrator.post("/v1/webhooks", json=BODY)).json()["id"] for _ in range(3)]

    first = (await administrator.get("/v1/webhooks", params={"limit": 2})).json()
    second = (
        await administrator.get("/v1/webhooks", params={"limit": 2, "cursor": first["next_cursor"]})
    ).json()

    assert [item["id"] for item in first["items"] + second["items"]] == ids
    assert second["next_cursor"] is None


async def test_an_organization_has_fifty_endpoints_at_most(
    make: Make, administrator: Person, endpoint: dict[str, Any]
) -> None:
    async with make.transaction() as db:
        row = (
            await db.execute(
                select(WebhookEndpoint).where(WebhookEndpoint.id == UUID(endpoint["id"]))
            )
        ).scalar_one()
        columns = {c.name: getattr(row, c.name) for c in WebhookEndpoint.__table__.columns}
        db.add_all(WebhookEndpoint(**{**columns, "id": new_id()}) for _ in range(49))

    answer = await administrator.post("/v1/webhooks", json=BODY)

    assert answer.status_code == HTTPStatus.CONFLICT
    assert problem_of(answer) == "too-many-webhooks"


async def test_wh_11_another_organization_finds_nothing(
    make: Make, administrator: Person, endpoint: dict[str, Any]
) -> None:
    other = await Make.organization(make.app, make.runtime)
    stranger = await other.staff(StaffRole.ADMINISTRATOR)
    [delivery] = (await administrator.get(f"{path(endpoint)}/deliveries")).json()["items"]

    answers = [
        await stranger.get(path(endpoint)),
        await stranger.patch(path(endpoint), json={}, headers={"If-Match": '"1"'}),
        await stranger.post(f"{path(endpoint)}/rotate-secret"),
        await stranger.post(f"{path(endpoint)}/disable"),
        await stranger.post(f"{path(endpoint)}/enable"),
        await stranger.get(f"{path(endpoint)}/deliveries"),
        await stranger.post(f"{path(endpoint)}/deliveries/{delivery['id']}/replay"),
        await stranger.post(f"{path(endpoint)}/replays", json={"since": "2026-03-02T17:00:00Z"}),
        await stranger.post(f"{path(endpoint)}/test"),
    ]

    assert [answer.status_code for answer in answers] == [HTTPStatus.NOT_FOUND] * 9
    assert (await stranger.get("/v1/webhooks")).json()["items"] == []
    await other.close()


async def test_a_delivery_belongs_to_its_endpoint(
    administrator: Person, endpoint: dict[str, Any]
) -> None:
    other = (await administrator.post("/v1/webhooks", json=BODY)).json()
    [delivery] = (await administrator.get(f"{path(endpoint)}/deliveries")).json()["items"]

    answer = await administrator.post(f"{path(other)}/deliveries/{delivery['id']}/replay")

    assert answer.status_code == HTTPStatus.NOT_FOUND


async def test_only_administrators_manage_webhooks(make: Make, endpoint: dict[str, Any]) -> None:
    clinician = await make.staff()
    person = await make.participant()

    refusals = [
        answer
        for who in (clinician, person)
        for answer in (
            await who.post("/v1/webhooks", json=BODY),
            await who.get("/v1/webhooks"),
            await who.get(path(endpoint)),
        )
    ]

    assert [answer.status_code for answer in refusals] == [HTTPStatus.FORBIDDEN] * 6
