"""The worker: its loops are kept alive, and what they do is done once."""

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import override

from app import events, notifications, worker
from app.core import clock, embedded
from app.core.ids import new_id
from app.domain.roles import StaffRole
from app.jobs import cleanup, sequencer
from app.jobs import notifications as sending
from app.jobs.supervision import FAILURES, GivenUp, Loop, SomeFailed, Supervisor
from app.jobs.workplace import Workplace, in_turn
from app.models.accounts import (
    Account,
    AccountState,
    KnownDevice,
    Notification,
    RateWindow,
    RefreshToken,
    SignIn,
)
from app.models.events import Event
from app.models.idempotency import StoredAnswer
from app.models.rooms import RealtimeTicket
from app.models.webhooks import (
    DeliveryState,
    EndpointState,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from app.notifications import Template
from app.settings import Misconfigured, Mode, Settings
from tests.factories import Make, Person
from tests.webhooks.receivers import Authority
from tests.working import set_aside_what_others_left, workplace

PATIENCE = 30


@pytest.fixture
async def place(server: embedded.EmbeddedServer, settings: Settings) -> AsyncIterator[Workplace]:
    await set_aside_what_others_left(server)
    async with workplace(server, settings) as place:
        yield place


class Steps:
    """A step that does something else each time, and says when all of it is done."""

    def __init__(self, *actions: Callable[[], Awaitable[object]]) -> None:
        self._actions = list(actions)
        self.done = asyncio.Event()
        self.count = 0

    async def __call__(self) -> bool:
        self.count += 1
        if self._actions:
            await self._actions.pop(0)()
        else:
            self.done.set()
        return False


async def fail() -> None:
    raise RuntimeError


async def be_killed() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def supervised(supervisor: Supervisor, until: asyncio.Event) -> None:
    running = asyncio.create_task(supervisor.run())
    waiting = asyncio.create_task(until.wait())
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        supervisor.stop()
        await running
    assert waiting.done()


@pytest.mark.parametrize("mishap", [fail, be_killed])
async def test_rel_06_a_loop_goes_on_after_a_mishap(
    mishap: Callable[[], Awaitable[object]],
) -> None:
    steps, others = Steps(mishap, mishap), Steps()
    loops = [Loop("steps", steps, 0), Loop("others", others, 60)]

    await supervised(Supervisor(loops, first_pause_seconds=0), steps.done)

    assert steps.count >= 3
    assert others.count == 1


@pytest.mark.parametrize("mishap", [fail, be_killed])
async def test_rel_06_a_critical_loop_that_keeps_failing_ends_the_process(
    mishap: Callable[[], Awaitable[object]],
) -> None:
    steps = Steps(*[mishap] * FAILURES)
    supervisor = Supervisor(
        [Loop("steps", steps, 0), Loop("others", Steps(), 60)], first_pause_seconds=0
    )

    with pytest.raises(GivenUp) as given_up:
        await asyncio.wait_for(supervisor.run(), PATIENCE)

    assert given_up.value.job == "steps"
    assert steps.count == FAILURES


async def fail_in_part() -> None:
    raise SomeFailed("one of two", [RuntimeError()])


async def test_rel_06_what_fails_in_one_place_ends_no_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps = Steps(*[fail_in_part] * FAILURES * 2)

    await supervised(Supervisor([Loop("steps", steps, 0)], first_pause_seconds=3600), steps.done)

    assert steps.count == FAILURES * 2 + 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failed = [line for line in lines if line["event"] == "job_failed"]
    assert [line["error"] for line in failed] == ["RuntimeError"] * FAILURES * 2


async def test_rel_06_failures_further_apart_are_borne() -> None:
    now = 0.0

    def monotonic() -> float:
        nonlocal now
        now += 20  # so that five failures take more than a minute
        return now

    steps = Steps(*[fail] * (FAILURES + 2))

    await supervised(
        Supervisor([Loop("steps", steps, 0)], monotonic=monotonic, first_pause_seconds=0),
        steps.done,
    )

    assert steps.count == FAILURES + 3


async def test_rel_06_a_loop_of_less_importance_is_never_given_up() -> None:
    steps = Steps(*[fail] * FAILURES * 2)
    loop = Loop("steps", steps, 0, is_critical=False)

    await supervised(Supervisor([loop], first_pause_seconds=0), steps.done)

    assert steps.count == FAILURES * 2 + 1


async def test_stopping_lets_a_step_finish() -> None:
    began, goes_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def step() -> bool:
        began.set()
        await goes_on.wait()
        finished.set()
        return True

    supervisor = Supervisor([Loop("steps", step, 0)])
    running = asyncio.create_task(supervisor.run())
    await began.wait()
    supervisor.stop()
    goes_on.set()
    await asyncio.wait_for(running, PATIENCE)

    assert finished.is_set()


async def test_stopping_does_not_wait_for_ever() -> None:
    began = asyncio.Event()

    async def step() -> bool:
        began.set()
        await asyncio.Event().wait()
        return True

    await supervised(Supervisor([Loop("steps", step, 0)], drain_seconds=0), began)


async def _nothing() -> None:
    """A step with nothing to do."""


async def test_a_loop_wakes_early_when_there_is_something_to_do() -> None:
    steps = Steps(_nothing)
    loop = Loop("steps", steps, 3600)
    running = asyncio.create_task(supervised(Supervisor([loop]), steps.done))

    loop.wake.set()

    await asyncio.wait_for(running, PATIENCE)


async def test_one_organizations_failure_keeps_no_other_waiting(
    make: Make, place: Workplace
) -> None:
    other = await Make.organization(make.app, make.runtime)
    reached = set()

    async def work(db: AsyncSession) -> None:
        reached.add(db.info["organization_id"])
        if db.info["organization_id"] == make.organization_id:
            raise RuntimeError

    with pytest.raises(SomeFailed) as failures:
        await place.in_each(work)

    assert {make.organization_id, other.organization_id} <= reached
    assert len(failures.value.exceptions) == 1


async def test_when_everything_fails_nothing_was_done_in_part() -> None:
    async def work(_: int) -> None:
        raise RuntimeError

    with pytest.raises(ExceptionGroup) as failures:
        await in_turn(range(2), work)

    assert not isinstance(failures.value, SomeFailed)


async def test_an_organization_whose_events_cannot_be_ordered_keeps_no_other_waiting(
    make: Make, place: Workplace
) -> None:
    others = [await Make.organization(make.app, make.runtime) for _ in range(3)]
    broken = others[0]
    for each in (make, *others):
        async with each.transaction() as db:
            await events.record(db, "plan.signed", new_id())
    async with broken.transaction() as db:  # the place after the head is taken already
        taken = await events.record(db, "plan.signed", new_id())
        await db.execute(update(Event).where(Event.id == taken).values(position=1))

    with pytest.raises(ExceptionGroup) as failures:
        await sequencer.sequence(place)
    given = [await positions_of(each) for each in (make, *others[1:])]
    async with broken.transaction() as db:
        await db.execute(update(Event).where(Event.id == taken).values(position=None))
    await sequencer.sequence(place)

    assert len(failures.value.exceptions) == 1
    assert given == [[1], [1], [1]]
    assert await positions_of(broken) == [1, 2]


async def positions_of(make: Make) -> list[int | None]:
    async with make.transaction() as db:
        return list(await db.scalars(select(Event.position).order_by(Event.position)))


async def test_jobs_live_at_the_organizations_time(make: Make, place: Workplace) -> None:
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    await administrator.post("/v1/clock", json={"advance": 24 * 60})

    async with place.enter(make.organization_id):
        inside = clock.now()

    assert timedelta(hours=23) < inside - clock.now() < timedelta(hours=25)


# The process


@asynccontextmanager
async def process(
    server: embedded.EmbeddedServer, settings: Settings, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`stepwell worker`, as an operator starts it."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        "worker",
        env={
            **os.environ,
            "STEPWELL_WORKER_DATABASE_URL": server.url(role="stepwell_worker"),
            "STEPWELL_DATA_DIR": str(settings.data_dir),
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


@asynccontextmanager
async def positions(
    server: embedded.EmbeddedServer, make: Make
) -> AsyncIterator[asyncio.Queue[int]]:
    """The positions of an organization as they are given."""
    given: asyncio.Queue[int] = asyncio.Queue()

    def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        organization, _, position = str(payload).partition(":")
        if organization == str(make.organization_id):
            given.put_nowait(int(position))

    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    await connection.add_listener(sequencer.CHANNEL, hear)
    try:
        yield given
    finally:
        await connection.close()


async def test_rel_06_the_worker_survives_the_loss_of_all_its_connections(
    make: Make, server: embedded.EmbeddedServer, settings: Settings
) -> None:
    killer = await asyncpg.connect(host=str(server.socket_dir), user="postgres")
    async with (
        positions(server, make) as given,
        process(server, settings) as running,
        asyncio.timeout(PATIENCE),
    ):
        async with make.transaction() as db:
            await events.record(db, "plan.signed", new_id())
        first = await given.get()
        killed = await killer.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where usename = 'stepwell_worker'"
        )
        async with make.transaction() as db:
            await events.record(db, "plan.signed", new_id())
        second = await given.get()
        running.send_signal(signal.SIGTERM)
        status = await running.wait()
    await killer.close()

    assert killed > 0
    assert (first, second, status) == (1, 2, 0)


async def test_the_worker_ends_with_its_parent(
    server: embedded.EmbeddedServer, settings: Settings
) -> None:
    async with process(server, settings, STEPWELL_PARENT_PID="1") as orphan:
        status = await asyncio.wait_for(orphan.wait(), PATIENCE)

    assert status == 0


async def test_the_worker_says_what_it_misses() -> None:
    with pytest.raises(Misconfigured, match="STEPWELL_WORKER_DATABASE_URL"):
        await worker.run(Settings(worker_database_url=None))


# Notifications


class Recorder:
    """A sender that keeps what it is given, or refuses it."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.messages: list[sending.Message] = []
        self._refuses = refuses

    async def send(self, message: sending.Message) -> None:
        self.messages.append(message)
        if self._refuses:
            raise sending.NotSent

    def to(self, address: str) -> list[sending.Message]:
        return [message for message in self.messages if message.to == address]


async def queue(make: Make, person: Person, template: Template, secret: str | None = None) -> str:
    assert person.account_id is not None
    async with make.transaction() as db:
        await notifications.queue(db, person.account_id, template, secret=secret)
    return f"{person.account_id.hex}@example.org"


async def test_a_message_is_sent_once_and_its_secret_forgotten(
    make: Make, place: Workplace
) -> None:
    address = await queue(make, await make.staff(), Template.INVITATION, "the-secret")
    one, two = Recorder(), Recorder()

    await asyncio.gather(sending.send_due(place, one), sending.send_due(place, two))
    await sending.send_due(place, one)

    [message] = one.to(address) + two.to(address)
    assert "the-secret" in message.text
    async with make.transaction() as db:
        [row] = await db.scalars(select(Notification))
    assert row.sent_at is not None
    assert row.secret is None


async def test_a_message_that_was_not_taken_is_sent_later(make: Make, place: Workplace) -> None:
    address = await queue(make, await make.staff(), Template.PASSWORD_CHANGED)
    refusing, taking = Recorder(refuses=True), Recorder()

    await sending.send_due(place, refusing)
    await sending.send_due(place, taking)
    too_early = taking.to(address)
    clock.shift_process(sending.LEASE)
    try:
        await sending.send_due(place, taking)
    finally:
        clock.shift_process(-sending.LEASE)

    assert too_early == []
    assert len(refusing.to(address)) == len(taking.to(address)) == 1


async def test_a_message_is_leased_when_its_turn_comes_however_slow_those_before_it_were(
    make: Make, place: Workplace
) -> None:
    person = await make.staff()
    address = await queue(make, person, Template.PASSWORD_CHANGED)
    await queue(make, person, Template.SIGN_IN_ENDED)
    second, passed = Recorder(), []

    class Slow(Recorder):
        """Takes more than half of a lease for each message, while another worker looks on."""

        @override
        async def send(self, message: sending.Message) -> None:
            if message.to == address:
                passed.append(sending.LEASE * 0.6)
                clock.shift_process(passed[-1])
                await sending.send_due(place, second)
            await super().send(message)

    first = Slow()
    try:
        await sending.send_due(place, first)
    finally:
        clock.shift_process(-sum(passed, timedelta()))

    sent = [message.subject for message in first.to(address) + second.to(address)]
    assert sorted(sent) == ["You were signed out", "Your password was changed"]


async def test_a_message_that_fails_on_our_side_keeps_no_other_waiting(
    make: Make, place: Workplace
) -> None:
    other = await Make.organization(make.app, make.runtime)
    broken = await queue(make, await make.staff(), Template.PASSWORD_CHANGED)
    behind = await queue(make, await make.staff(), Template.PASSWORD_CHANGED)
    elsewhere = await queue(other, await other.staff(), Template.PASSWORD_CHANGED)

    class Breaking(Recorder):
        """Fails at one address, and not because the mail server does."""

        @override
        async def send(self, message: sending.Message) -> None:
            if message.to == broken:
                raise RuntimeError
            await super().send(message)

    recorder = Breaking()
    with pytest.raises(ExceptionGroup) as failures:
        await sending.send_due(place, recorder)
    await other.close()

    assert len(failures.value.exceptions) == 1
    assert len(recorder.to(behind)) == len(recorder.to(elsewhere)) == 1


async def test_a_disabled_account_gets_no_message(make: Make, place: Workplace) -> None:
    person = await make.staff()
    address = await queue(make, person, Template.SIGN_IN_ENDED)
    async with make.transaction() as db:
        await db.execute(
            update(Account)
            .where(Account.id == person.account_id)
            .values(state=AccountState.DISABLED)
        )
    recorder = Recorder()

    await sending.send_due(place, recorder)

    assert recorder.to(address) == []


@pytest.mark.parametrize("template", list(Template))
async def test_every_template_has_words(make: Make, place: Workplace, template: Template) -> None:
    address = await queue(make, await make.staff(), template)
    recorder = Recorder()

    await sending.send_due(place, recorder)

    [message] = recorder.to(address)
    assert message.subject
    assert "{" not in message.text


async def test_files_stand_in_for_a_mail_server(tmp_path: Path) -> None:
    sender = sending.sender_of(Settings(data_dir=tmp_path))
    assert sender is not None
    message = sending.Message(new_id(), "robin@example.org", "Subject", "Words")

    await sender.send(message)
    await sender.send(message)

    [path] = (tmp_path / "outbox").iterdir()
    assert path.read_text() == "To: robin@example.org\nSubject: Subject\n\nWords\n"


def test_production_writes_no_secret_into_a_file(tmp_path: Path) -> None:
    production = Settings(data_dir=tmp_path, mode=Mode.PRODUCTION)
    connected = production.model_copy(update={"smtp_url": SecretStr("smtps://mail.example.org")})

    assert sending.sender_of(production) is None
    assert isinstance(sending.sender_of(connected), sending.SmtpSender)


@asynccontextmanager
async def mail_server(tls: ssl.SSLContext) -> AsyncIterator[tuple[int, list[str]]]:
    """Takes every message, over TLS; gives its port and the lines it was told."""
    told: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        is_data = False
        while raw := await reader.readline():
            line = raw.decode().rstrip("\r\n")
            told.append(line)
            if is_data and line != ".":
                continue
            is_data = line.upper() == "DATA"
            is_over = line.upper() == "QUIT"
            code = 354 if is_data else 221 if is_over else 250
            writer.write(f"{code} said\r\n".encode())
            if is_over:
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], told
    finally:
        server.close()


async def test_a_mail_server_is_handed_the_message_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    message = sending.Message(new_id(), "robin@example.org", "Subject", "Words")
    async with mail_server(authority.server_context("localhost")) as (port, told):
        sender = sending.SmtpSender(
            f"smtps://localhost:{port}", "us@example.org", tls=authority.client_context()
        )
        await sender.send(message)

    assert "rcpt TO:<robin@example.org>" in told
    assert {"To: robin@example.org", "Subject: Subject", "Words"} <= set(told)


async def test_an_unknown_mail_server_is_told_nothing(tmp_path: Path) -> None:
    message = sending.Message(new_id(), "robin@example.org", "Subject", "Words")
    async with mail_server(Authority(tmp_path).server_context("localhost")) as (port, told):
        sender = sending.SmtpSender(f"smtps://localhost:{port}", "us@example.org")
        with pytest.raises(sending.NotSent):
            await sender.send(message)

    assert told == []


# Cleanup


async def test_api_07_answers_are_kept_for_a_day(make: Make, place: Workplace) -> None:
    now = clock.wall()
    async with make.transaction() as db:
        for age in (timedelta(hours=23), timedelta(hours=25)):
            db.add(
                StoredAnswer(
                    organization_id=make.organization_id,
                    account_id=new_id(),
                    key=b"k" * 32,
                    fingerprint=b"f" * 32,
                    id=new_id(),
                    participant_ids=[],
                    status=201,
                    headers={},
                    body=None,
                    created_at=now - age,
                )
            )

    await cleanup.clean(place)

    async with make.transaction() as db:
        [kept] = await db.scalars(select(StoredAnswer))
    assert kept.created_at == now - timedelta(hours=23)


async def test_spent_tickets_go_after_a_day(make: Make, place: Workplace) -> None:
    person = await make.staff()
    now = clock.wall()
    async with make.transaction() as db:
        for age in (timedelta(hours=1), timedelta(days=2)):
            ticket_id = new_id()
            db.add(
                RealtimeTicket(
                    id=ticket_id,
                    sign_in_id=person.sign_in_id,
                    sign_in_version=1,
                    digest=ticket_id.bytes * 2,
                    scope="user/*.cruds",
                    expires_at=now - age,
                )
            )

    await cleanup.clean(place)

    async with make.transaction() as db:
        kept = await db.scalar(select(func.count()).select_from(RealtimeTicket))
    assert kept == 1


async def test_the_tokens_of_a_sign_in_go_after_it_and_not_before(
    make: Make, place: Workplace
) -> None:
    now = clock.wall()
    living, ended, expired = [await make.staff() for _ in range(3)]
    long_ago = now - timedelta(days=2)
    async with make.transaction() as db:
        for person in (living, ended, expired):
            token_id = new_id()
            db.add(
                RefreshToken(
                    id=token_id,
                    sign_in_id=person.sign_in_id,
                    digest=token_id.bytes * 2,
                    issued_at=long_ago,
                    rotated_at=long_ago,
                )
            )
        for person, over in (
            (ended, {"revoked_at": long_ago}),
            (expired, {"expires_at": long_ago}),
        ):
            await db.execute(update(SignIn).where(SignIn.id == person.sign_in_id).values(over))

    await cleanup.clean(place)

    async with make.transaction() as db:
        assert (await db.scalars(select(RefreshToken.sign_in_id))).all() == [living.sign_in_id]


async def test_a_sign_in_that_is_over_is_kept_for_ninety_days(make: Make, place: Workplace) -> None:
    now = clock.wall()
    living, lately, ended, expired = [await make.staff() for _ in range(4)]
    async with make.transaction() as db:
        for person, over in (
            (lately, {"revoked_at": now - timedelta(days=89)}),
            (ended, {"revoked_at": now - timedelta(days=91)}),
            (expired, {"expires_at": now - timedelta(days=91)}),
        ):
            await db.execute(update(SignIn).where(SignIn.id == person.sign_in_id).values(over))

    await cleanup.clean(place)

    async with make.transaction() as db:
        kept = set(await db.scalars(select(SignIn.id)))
    assert kept == {living.sign_in_id, lately.sign_in_id}


async def test_messages_are_forgotten_after_thirty_days_sent_or_not(
    make: Make, place: Workplace
) -> None:
    person, now = await make.staff(), clock.wall()
    async with make.transaction() as db:
        for age in (29, 31):
            for sent_at in (None, now - timedelta(days=age)):
                db.add(
                    Notification(
                        id=new_id(),
                        account_id=person.account_id,
                        template=Template.PASSWORD_CHANGED,
                        created_at=now - timedelta(days=age),
                        sent_at=sent_at,
                    )
                )

    await cleanup.clean(place)

    async with make.transaction() as db:
        kept = (await db.scalars(select(Notification.created_at))).all()
    assert kept == [now - timedelta(days=29)] * 2


async def test_counts_and_devices_are_forgotten(make: Make, place: Workplace) -> None:
    now, person = clock.wall(), await make.staff()
    old, new = (new_id().bytes * 2 for _ in range(2))
    async with make.transaction() as db:
        for digest, age in ((old, timedelta(days=366)), (new, timedelta(days=364))):
            db.add(
                KnownDevice(
                    id=new_id(), account_id=person.account_id, digest=digest, last_seen_at=now - age
                )
            )
        for key, age in ((old, timedelta(days=2)), (new, timedelta(hours=2))):
            db.add(RateWindow(key=key, started_at=now - age, used=1))

    await cleanup.clean(place)

    async with make.transaction() as db:
        assert (await db.scalars(select(KnownDevice.digest))).all() == [new]
        windows = await db.scalars(select(RateWindow.key).where(RateWindow.key.in_([old, new])))
        assert windows.all() == [new]


@pytest.mark.parametrize(
    ("state", "age", "last_attempt", "is_kept"),
    [
        (DeliveryState.DELIVERED, 31, 31, False),
        (DeliveryState.DEAD, 31, 31, False),
        (DeliveryState.CANCELED, 31, None, False),
        (DeliveryState.DELIVERED, 29, 29, True),
        (DeliveryState.DELIVERED, 31, 1, True),
        (DeliveryState.WAITING, 31, 31, True),
    ],
)
async def test_wh_11_a_delivery_that_is_over_is_kept_for_thirty_days(  # noqa: PLR0913 (a table)
    make: Make,
    place: Workplace,
    state: DeliveryState,
    age: int,
    last_attempt: int | None,
    *,
    is_kept: bool,
) -> None:
    await delivery_of(make, state, age, last_attempt)

    await cleanup.clean(place)

    async with make.transaction() as db:
        kept = await db.scalar(select(func.count()).select_from(WebhookDelivery))
        attempts = await db.scalar(select(func.count()).select_from(WebhookAttempt))
    assert (kept, attempts) == ((1, 1) if is_kept else (0, 0))


async def test_wh_11_not_even_the_worker_removes_an_attempt_before_its_time(
    make: Make, place: Workplace
) -> None:
    await delivery_of(make, DeliveryState.DELIVERED, 29, 29)

    with pytest.raises(IntegrityError, match="insert-only"):
        async with place.enter(make.organization_id) as db:
            await db.execute(delete(WebhookAttempt))


async def delivery_of(make: Make, state: DeliveryState, age: int, last_attempt: int | None) -> None:
    """A delivery that was made so many days ago, and attempted last so many days ago."""
    administrator = await make.staff(StaffRole.ADMINISTRATOR)
    now, endpoint_id, delivery_id = clock.wall(), new_id(), new_id()
    async with make.transaction() as db:
        db.add(
            WebhookEndpoint(
                id=endpoint_id,
                url="https://example.org/hook",
                event_types=["*"],
                state=EndpointState.DISABLED,
                secret=b"sealed",
                created_by=administrator.account_id,
                created_at=now,
                updated_at=now,
            )
        )
        event_id = await events.record(db, "plan.signed", new_id())
        await db.flush()
        db.add(
            WebhookDelivery(
                id=delivery_id,
                endpoint_id=endpoint_id,
                event_id=event_id,
                state=state,
                next_attempt_at=now,
                created_at=now - timedelta(days=age),
            )
        )
        await db.flush()
        if last_attempt is not None:
            db.add(
                WebhookAttempt(
                    id=new_id(),
                    delivery_id=delivery_id,
                    number=1,
                    status=204,
                    duration_ms=3,
                    at=now - timedelta(days=last_attempt),
                )
            )
