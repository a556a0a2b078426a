"""A group that meets on Tuesdays at five, whatever the clocks do."""

from datetime import timedelta
from http import HTTPStatus
from itertools import pairwise
from typing import Any, Final

from tests.journey.journey import ZONE, ZONE_NAME, Case, Journey, instant

_WEEK: Final = timedelta(weeks=1)
_HOUR: Final = timedelta(hours=1)


async def schedule(journey: Journey) -> None:
    """A group, its weekly series across the change of clocks, and the participants in it."""
    journey.story.chapter("A group meets every Tuesday, across the change of clocks")
    await _open_group(journey)
    await _join(journey, journey.jordan)
    await _make_series(journey)
    await _join(journey, journey.casey)
    seen = await _sessions_of(journey, journey.casey)
    journey.story.expect(len(seen) == 4, f"who came later is booked into {len(seen)} sessions")
    journey.story.step("Casey, who came after the series, has a place in all of it", 200)


async def _open_group(journey: Journey) -> None:
    dana = journey.coordinator
    group = await dana.post(
        "/v1/groups",
        {
            "program_id": journey.program["id"],
            "name": "Tuesday Skills",
            "kind": "skill_building",
            "capacity": 2,
        },
    )
    journey.group = group.body
    await dana.post(
        f"/v1/groups/{group['id']}/facilitators",
        {"staff_member_id": journey.facilitator.me["staff_member_id"], "is_lead": True},
    )
    journey.story.step(
        "Dana opens the group Tuesday Skills, which Sol leads",
        group.status,
        f"{group['capacity']} places",
    )


async def _join(journey: Journey, case: Case) -> None:
    path = f"/v1/groups/{journey.group['id']}/members"
    joined = await journey.coordinator.post(path, {"participant_id": case.participant_id})
    journey.story.step(f"{case.person.given_name} joins the group", joined.status)


async def _make_series(journey: Journey) -> None:
    first, change_on = journey.calendar.first_evening, journey.calendar.change_on
    series = await journey.coordinator.post(
        "/v1/series",
        {
            "group_id": journey.group["id"],
            "title": "Tuesday Skills",
            "kind": "skill_building",
            "modality": "video",
            "local_start": first.strftime("%Y-%m-%dT%H:%M"),
            "time_zone": ZONE_NAME,
            "duration_minutes": 90,
            "rule": "FREQ=WEEKLY;BYDAY=TU;COUNT=4",
        },
    )
    journey.story.step(
        f"Dana makes a series of four Tuesdays; the clocks change on {change_on:%B %d}",
        series.status,
        f"17:00 in {ZONE_NAME}",
    )
    sessions = await _sessions_of(journey, journey.jordan)
    journey.sessions = sessions
    starts = [instant(each["starts_at"]) for each in sessions]
    local = [start.astimezone(ZONE).replace(tzinfo=None) for start in starts]
    expected = [first + timedelta(weeks=week) for week in range(4)]
    journey.story.expect(local == expected, f"the sessions start at {local} on the wall")
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    journey.story.expect(
        gaps[0] == gaps[2] == _WEEK and abs(gaps[1] - _WEEK) == _HOUR,
        f"between the sessions lie {[str(gap) for gap in gaps]}",
    )
    for start, session in zip(starts, sessions, strict=True):
        journey.story.step(
            f"Jordan sees {start.astimezone(ZONE):%A, %B %d, %H:%M}",
            200,
            f"starts_at {session['starts_at']}",
        )


async def _sessions_of(journey: Journey, case: Case) -> list[dict[str, Any]]:
    """What somebody sees of the group's sessions; nothing in it says who else is there."""
    sessions = await case.person.all_of("/v1/sessions")
    roster = f"/v1/groups/{journey.group['id']}/members"
    await case.person.get(roster, expect=HTTPStatus.FORBIDDEN)
    return sessions
