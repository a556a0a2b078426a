"""Limits are shared by every process, and tell the caller where they stand (API-06)."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pytest

from app.core.ids import new_id
from app.core.problems import TooManyRequests
from app.domain.roles import StaffRole
from app.main import create_app, make_runtime
from app.runtime import Runtime
from app.security.rate_limits import Quota, RateLimits
from app.settings import Settings
from tests.factories import Make, problem_of

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def process(runtime: Runtime, *, quota: int) -> RateLimits:
    limit = Quota("test", quota)
    return RateLimits(runtime.connections, account=limit, network=limit)


@pytest.mark.parametrize("quota", [1, 7, 100])
async def test_api_06_four_processes_together_allow_the_quota(runtime: Runtime, quota: int) -> None:
    processes = [process(runtime, quota=quota) for _ in range(4)]
    account_id, allowed = new_id(), 0

    for number in range(quota * 4):
        try:
            await processes[number % 4].spend_account(account_id, NOON)
        except TooManyRequests:
            continue
        allowed += 1

    assert quota * 0.95 <= allowed <= quota


async def test_api_06_a_new_window_begins_anew(runtime: Runtime) -> None:
    limits = process(runtime, quota=2)
    account_id = new_id()
    for _ in range(2):
        await limits.spend_account(account_id, NOON + timedelta(seconds=59))
    with pytest.raises(TooManyRequests) as refused:
        await limits.spend_account(account_id, NOON + timedelta(seconds=59))

    standing = await limits.spend_account(account_id, NOON + timedelta(seconds=60))

    assert refused.value.headers["Retry-After"] == "1"
    assert standing.remaining == 1


async def test_api_06_one_account_does_not_use_up_anothers_limit(runtime: Runtime) -> None:
    limits = process(runtime, quota=1)
    await limits.spend_account(new_id(), NOON)
    assert (await limits.spend_account(new_id(), NOON)).remaining == 0


async def test_api_06_answers_say_what_is_left_and_the_last_is_refused(
    runtime: Runtime, settings: Settings, make: Make
) -> None:
    few = settings.model_copy(update={"account_requests": 3})
    url = runtime.connections.engine.url.render_as_string(hide_password=False)
    make.app = create_app(make_runtime(few, url))
    clinician = await make.staff(StaffRole.CLINICIAN)

    answers = [await clinician.get("/v1/participants") for _ in range(4)]

    assert [answer.status_code for answer in answers[:3]] == [HTTPStatus.OK] * 3
    assert answers[0].headers["RateLimit-Policy"] == '"account";q=3;w=60'
    assert answers[0].headers["RateLimit"].startswith('"account";r=2;t=')
    assert answers[3].status_code == HTTPStatus.TOO_MANY_REQUESTS
    assert problem_of(answers[3]) == "too-many-requests"
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 60
    await make.app.state.runtime.connections.close()
