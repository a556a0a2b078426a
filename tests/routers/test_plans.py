"""Plans: from draft to agreement, and what nobody can change afterwards."""

import asyncio
import copy
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from app.core import clock
from app.core.embedded import EmbeddedServer
from app.core.ids import new_id
from app.core.problems import from_database_error
from app.domain import plans as rules
from app.domain.alerts import AlertState, Tier
from app.domain.roles import LevelOfCare, StaffRole
from app.models.alerts import Alert, AlertSource
from app.models.participants import Participant
from app.models.plans import Plan, PlanSignature, SignerRole
from app.schemas.plans import PlanContent
from app.security import seals
from app.services.plans import ContentDiffers, PlanSigned, PlanUnderWay
from tests.factories import Make, Person, problem_of
from tests.routers.admission import admitted
from tests.routers.assessing import accesses
from tests.routers.scheduling import created, events_of, set_clock
from tests.watching import watch


def complete(responsible: Person) -> dict[str, Any]:
    """A plan that lacks nothing."""
    problem_id = str(uuid4())
    review_on = date.today() + timedelta(days=14)  # noqa: DTZ011 (any day will do)
    return {
        "level_of_care": "intensive_outpatient",
        "hours_per_week": "9.0",
        "diagnoses": [{"icd10cm": "F33.1", "name": "Major depressive disorder"}],
        "problems": [{"id": problem_id, "statement": "Low mood since spring."}],
        "goals": [
            {
                "problem_id": problem_id,
                "statement": "I want to enjoy cooking again.",
                "objectives": [
                    {
                        "text": "PHQ-9 below 10.",
                        "measure": {
                            "kind": "instrument",
                            "name": "PHQ-9",
                            "op": "<",
                            "target": "10",
                        },
                        "target_on": str(review_on),
                    }
                ],
                "interventions": [
                    {
                        "modality": "group therapy",
                        "minutes": 90,
                        "count": 3,
                        "per": "week",
                        "weeks": 8,
                        "responsible_id": str(responsible.staff_member_id),
                    }
                ],
            }
        ],
        "discharge_criteria": "PHQ-9 below 10 on two visits.",
        "review_on": str(review_on),
    }


class Care(NamedTuple):
    """A participant in care, and the clinician who plans it with them."""

    clinician: Person
    participant: Person
    enrollment_id: str

    async def draft(self, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A draft, complete unless said otherwise."""
        body = {
            "enrollment_id": self.enrollment_id,
            "content": complete(self.clinician) if content is None else content,
        }
        return created(await self.clinician.post("/v1/plans", json=body))

    async def proposed(self) -> dict[str, Any]:
        """A proposal."""
        draft = await self.draft()
        answer = await self.clinician.post(f"/v1/plans/{draft['id']}/propose")
        assert answer.status_code == HTTPStatus.OK, answer.text
        plan: dict[str, Any] = answer.json()
        return plan

    async def agreed(self, plan: dict[str, Any]) -> dict[str, Any]:
        """A proposal that both sides have signed."""
        first = await sign(self.participant, plan)
        second = await sign(self.clinician, plan)
        assert (first.status_code, second.status_code) == (200, 200), second.text
        signed: dict[str, Any] = second.json()
        return signed


@pytest.fixture
async def care(make: Make) -> Care:
    return Care(*await admitted(make))


async def sign(person: Person, plan: Mapping[str, Any], digest: str | None = None) -> Any:  # noqa: ANN401
    return await person.post(
        f"/v1/plans/{plan['id']}/sign", json={"content_digest": digest or plan["content_digest"]}
    )


async def state_of(care: Care, plan: Mapping[str, Any]) -> str:
    state: str = (await care.clinician.get(f"/v1/plans/{plan['id']}")).json()["state"]
    return state


async def test_a_draft_keeps_what_was_written_and_names_its_digest(care: Care) -> None:
    content = complete(care.clinician)

    plan = await care.draft(content)

    read = (await care.clinician.get(f"/v1/plans/{plan['id']}")).json()
    assert read == plan
    assert (plan["state"], plan["number"], plan["signatures"]) == ("draft", 1, [])
    assert plan["content"]["goals"][0]["statement"] == content["goals"][0]["statement"]
    kept = PlanContent.model_validate(plan["content"])
    assert plan["content_digest"] == rules.content_digest(kept.model_dump()).hex()


async def test_a_draft_may_lack_anything(care: Care) -> None:
    plan = await care.draft({"level_of_care": "intensive_outpatient", "hours_per_week": "0"})

    assert plan["content"]["goals"] == []
    assert plan["review_on"] is None


async def test_a_participant_reads_their_plan_once_it_is_proposed(care: Care) -> None:
    draft = await care.draft()
    url = f"/v1/plans/{draft['id']}"
    hidden = await care.participant.get(url)
    unlisted = (await care.participant.get("/v1/plans")).json()["items"]

    proposed = await care.clinician.post(f"{url}/propose")

    assert (hidden.status_code, unlisted) == (HTTPStatus.NOT_FOUND, [])
    assert (await care.participant.get(url)).json() == proposed.json()
    (listed,) = (await care.participant.get("/v1/plans")).json()["items"]
    assert listed["id"] == draft["id"]
    assert "content" not in listed


async def test_those_out_of_reach_find_no_plan(make: Make, care: Care) -> None:
    plan = await care.proposed()
    elsewhere = await Make.organization(make.app, make.runtime)
    outsiders = [
        await make.staff(),
        await make.participant(),
        await elsewhere.staff(),
    ]
    url = f"/v1/plans/{plan['id']}"

    for person in outsiders:
        hidden, missing = await person.get(url), await person.get(f"/v1/plans/{uuid4()}")
        assert hidden.status_code == missing.status_code == HTTPStatus.NOT_FOUND
        assert (await person.get("/v1/plans")).json()["items"] == []
        asked = await person.get(f"/v1/plans?participant_id={care.participant.participant_id}")
        assert asked.json()["items"] == []
        assert (await sign(person, plan)).status_code == HTTPStatus.NOT_FOUND
    stranger = outsiders[0]
    assert (await stranger.post(f"{url}/revise")).status_code == HTTPStatus.NOT_FOUND
    await elsewhere.close()


async def test_only_those_who_treat_draft(make: Make, care: Care) -> None:
    body = {"enrollment_id": care.enrollment_id, "content": complete(care.clinician)}
    peer, stranger = await make.staff(StaffRole.PEER_SPECIALIST), await make.staff()

    assert (await care.participant.post("/v1/plans", json=body)).status_code == 403
    assert (await peer.post("/v1/plans", json=body)).status_code == 403
    assert (await stranger.post("/v1/plans", json=body)).status_code == 404


async def test_one_version_is_under_way_at_a_time(care: Care) -> None:
    plan = await care.draft()
    body = {"enrollment_id": care.enrollment_id, "content": complete(care.clinician)}

    again = await care.clinician.post("/v1/plans", json=body)

    assert problem_of(again) == "plan-under-way"
    assert again.json()["plan_id"] == plan["id"]


async def test_the_database_keeps_one_version_under_way(make: Make, care: Care) -> None:
    await care.draft()
    async with make.transaction() as db:
        first = (await db.scalars(select(Plan))).one()
        row = {column.name: getattr(first, column.name) for column in Plan.__table__.columns}

    with pytest.raises(DBAPIError) as refused:
        async with make.transaction() as db:
            db.add(Plan(**{**row, "id": new_id(), "number": 2, "state": rules.PlanState.PROPOSED}))

    assert isinstance(from_database_error(refused.value), PlanUnderWay)


async def test_nothing_is_planned_after_the_discharge(care: Care) -> None:
    plan = await care.proposed()
    url = f"/v1/enrollments/{care.enrollment_id}/discharge"
    assert (await care.clinician.post(url, json={"reason": "completed"})).status_code == 200

    body = {"enrollment_id": care.enrollment_id, "content": complete(care.clinician)}
    drafted = await care.clinician.post("/v1/plans", json=body)
    signed = await sign(care.clinician, plan)

    assert problem_of(drafted) == problem_of(signed) == "enrollment-ended"


async def test_api_08_a_draft_changes_by_the_version_that_was_read(care: Care) -> None:
    plan = await care.draft()
    url, content = f"/v1/plans/{plan['id']}", copy.deepcopy(plan["content"])
    content["preferences"] = "Evenings."

    unnamed = await care.clinician.patch(url, json={"content": content})
    changed = await care.clinician.patch(
        url, json={"content": content}, headers={"If-Match": '"1"'}
    )
    stale = await care.clinician.patch(url, json={"content": content}, headers={"If-Match": '"1"'})

    assert unnamed.status_code == HTTPStatus.PRECONDITION_REQUIRED
    assert changed.json()["content"] == content
    assert changed.json()["content_digest"] != plan["content_digest"]
    assert stale.status_code == HTTPStatus.PRECONDITION_FAILED


async def test_a_proposal_names_every_gap_at_its_place(care: Care) -> None:
    content = complete(care.clinician)
    content["hours_per_week"] = "6"
    content["goals"][0] |= {"problem_id": None, "interventions": []}
    content["goals"][0]["objectives"][0]["measure"] = None
    content |= {"diagnoses": [], "discharge_criteria": " "}
    draft = await care.draft(content)

    answer = await care.clinician.post(f"/v1/plans/{draft['id']}/propose")

    assert problem_of(answer) == "plan-incomplete"
    assert {(error["pointer"], error["code"]) for error in answer.json()["errors"]} == {
        ("/content/diagnoses", "diagnosis_missing"),
        ("/content/hours_per_week", "too_few_hours"),
        ("/content/discharge_criteria", "discharge_criteria_missing"),
        ("/content/goals/0/problem_id", "problem_unknown"),
        ("/content/goals/0/interventions", "intervention_missing"),
        ("/content/goals/0/objectives/0/measure", "measure_missing"),
    }
    assert await state_of(care, draft) == "draft"


async def test_after_a_safety_alert_a_plan_says_how_the_participant_stays_safe(
    make: Make, care: Care
) -> None:
    await alert(make, care.participant)
    draft = await care.draft()
    url = f"/v1/plans/{draft['id']}"

    unsafe = await care.clinician.post(f"{url}/propose")
    content = {**draft["content"], "safety_plan": "Warning signs, people to call, a safe room."}
    await care.clinician.patch(url, json={"content": content}, headers={"If-Match": '"1"'})
    safe = await care.clinician.post(f"{url}/propose")

    assert unsafe.json()["errors"] == [
        {"pointer": "/content/safety_plan", "code": "safety_plan_missing"}
    ]
    assert safe.status_code == HTTPStatus.OK


async def born(make: Make, participant: Person, on: date) -> None:
    participant_id = participant.participant_id
    assert participant_id is not None
    async with make.transaction() as db:
        key = await seals.participant_key(db, participant_id)
        row = await db.get_one(Participant, (make.organization_id, participant_id))
        row.born_on = key.seal(seals.Cell("participant", "born_on", participant_id), on.isoformat())


@pytest.mark.parametrize(
    ("day", "status"), [(21, HTTPStatus.UNPROCESSABLE_ENTITY), (22, HTTPStatus.OK)]
)
async def test_a_minor_needs_fewer_hours_on_every_day_before_their_birthday(
    make: Make, care: Care, day: int, status: HTTPStatus
) -> None:
    await born(make, care.participant, date(2010, 6, day))
    draft = await care.draft({**complete(care.clinician), "hours_per_week": "6"})
    # In Denver, where they live, it is still the evening before.
    await set_clock(make, datetime(2028, 6, 22, 3, tzinfo=UTC))

    answer = await care.clinician.post(f"/v1/plans/{draft['id']}/propose")

    assert answer.status_code == status, answer.text


async def test_the_second_signature_puts_the_plan_into_force(make: Make, care: Care) -> None:
    plan = await care.proposed()

    first = (await sign(care.participant, plan)).json()
    second = (await sign(care.clinician, plan)).json()

    assert (first["state"], second["state"]) == ("proposed", "active")
    assert second["activated_at"] is not None
    assert [(each["role"], each["signed_by"]) for each in second["signatures"]] == [
        ("participant", str(care.participant.account_id)),
        ("clinician", str(care.clinician.account_id)),
    ]
    told = await events_of(make, "plan.drafted", "plan.proposed", "plan.signed", "plan.activated")
    assert [event.type for event in told] == [
        "plan.drafted",
        "plan.proposed",
        "plan.signed",
        "plan.signed",
        "plan.activated",
    ]
    assert {event.participant_id for event in told} == {care.participant.participant_id}


async def test_two_who_sign_together_put_it_into_force_once(make: Make, care: Care) -> None:
    plan = await care.proposed()

    answers = await asyncio.gather(sign(care.participant, plan), sign(care.clinician, plan))

    assert [answer.status_code for answer in answers] == [200, 200]
    assert await state_of(care, plan) == "active"
    assert len(await events_of(make, "plan.activated")) == 1


async def test_nobody_signs_what_they_did_not_see(care: Care) -> None:
    plan = await care.proposed()

    answer = await sign(care.participant, plan, digest="0" * 64)

    assert problem_of(answer) == "plan-content-differs"
    assert (await care.participant.get(f"/v1/plans/{plan['id']}")).json()["signatures"] == []


async def test_nobody_signs_twice(care: Care) -> None:
    plan = await care.proposed()
    await sign(care.participant, plan)

    assert problem_of(await sign(care.participant, plan)) == "already-signed"
    assert await state_of(care, plan) == "proposed"


async def test_a_draft_waits_for_no_signature(care: Care) -> None:
    assert problem_of(await sign(care.clinician, await care.draft())) == "plan-not-proposed"


async def test_only_a_licensed_clinician_signs_for_the_program(make: Make, care: Care) -> None:
    plan = await care.proposed()
    unlicensed = await make.staff(is_licensed=False)

    assert (await sign(unlicensed, plan)).status_code == HTTPStatus.FORBIDDEN


async def test_a_proposal_is_neither_edited_nor_proposed_again(care: Care) -> None:
    plan = await care.proposed()
    url = f"/v1/plans/{plan['id']}"

    edited = await care.clinician.patch(
        url,
        json={"content": plan["content"]},
        headers={"If-Match": f'"{plan["version"]}"'},
    )

    assert problem_of(edited) == "plan-not-draft"
    assert problem_of(await care.clinician.post(f"{url}/propose")) == "plan-not-draft"


async def test_the_database_keeps_what_was_signed(make: Make, care: Care) -> None:
    plan = await care.proposed()
    await sign(care.participant, plan)

    with pytest.raises(DBAPIError) as refused:
        async with make.transaction() as db:
            await db.execute(
                update(Plan).where(Plan.id == UUID(plan["id"])).values(content_digest=b"\0" * 32)
            )

    assert isinstance(from_database_error(refused.value), PlanSigned)
    async with make.transaction() as db:
        kept = await db.scalar(select(Plan.content_digest).where(Plan.id == UUID(plan["id"])))
    assert kept is not None
    assert kept.hex() == plan["content_digest"]


async def test_nobody_signs_what_is_being_changed_at_this_moment(
    make: Make, care: Care, server: EmbeddedServer
) -> None:
    plan_id = UUID((await care.proposed())["id"])
    async with make.transaction() as db:
        read = (await db.scalars(select(Plan).where(Plan.id == plan_id))).one()

    async def sign_what_was_read() -> None:
        async with make.transaction() as db:
            db.add(
                PlanSignature(
                    id=new_id(),
                    plan_id=plan_id,
                    role=SignerRole.CLINICIAN,
                    signed_by=care.clinician.account_id,
                    content_digest=read.content_digest,
                    signed_at=clock.now(),
                )
            )

    async with watch(server) as watcher:
        async with make.transaction() as db:
            other = update(Plan).where(Plan.id == plan_id).values(content_digest=b"\0" * 32)
            await db.execute(other)
            signing = asyncio.create_task(sign_what_was_read())
            await watcher.until_blocked("%into plan_signature%")
        with pytest.raises(DBAPIError) as refused:
            await signing

    assert isinstance(from_database_error(refused.value), ContentDiffers)


async def test_the_next_version_replaces_the_one_in_force_when_it_is_signed(care: Care) -> None:
    first = await care.agreed(await care.proposed())

    second = created(await care.clinician.post(f"/v1/plans/{first['id']}/revise"))
    during = await state_of(care, first)
    await care.clinician.post(f"/v1/plans/{second['id']}/propose")
    agreed = await care.agreed(second)

    assert (second["number"], second["supersedes_id"]) == (2, first["id"])
    assert second["content"] == first["content"]
    assert second["content_digest"] == first["content_digest"]
    assert (during, await state_of(care, first)) == ("active", "superseded")
    assert agreed["state"] == "active"
    stale = await care.clinician.post(f"/v1/plans/{first['id']}/revise")
    assert problem_of(stale) == "plan-not-revisable"


async def test_revising_a_proposal_revokes_it(care: Care) -> None:
    plan = await care.proposed()
    await sign(care.participant, plan)

    revised = created(await care.clinician.post(f"/v1/plans/{plan['id']}/revise"))

    assert await state_of(care, plan) == "revoked"
    assert (revised["state"], revised["signatures"]) == ("draft", [])
    assert problem_of(await sign(care.clinician, plan)) == "plan-not-proposed"


async def test_an_unknown_member_of_the_content_is_refused(care: Care) -> None:
    content = {**complete(care.clinician), "surprise": "text that nobody asked for"}

    answer = await care.clinician.post(
        "/v1/plans", json={"enrollment_id": care.enrollment_id, "content": content}
    )

    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert answer.json()["errors"][0]["pointer"] == "/content/surprise"
    assert "nobody asked" not in answer.text


async def test_plans_are_listed_by_participant(make: Make, care: Care) -> None:
    plan = await care.draft()
    other = await make.participant(team=[care.clinician])

    theirs = await care.clinician.get(f"/v1/plans?participant_id={care.participant.participant_id}")
    nobodys = await care.clinician.get(f"/v1/plans?participant_id={other.participant_id}")

    assert [each["id"] for each in theirs.json()["items"]] == [plan["id"]]
    assert nobodys.json()["items"] == []


async def test_aud_01_every_read_and_change_of_a_plan_leaves_its_trace(
    make: Make, care: Care
) -> None:
    plan = await care.agreed(await care.proposed())
    await care.participant.get(f"/v1/plans/{plan['id']}")
    await care.clinician.get("/v1/plans")

    assert await accesses(make, care.participant, "plan") == [
        ("C", "plan:draft"),
        ("U", "plan:draft"),
        ("E", "plan:sign"),
        ("E", "plan:sign"),
        ("U", "plan:sign"),
        ("R", "plan:read"),
        ("R", "plan:read"),
    ]


def test_nine_hours_and_nine_point_nought_are_one_content() -> None:
    nine, nought = (
        PlanContent(level_of_care=LevelOfCare.INTENSIVE_OUTPATIENT, hours_per_week=Decimal(hours))
        for hours in ("9", "9.0")
    )

    assert rules.content_digest(nine.model_dump()) == rules.content_digest(nought.model_dump())


async def alert(make: Make, participant: Person) -> None:
    now = clock.now()
    async with make.transaction() as db:
        db.add(
            Alert(
                id=new_id(),
                participant_id=participant.participant_id,
                tier=Tier.ACUTE,
                code="help_now",
                state=AlertState.OPEN,
                source=AlertSource.PERSON,
                policy_version="1.0.0",
                opened_at=now,
                acknowledge_by=now,
                contact_by=now,
                created_at=now,
                updated_at=now,
            )
        )
