"""A program opens: an organization, its people, and an integrator who listens."""

import json
from dataclasses import dataclass
from datetime import UTC
from http import HTTPStatus
from typing import Final

from tests.journey.journey import ZONE_NAME, Journey

SLUG: Final = "juniper-ridge"
_DOMAIN: Final = f"{SLUG}.example"


@dataclass(frozen=True, slots=True)
class _Hire:
    """Somebody who begins to work at Juniper Ridge."""

    name: str
    role: str
    is_licensed: bool = False


_HIRES: Final = (
    _Hire("Dana Whitfield", "care_coordinator"),
    _Hire("Robin Vale", "clinician", is_licensed=True),
    _Hire("Sol Marchetti", "facilitator"),
    _Hire("Noor Haddad", "privacy_officer"),
)


async def found(journey: Journey) -> None:
    """The operator founds the organization; its administrator comes by a one-time invitation."""
    story = journey.story
    story.chapter("A program opens")
    printed = await journey.service.operator(
        *("organization", "create", "--slug", SLUG, "--name", "Juniper Ridge"),
        *("--admin-email", f"avery@{_DOMAIN}", "--environment", "development"),
    )
    founded = json.loads(printed)
    story.step("The operator founds Juniper Ridge", telling="a one-time invitation is printed")
    avery = journey.introduce("Avery Lindqvist", f"avery@{_DOMAIN}")
    journey.staff["administrator"] = avery
    accepted = await avery.accept(founded["invitation_token"])
    again = await avery.post(
        "/v1/invitations/accept",
        {"token": founded["invitation_token"], "password": avery.password},
        expect=HTTPStatus.NOT_FOUND,
    )
    story.step("Avery Lindqvist chooses a password with it", accepted.status)
    story.step("The invitation does not work a second time", again.status, again["code"])
    me = await avery.sign_in()
    story.expect(me["roles"] == ["administrator"], f"Avery is {me['roles']}")
    story.step("Avery signs in: challenge, code, tokens", 200, f"as {', '.join(me['roles'])}")
    await journey.move_clock(journey.calendar.begins_at)


async def hire(journey: Journey) -> None:
    """The administrator invites colleagues; each chooses a password of their own."""
    for hire in _HIRES:
        email = f"{hire.name.partition(' ')[0].lower()}@{_DOMAIN}"
        invited = await journey.administrator.post(
            "/v1/staff",
            {
                "name": hire.name,
                "email": email,
                "roles": [hire.role],
                "is_independently_licensed": hire.is_licensed,
            },
        )
        person = journey.introduce(hire.name, email)
        await person.accept(invited["invitation"]["token"])
        me = await person.sign_in()
        journey.story.expect(
            me["staff_member_id"] == invited["id"] and me["roles"] == [hire.role],
            f"{hire.name} signed in as somebody else",
        )
        journey.staff[hire.role] = person
        if hire.is_licensed:
            await journey.administrator.post(
                f"/v1/staff/{invited['id']}/authorizations",
                {"state": "US-CO", "kind": "full_license", "starts_on": "2024-07-01"},
            )
        license_ = ", licensed" if hire.is_licensed else ""
        journey.story.step(
            f"{hire.name} is invited, chooses a password and signs in",
            invited.status,
            f"{hire.role}{license_}",
        )


async def open_program(journey: Journey) -> None:
    """The administrator opens the program that people are referred to."""
    begins_on = journey.calendar.begins_at.astimezone(UTC).date()
    program = await journey.administrator.post(
        "/v1/programs",
        {
            "slug": "adult-evening",
            "name": "Adult Evening",
            "hours_per_week": 9,
            "time_zone": ZONE_NAME,
            "opens_on": begins_on.isoformat(),
        },
    )
    journey.program = program.body
    journey.story.step(
        "Avery opens the program Adult Evening",
        program.status,
        f"{program['hours_per_week']} hours a week, policy {program['admission_policy']}",
    )
    refused = await journey.coordinator.post(
        "/v1/programs",
        {
            "slug": "mine",
            "name": "Mine",
            "time_zone": ZONE_NAME,
            "opens_on": begins_on.isoformat(),
        },
        expect=HTTPStatus.FORBIDDEN,
    )
    journey.story.step("Dana may not open one", refused.status, refused["code"])


async def listen(journey: Journey) -> None:
    """An integrator's receiver is registered, and proves that it reads what it is sent."""
    avery, receiver = journey.administrator, journey.receiver
    registered = await avery.post("/v1/webhooks", {"url": receiver.url, "event_types": ["*"]})
    receiver.trust(registered["secret"])
    journey.story.step(
        "Avery registers a receiver of webhooks", registered.status, registered["state"]
    )

    async def is_verified() -> bool:
        """Whether the feed says so: every later event is owed to the receiver."""
        feed = await avery.get("/v1/events?limit=100")
        proofs = [each for each in feed["items"] if each["type"] == "endpoint.verified"]
        journey.listens_after = proofs[0]["position"] if proofs else 0
        return bool(proofs)

    await journey.eventually(is_verified, "the receiver's proof was not taken")
    state = (await avery.get(f"/v1/webhooks/{registered['id']}"))["state"]
    journey.story.expect(state == "active", f"the receiver is {state}")
    journey.story.step(
        "The receiver answers a signed verification with its nonce",
        telling=f"{state} after {receiver.verifications}",
    )
