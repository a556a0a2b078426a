"""Events on their way to receivers: real rows, real signatures, receivers on loopback."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import standardwebhooks
from sqlalchemy import func, select, text, update

from app import events
from app.core import clock, embedded
from app.core.ids import new_id
from app.domain.retries import DELAYS, JITTER
from app.domain.roles import Sensitivity
from app.jobs import sequencer
from app.jobs.workplace import Workplace
from app.models.accounts import Notification
from app.models.organizations import Organization
from app.models.participants import Participant
from app.models.webhooks import (
    WITHHELD,
    DeliveryState,
    EndpointState,
    WebhookDelivery,
    WebhookEndpoint,
)
from app.notifications import Template
from app.services import webhooks
from app.webhooks import delivery as delivering
from app.webhooks import payload
from app.webhooks.delivery import Courier
from app.webhooks.signing import BadSignature, WebhookSecret, verify
from app.webhooks.transport import Transport
from tests.factories import Make, Person, problem_of
from tests.webhooks.receivers import Receiver, receiver, reply, resets, says
from tests.working import (
    body_of,
    courier,
    document_of,
    happenings,
    headers_of,
    proves,
    work,
)


@pytest.fixture
async def carrier(place: Workplace) -> AsyncIterator[Courier]:
    async with courier(place) as courier_:
        yield courier_


@dataclass(frozen=True)
class Endpoint:
    """An endpoint, as its owner sees it."""

    owner: Person
    id: str
    secret: str

    async def read(self) -> dict[str, Any]:
        read: dict[str, Any] = (await self.owner.get(f"/v1/webhooks/{self.id}")).json()
        return read

    async def deliveries(self) -> list[dict[str, Any]]:
        """Its deliveries, the questions for proof left out."""
        answer = await self.owner.get(f"/v1/webhooks/{self.id}/deliveries")
        items: list[dict[str, Any]] = answer.json()["items"]
        return [item for item in items if item["event_type"] != "endpoint.verification"]

    async def delivery(self) -> dict[str, Any]:
        [one] = await self.deliveries()
        return one


async def register(owner: Person, url: str, types: Sequence[str] = ("*",)) -> Endpoint:
    answer = await owner.post("/v1/webhooks", json={"url": url, "event_types": list(types)})
    assert answer.status_code == HTTPStatus.CREATED
    return Endpoint(owner, answer.json()["id"], answer.json()["secret"])


async def happen(
    make: Make, type_: str = "plan.signed", participant_id: UUID | None = None
) -> tuple[UUID, UUID]:
    """Record an event; gives its id and its subject's."""
    subject_id = new_id()
    async with make.transaction() as db:
        event_id = await events.record(
            db, type_, subject_id, participant_id=participant_id, version=3
        )
    return event_id, subject_id


@contextmanager
def later(by: timedelta) -> Iterator[None]:
    """Let the process live later."""
    clock.shift_process(by)
    try:
        yield
    finally:
        clock.shift_process(-by)


def seconds_until(instant: str) -> float:
    return (datetime.fromisoformat(instant) - clock.wall()).total_seconds()


async def test_wh_12_an_endpoint_that_gives_the_nonce_back_becomes_active(
    place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves()) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)

    read = await endpoint.read()
    assert (read["state"], read["version"]) == ("active", 2)
    [request] = listening.requests
    assert document_of(request)["type"] == "endpoint.verification"
    standardwebhooks.Webhook(endpoint.secret).verify(body_of(request), headers_of(request))


@pytest.mark.parametrize("body", [b"", b"something else", b"0" * 64])
async def test_wh_12_a_wrong_answer_proves_nothing(
    make: Make, place: Workplace, carrier: Courier, administrator: Person, body: bytes
) -> None:
    async with receiver(says(reply(200, body=body))) as listening:
        endpoint = await register(administrator, listening.url)
        await happen(make)
        await work(place, carrier)
        with later(timedelta(seconds=10)):
            await work(place, carrier)

    assert (await endpoint.read())["state"] == "pending"
    assert len(listening.requests) == 2
    assert happenings(listening) == []
    [delivery] = (await administrator.get(f"/v1/webhooks/{endpoint.id}/deliveries")).json()["items"]
    assert [attempt["failure"] for attempt in delivery["attempts"]] == ["nonce_missing"] * 2


async def test_wh_12_a_nonce_with_another_status_proves_nothing(
    place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async def created(
        got: Receiver, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(reply(201, body=document_of(got.requests[-1])["data"]["nonce"].encode()))
        await writer.drain()

    async with receiver(created) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)

    assert (await endpoint.read())["state"] == "pending"


async def test_wh_12_a_new_url_proves_itself_and_gets_what_came_meanwhile(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves()) as old, receiver(proves()) as new:
        endpoint = await register(administrator, old.url)
        await work(place, carrier)
        changed = await administrator.patch(
            f"/v1/webhooks/{endpoint.id}", json={"url": new.url}, headers={"If-Match": '"2"'}
        )
        await happen(make)
        await sequencer.sequence(place)
        waiting = await endpoint.delivery()
        await work(place, carrier)
        await work(place, carrier)

    assert changed.json()["state"] == "pending"
    assert waiting["state"] == "waiting"
    assert (await endpoint.read())["state"] == "active"
    assert len(old.requests) == 1
    assert [document_of(one)["type"] for one in new.requests] == [
        "endpoint.verification",
        "plan.signed",
    ]


async def test_wh_12_a_new_url_gets_nothing_but_the_question_until_it_proves_itself(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves()) as old, receiver(says(reply(204))) as new:
        endpoint = await register(administrator, old.url)
        await work(place, carrier)
        await administrator.patch(
            f"/v1/webhooks/{endpoint.id}", json={"url": new.url}, headers={"If-Match": '"2"'}
        )
        await happen(make)
        await work(place, carrier)

    assert len(new.requests) == 1
    assert happenings(new) == happenings(old) == []
    assert (await endpoint.delivery())["state"] == "waiting"


async def test_wh_12_an_address_that_changed_after_the_lease_gets_nothing_unproven(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves()) as old, receiver(proves()) as new:
        endpoint = await register(administrator, old.url)
        await work(place, carrier)
        await happen(make)
        await sequencer.sequence(place)
        async with place.connections.command() as db:
            await db.execute(
                text("select worker_claim_deliveries(:now, :lease, 100)"),
                {"now": clock.wall(), "lease": delivering.LEASE},
            )
        await administrator.patch(
            f"/v1/webhooks/{endpoint.id}", json={"url": new.url}, headers={"If-Match": '"2"'}
        )
        async with place.enter(make.organization_id) as db:
            parcel = await delivering.pack(db, UUID((await endpoint.delivery())["id"]))
        # The lease was given back: nobody waits for it to run out once the proof is there.
        await work(place, carrier)
        await work(place, carrier)

    assert parcel is None
    assert [document_of(one)["type"] for one in new.requests] == [
        "endpoint.verification",
        "plan.signed",
    ]
    assert happenings(old) == []


async def test_wh_01_a_webhook_is_thin_and_signed_for_its_endpoint(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    person = await make.participant()
    async with receiver(proves()) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        event_id, plan_id = await happen(make, participant_id=person.participant_id)
        await work(place, carrier)

    [request] = happenings(listening)
    document, headers = document_of(request), headers_of(request)
    assert set(document) == {"type", "timestamp", "data"}
    assert document["type"] == "plan.signed"
    assert set(document["data"]) == {"id", "resource", "version", "participant"}
    assert document["data"]["id"] == str(plan_id)
    assert document["data"]["resource"] == f"/v1/plans/{plan_id}"
    assert document["data"]["version"] == 3
    assert str(person.participant_id).encode() not in request
    assert str(person.account_id).encode() not in request
    assert headers["webhook-id"] == f"msg_{event_id.hex}"
    assert headers["content-type"] == "application/json"
    standardwebhooks.Webhook(endpoint.secret).verify(body_of(request), headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(WebhookSecret.generate().reveal()).verify(
            body_of(request), headers
        )


async def test_wh_01_two_receivers_cannot_tell_that_it_is_the_same_participant(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    person = await make.participant()
    async with receiver(proves()) as one, receiver(proves()) as two:
        for listening in (one, two):
            await register(administrator, listening.url)
        await work(place, carrier)
        await happen(make, participant_id=person.participant_id)
        await happen(make, participant_id=person.participant_id)
        await work(place, carrier)

    known = [
        {document_of(request)["data"]["participant"] for request in happenings(listening)}
        for listening in (one, two)
    ]
    assert [len(happenings(listening)) for listening in (one, two)] == [2, 2]
    assert [len(names) for names in known] == [1, 1]
    assert known[0].isdisjoint(known[1])


@pytest.mark.parametrize("subject", ["participant", "account"])
async def test_wh_01_a_participant_is_named_by_their_pairwise_id_only(
    make: Make, place: Workplace, carrier: Courier, administrator: Person, subject: str
) -> None:
    person = await make.participant()
    subject_id = person.participant_id if subject == "participant" else person.account_id
    assert subject_id is not None
    async with receiver(proves()) as listening:
        await register(administrator, listening.url)
        await work(place, carrier)
        async with make.transaction() as db:
            await events.record(
                db, f"{subject}.updated", subject_id, participant_id=person.participant_id
            )
        await work(place, carrier)

    [request] = happenings(listening)
    data = document_of(request)["data"]
    assert data["id"] == data["participant"]
    assert data["resource"] is None
    assert str(subject_id).encode() not in request


async def test_an_endpoint_gets_the_types_it_asked_for(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves()) as listening:
        await register(administrator, listening.url, ["plan.signed", "session.*"])
        await work(place, carrier)
        for type_ in ("plan.signed", "plan.drafted", "session.scheduled", "session.canceled"):
            await happen(make, type_)
        await work(place, carrier)

    types = sorted(document_of(one)["type"] for one in happenings(listening))
    assert types == ["plan.signed", "session.canceled", "session.scheduled"]


async def test_wh_02_attempts_share_an_id_and_have_their_own_time(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves([500, 204])) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        await happen(make)
        await work(place, carrier)
        with later(timedelta(seconds=10)):
            await work(place, carrier)
            now = clock.wall()

    first, second = map(headers_of, happenings(listening))
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) >= 10
    secret = [WebhookSecret.parse(endpoint.secret)]
    for request in happenings(listening):
        verify(secret, headers_of(request), body_of(request), now=now)
    delivery = await endpoint.delivery()
    assert delivery["state"] == "delivered"
    assert [(a["number"], a["status"]) for a in delivery["attempts"]] == [(1, 500), (2, 204)]


async def test_wh_04_both_secrets_sign_for_a_day(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves()) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        rotated = await administrator.post(f"/v1/webhooks/{endpoint.id}/rotate-secret")
        await happen(make)
        await work(place, carrier)
        with later(timedelta(hours=24, seconds=1)):
            await happen(make)
            await work(place, carrier)
            tomorrow = clock.wall()

    during, after = happenings(listening)
    old, new = (WebhookSecret.parse(one) for one in (endpoint.secret, rotated.json()["secret"]))
    for secret in (old, new):
        verify([secret], headers_of(during), body_of(during), now=clock.wall())
    verify([new], headers_of(after), body_of(after), now=tomorrow)
    with pytest.raises(BadSignature):
        verify([old], headers_of(after), body_of(after), now=tomorrow)


async def test_wh_05_what_was_rolled_back_is_never_sent(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    class Undone(Exception):
        """The change did not happen."""

    async def change_and_fail() -> None:
        async with make.transaction() as db:
            await events.record(db, "plan.signed", new_id())
            raise Undone

    async with receiver(proves()) as listening:
        await register(administrator, listening.url)
        await work(place, carrier)
        with pytest.raises(Undone):
            await change_and_fail()
        event_id, _ = await happen(make)
        await work(place, carrier)

    ids = [headers_of(request)["webhook-id"] for request in happenings(listening)]
    assert ids == [f"msg_{event_id.hex}"]


async def test_wh_05_an_event_and_its_deliveries_are_born_together(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    class Died(Exception):
        """The worker did not reach its commit."""

    async def sequence_and_die() -> None:
        async with place.enter(make.organization_id) as db:
            assert await sequencer.give_positions(db) > 0
            raise Died

    async with receiver(proves()) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        await happen(make)
        with pytest.raises(Died):
            await sequence_and_die()
        lost = await endpoint.deliveries()
        await work(place, carrier)

    assert lost == []
    assert len(happenings(listening)) == 1


async def test_wh_06_a_crash_after_the_lease_sends_it_again_under_the_same_id(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves()) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        event_id, _ = await happen(make)
        await sequencer.sequence(place)
        async with place.connections.command() as db:  # a worker that dies after its lease
            await db.execute(
                text("select worker_claim_deliveries(:now, :lease, 100)"),
                {"now": clock.wall(), "lease": delivering.LEASE},
            )
        await work(place, carrier)
        held_back = list(happenings(listening))
        with later(delivering.LEASE):
            await work(place, carrier)

    assert held_back == []
    [request] = happenings(listening)
    assert headers_of(request)["webhook-id"] == f"msg_{event_id.hex}"
    assert [a["number"] for a in (await endpoint.delivery())["attempts"]] == [2]


async def test_wh_06_no_transaction_is_open_while_a_receiver_is_slow(
    make: Make,
    place: Workplace,
    carrier: Courier,
    administrator: Person,
    server: embedded.EmbeddedServer,
) -> None:
    arrived, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(
        got: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if "nonce" not in document_of(got.requests[-1])["data"]:
            arrived.set()
            await goes_on.wait()
        await proves()(got, reader, writer)

    async with receiver(slow) as listening:
        await register(administrator, listening.url)
        await work(place, carrier)
        await happen(make)
        await sequencer.sequence(place)
        await carrier.deliver_due()
        await arrived.wait()
        watcher = await asyncpg.connect(host=str(server.socket_dir), user="postgres")
        open_transactions = await watcher.fetchval(
            "select count(*) from pg_stat_activity"
            " where usename = 'stepwell_worker' and xact_start is not null"
        )
        await watcher.close()
        goes_on.set()
        await carrier.finish()

    assert open_transactions == 0


async def test_wh_06_two_workers_send_it_once(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves()) as listening:
        await register(administrator, listening.url)
        await work(place, carrier)
        for _ in range(4):
            await happen(make)
        async with courier(place) as second:
            await asyncio.gather(work(place, carrier), work(place, second))

    ids = [headers_of(request)["webhook-id"] for request in happenings(listening)]
    assert len(ids) == len(set(ids)) == 4


async def test_wh_07_retries_follow_the_table_and_end_in_a_dead_letter(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves([500])) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        await happen(make)
        waited = timedelta()
        for expected in DELAYS[1:]:
            with later(waited):
                await work(place, carrier)
            pause = seconds_until((await endpoint.delivery())["next_attempt_at"])
            pause -= waited.total_seconds()
            assert abs(pause - expected.total_seconds()) <= expected.total_seconds() * JITTER + 1
            waited += expected * (1 + JITTER) + timedelta(seconds=1)
        with later(waited):
            await work(place, carrier)
    delivery = await endpoint.delivery()

    assert (delivery["state"], delivery["next_attempt_at"]) == ("dead", None)
    assert len(happenings(listening)) == len(DELAYS)
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500] * len(DELAYS)
    async with make.transaction() as db:
        told = await db.scalar(
            select(func.count())
            .select_from(Notification)
            .where(
                Notification.account_id == administrator.account_id,
                Notification.template == Template.WEBHOOK_FAILING,
            )
        )
    assert told == 1


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 500])
async def test_wh_07_anything_else_is_tried_again(
    make: Make, place: Workplace, carrier: Courier, administrator: Person, status: int
) -> None:
    headers = ("Location: http://127.0.0.1:9/",)
    async with receiver(proves([status], *headers)) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        await happen(make)
        await work(place, carrier)

    delivery = await endpoint.delivery()
    assert (delivery["state"], len(happenings(listening))) == ("waiting", 1)
    assert 2 <= seconds_until(delivery["next_attempt_at"]) <= 6


@pytest.mark.parametrize("status", [429, 503])
async def test_wh_07_a_receiver_may_ask_for_time(
    make: Make, place: Workplace, carrier: Courier, administrator: Person, status: int
) -> None:
    async with receiver(proves([status], "Retry-After: 3600")) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        await happen(make)
        await work(place, carrier)

    pause = seconds_until((await endpoint.delivery())["next_attempt_at"])
    assert 3590 <= pause <= 3600


async def test_wh_07_gone_takes_the_endpoint_out_of_service(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves([410])) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        await happen(make)
        await work(place, carrier)

    read = await endpoint.read()
    assert (read["state"], read["disabled_because"]) == ("disabled", "gone")
    assert (await endpoint.delivery())["state"] == "canceled"


async def test_wh_09_an_endpoint_that_keeps_failing_is_left_alone_for_a_minute(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves([500])) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        for _ in range(delivering.CIRCUIT_FAILURES + 10):
            await happen(make)
        await work(place, carrier)
        before = len(happenings(listening))
        paused_for = seconds_until((await endpoint.read())["paused_until"])
        with later(timedelta(seconds=61)):
            await sequencer.sequence(place)
            await carrier.deliver_due()
            await carrier.finish()
            after = len(happenings(listening))

    # Five are under way at once, so that a few more may have left before the twentieth failed.
    assert delivering.CIRCUIT_FAILURES <= before < delivering.CIRCUIT_FAILURES + 5
    assert 50 <= paused_for <= 60
    assert after == before + 1


async def test_wh_09_an_endpoint_that_took_nothing_for_five_days_is_disabled(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves([500])) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        async with make.transaction() as db:
            await db.execute(
                update(WebhookEndpoint)
                .where(WebhookEndpoint.id == UUID(endpoint.id))
                .values(
                    failures_in_a_row=delivering.CIRCUIT_FAILURES,
                    last_success_at=clock.wall() - delivering.GIVEN_UP_AFTER,
                )
            )
        await happen(make)
        await work(place, carrier)

    read = await endpoint.read()
    assert (read["state"], read["disabled_because"]) == ("disabled", "unreachable")


async def test_wh_09_the_five_days_are_real_ones_whatever_the_organization_s_clock_says(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with make.transaction() as db:
        await db.execute(update(Organization).values(clock_offset=-timedelta(days=30)))
    async with receiver(proves([500])) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        async with make.transaction() as db:  # it was proven, and then took nothing at all
            await db.execute(
                update(WebhookEndpoint)
                .where(WebhookEndpoint.id == UUID(endpoint.id))
                .values(failures_in_a_row=delivering.CIRCUIT_FAILURES, last_success_at=None)
            )
        await happen(make)
        await work(place, carrier)

    read = await endpoint.read()
    assert read["state"] == "active"
    assert abs(seconds_until(read["created_at"])) < 60


async def test_wh_09_a_receiver_that_hangs_keeps_no_other_waiting(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    released = asyncio.Event()

    async def hang(
        got: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if happenings(got):
            await released.wait()
        await proves()(got, reader, writer)

    async with receiver(proves()) as quick, receiver(hang) as stuck:
        for listening in (stuck, quick):
            await register(administrator, listening.url)
        await work(place, carrier)
        for _ in range(12):
            await happen(make)
        await sequencer.sequence(place)
        while len(happenings(quick)) < 12:
            carrier.has_room.clear()
            if not await carrier.deliver_due():
                await carrier.has_room.wait()
        at_the_stuck_one = len(happenings(stuck))
        released.set()
        await carrier.finish()

    assert at_the_stuck_one == 5


async def test_wh_11_a_replay_keeps_its_id(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves()) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        await happen(make)
        await work(place, carrier)
        delivery = await endpoint.delivery()
        replayed = await administrator.post(
            f"/v1/webhooks/{endpoint.id}/deliveries/{delivery['id']}/replay"
        )
        await work(place, carrier)

    assert replayed.json()["state"] == "waiting"
    first, second = map(headers_of, happenings(listening))
    assert first["webhook-id"] == second["webhook-id"]
    assert [a["status"] for a in (await endpoint.delivery())["attempts"]] == [204, 204]


async def test_wh_11_what_failed_in_a_range_is_sent_again_and_nothing_else(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves()) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        born = [await failed(make, place, endpoint, day) for day in range(5)]
        # Delivered, in the range: it stays as it is.
        await over(make, place, endpoint, day=2, state=DeliveryState.DELIVERED)
        sent = len(happenings(listening))
        day_1, day_4 = (moment.isoformat() for _, moment in (born[1], born[4]))
        answer = await administrator.post(
            f"/v1/webhooks/{endpoint.id}/replays", json={"since": day_1, "until": day_4}
        )
        again = await administrator.post(
            f"/v1/webhooks/{endpoint.id}/replays", json={"since": day_1, "until": day_4}
        )
        await work(place, carrier)

    assert answer.json() == {"replayed": 3, "has_more": False}
    assert again.json() == {"replayed": 0, "has_more": False}
    ids = [headers_of(request)["webhook-id"] for request in happenings(listening)[sent:]]
    assert sorted(ids) == sorted(f"msg_{event_id.hex}" for event_id, _ in born[1:4])
    states = {one["event_id"]: one["state"] for one in await endpoint.deliveries()}
    outside = [states[str(event_id)] for event_id, _ in (born[0], born[4])]
    assert outside == ["dead", "dead"]


async def failed(
    make: Make, place: Workplace, endpoint: Endpoint, day: int
) -> tuple[UUID, datetime]:
    """An event whose delivery was given up, born so many days after the first of these."""
    return await over(make, place, endpoint, day=day, state=DeliveryState.DEAD)


async def over(
    make: Make, place: Workplace, endpoint: Endpoint, *, day: int, state: DeliveryState
) -> tuple[UUID, datetime]:
    event_id, _ = await happen(make)
    await sequencer.sequence(place)
    born = clock.wall() + timedelta(days=day - 20)
    async with make.transaction() as db:
        await db.execute(
            update(WebhookDelivery)
            .where(
                WebhookDelivery.endpoint_id == UUID(endpoint.id),
                WebhookDelivery.event_id == event_id,
            )
            .values(state=state, created_at=born)
        )
    return event_id, born


async def test_wh_11_a_range_that_is_too_long_goes_in_parts_the_oldest_first(
    make: Make,
    place: Workplace,
    administrator: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhooks, "MOST_REPLAYED", 2)
    async with receiver(proves()) as listening:
        endpoint = await registered_and_active(make, administrator, listening.url)
        born = [await failed(make, place, endpoint, day) for day in (2, 0, 1)]
        path, body = f"/v1/webhooks/{endpoint.id}/replays", {"since": born[1][1].isoformat()}
        first = (await administrator.post(path, json=body)).json()
        left = [one["event_id"] for one in await endpoint.deliveries() if one["state"] == "dead"]
        second = (await administrator.post(path, json=body)).json()

    assert first == {"replayed": 2, "has_more": True}
    assert left == [str(born[0][0])]
    assert second == {"replayed": 1, "has_more": False}


async def test_wh_11_a_range_brings_back_what_was_canceled_and_nothing_that_is_withheld(
    make: Make, place: Workplace, administrator: Person
) -> None:
    async with receiver(proves()) as listening:
        endpoint = await registered_and_active(make, administrator, listening.url)
        canceled, withheld = [(await failed(make, place, endpoint, 0))[0] for _ in range(2)]
        async with make.transaction() as db:
            for event_id, why in ((canceled, None), (withheld, WITHHELD)):
                await db.execute(
                    update(WebhookDelivery)
                    .where(WebhookDelivery.event_id == event_id)
                    .values(state=DeliveryState.CANCELED, last_failure=why)
                )
        answer = await administrator.post(
            f"/v1/webhooks/{endpoint.id}/replays",
            json={"since": (clock.wall() - timedelta(days=30)).isoformat()},
        )

    assert answer.json() == {"replayed": 1, "has_more": False}
    states = {one["event_id"]: one["state"] for one in await endpoint.deliveries()}
    assert states == {str(canceled): "waiting", str(withheld): "canceled"}
    failures = await administrator.get(
        f"/v1/webhooks/{endpoint.id}/deliveries", params={"state": "canceled"}
    )
    assert [one["event_id"] for one in failures.json()["items"]] == [str(withheld)]


async def registered_and_active(make: Make, owner: Person, url: str) -> Endpoint:
    """An endpoint whose proof nobody waited for."""
    endpoint = await register(owner, url)
    async with make.transaction() as db:
        await db.execute(update(WebhookEndpoint).values(state=EndpointState.ACTIVE))
        await db.execute(update(WebhookDelivery).values(state=DeliveryState.DELIVERED))
    return endpoint


async def test_wh_11_a_test_reaches_its_endpoint_alone_whatever_it_listens_for(
    place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves()) as one, receiver(proves()) as other:
        endpoint = await register(administrator, one.url, ["plan.signed"])
        await register(administrator, other.url)
        await work(place, carrier)
        answer = await administrator.post(f"/v1/webhooks/{endpoint.id}/test")
        await work(place, carrier)

    assert answer.status_code == HTTPStatus.CREATED
    [request] = happenings(one)
    assert document_of(request)["type"] == "endpoint.tested"
    assert document_of(request)["data"]["id"] == endpoint.id
    assert happenings(other) == []
    [delivery] = [d for d in await endpoint.deliveries() if d["id"] == answer.json()["id"]]
    assert (delivery["state"], len(delivery["attempts"])) == ("delivered", 1)


async def test_wh_12_an_endpoint_that_does_not_answer_stays_inactive_and_is_not_tested(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(resets) as listening:
        endpoint = await register(administrator, listening.url)
        await happen(make)
        await work(place, carrier)
        with later(timedelta(seconds=10)):
            await work(place, carrier)
        test = await administrator.post(f"/v1/webhooks/{endpoint.id}/test")

    assert (await endpoint.read())["state"] == "pending"
    assert problem_of(test) == "webhook-not-active"
    assert {document_of(one)["type"] for one in listening.requests} == {"endpoint.verification"}
    assert len(listening.requests) == 2


async def test_wh_13_the_url_is_checked_again_at_each_attempt(
    place: Workplace, administrator: Person
) -> None:
    async with receiver(proves()) as listening:
        endpoint = await register(administrator, listening.url)
        strict = Courier(place, Transport())  # without the setting for development
        await work(place, strict)

    assert listening.requests == []
    answer = await administrator.get(f"/v1/webhooks/{endpoint.id}/deliveries")
    [delivery] = answer.json()["items"]
    assert [attempt["failure"] for attempt in delivery["attempts"]] == ["url_refused"]


async def test_wh_15_nothing_of_a_part_2_record_leaves(
    make: Make,
    place: Workplace,
    carrier: Courier,
    administrator: Person,
    server: embedded.EmbeddedServer,
) -> None:
    person = await make.participant()
    async with receiver(proves([500])) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        await happen(make, participant_id=person.participant_id)
        await work(place, carrier)
        async with make.transaction() as db:  # while the delivery waits for its next attempt
            await db.execute(
                update(Participant)
                .where(Participant.id == person.participant_id)
                .values(sensitivity=[Sensitivity.PART2.value])
            )
        with later(timedelta(seconds=10)):
            await work(place, carrier)

    delivery = await endpoint.delivery()
    assert (delivery["state"], delivery["last_failure"]) == ("canceled", "withheld")
    assert len(happenings(listening)) == 1
    reader = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    audited = await reader.fetch(
        "select subtype, outcome, actor_role from stepwell.audit_event"
        " where participant_id = $1 and resource = 'webhook_delivery'",
        person.participant_id,
    )
    await reader.close()
    assert [tuple(row) for row in audited] == [("webhook:deliver", "refused", "worker")]


async def test_an_attempt_whose_lease_ran_out_decides_nothing(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    arrived, goes_on = asyncio.Event(), asyncio.Event()

    async def slow_then_quick(
        got: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if len(happenings(got)) == 1:
            arrived.set()
            await goes_on.wait()
            writer.write(reply(500))
            await writer.drain()
            return
        await proves()(got, reader, writer)

    async with receiver(slow_then_quick) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        await happen(make)
        await sequencer.sequence(place)
        await carrier.deliver_due()
        await arrived.wait()
        async with courier(place) as second:
            with later(delivering.LEASE):
                await work(place, second)
        goes_on.set()
        await carrier.finish()

    delivery = await endpoint.delivery()
    assert delivery["state"] == "delivered"
    assert [(a["number"], a["status"]) for a in delivery["attempts"]] == [(1, 500), (2, 204)]


async def test_two_failures_of_overlapping_attempts_count_once(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    arrived, goes_on = asyncio.Event(), asyncio.Event()

    async def fail(
        got: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if len(happenings(got)) == 1:
            arrived.set()
            await goes_on.wait()
        await proves([500])(got, reader, writer)

    async with receiver(fail) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        await happen(make)
        await sequencer.sequence(place)
        await carrier.deliver_due()
        await arrived.wait()
        async with courier(place) as second:
            with later(delivering.LEASE):
                await work(place, second)
        before = await endpoint.delivery()
        goes_on.set()
        await carrier.finish()

    after = await endpoint.delivery()
    assert after["next_attempt_at"] == before["next_attempt_at"]
    assert [attempt["number"] for attempt in after["attempts"]] == [1, 2]
    assert (await endpoint.read())["failures_in_a_row"] == 1


async def test_counting_failures_is_no_edit(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves([500])) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        before = await endpoint.read()
        await happen(make)
        await work(place, carrier)
        after = await endpoint.read()

    assert after["failures_in_a_row"] == 1
    assert after["version"] == before["version"]


async def test_events_about_endpoints_are_not_sent_to_endpoints(
    make: Make, place: Workplace, carrier: Courier, administrator: Person
) -> None:
    async with receiver(proves()) as listening:
        endpoint = await register(administrator, listening.url)
        await work(place, carrier)
        await administrator.post(f"/v1/webhooks/{endpoint.id}/rotate-secret")
        await work(place, carrier)

    assert happenings(listening) == []
    async with make.transaction() as db:
        rows = await db.scalar(select(func.count()).select_from(WebhookDelivery))
    assert rows == 1


def test_the_organizations_time_stands_in_the_body_and_the_real_time_in_the_signature() -> None:
    at = datetime(2027, 1, 4, 17, tzinfo=UTC)
    body = payload.body_of(payload.Happening("plan.signed", "plan", UUID(int=1), 2, at, None))

    assert b'"timestamp":"2027-01-04T17:00:00Z"' in body
