"""The worker: everything that happens without a request, as loops that are supervised.

Any number of workers may run at once. Each loop takes its work under locks, leases or unique
constraints, so that two do not do the same thing twice where it matters, and none holds a
transaction open while it waits for the network.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Final, cast

import asyncpg
from sqlalchemy.util import greenlet_spawn

from app import vitals
from app.core import logging
from app.jobs import alert_clocks, cleanup, horizon, measurement, notifications, sequencer
from app.jobs.probes import Probes
from app.jobs.supervision import GivenUp, Loop, Supervisor
from app.jobs.workplace import Workplace
from app.readiness import Check, Link, Readiness, Verdict
from app.security.keys import Lookout
from app.settings import Settings
from app.webhooks.delivery import Courier
from app.webhooks.transport import Transport

_log = logging.get_logger(__name__)

EVENTS_CHANNEL: Final = "stepwell_events"
PARENT: Final = "STEPWELL_PARENT_PID"
_EVENTS_EVERY: Final = 1.0
_DELIVERIES_EVERY: Final = 1.0
_ALERT_CLOCKS_EVERY: Final = 2.0
_HORIZON_EVERY: Final = 5.0
_NOTIFICATIONS_EVERY: Final = 2.0
_CLEANUP_EVERY: Final = 300.0
_MEASUREMENT_EVERY: Final = 60.0
_PARENT_EVERY: Final = 1.0


async def run(settings: Settings) -> None:
    """Work until a signal comes, or until the parent that is named in the environment is gone.

    Raises Misconfigured before it begins, and SystemExit when a loop that matters keeps failing.
    """
    logging.configure()
    place = Workplace.of(settings)
    transport = Transport(development=settings.allow_local_webhooks)
    try:
        await place.check()
        courier = Courier(place, transport)
        supervisor, events_link = Supervisor(()), Link()
        lookout = Lookout(root=place.vault.refresh)

        def own_checks() -> Iterator[Check]:
            yield Check.of("keys", is_well=lookout.sees, otherwise=Verdict.DEGRADED)
            yield from _own_checks(settings, supervisor, events_link)

        readiness = Readiness(place.connections, settings, own_checks)
        supervisor.loops = [
            *_loops(place, courier, supervisor, events_link),
            *vitals.loops(readiness, place.connections),
            lookout.loop,
        ]
        probes = Probes(readiness, settings)
        async with _stopped_by_signals(supervisor), probes.serving(settings.worker_metrics_port):
            _log.info("worker_started", count=len(supervisor.loops))
            await supervisor.run()
            await courier.finish()
        _log.info("worker_stopped")
    except GivenUp as failure:
        _log.critical("worker_gave_up", job=failure.job)
        raise SystemExit(1) from None
    finally:
        await transport.aclose()
        await place.connections.close()


def _own_checks(settings: Settings, supervisor: Supervisor, events_link: Link) -> Iterator[Check]:
    """What the worker knows of itself without asking anybody."""
    is_stopping = supervisor.stopping.is_set()
    yield Check.of("draining", is_well=not is_stopping, otherwise=Verdict.FAIL)
    yield Check.within(
        "listener", events_link.seconds_down, settings.listener_limit.total_seconds()
    )
    latest = max(loop.overdue for loop in supervisor.loops if loop.is_critical)
    yield Check.within("jobs", latest, settings.jobs_limit.total_seconds())


def _loops(
    place: Workplace, courier: Courier, supervisor: Supervisor, events_link: Link
) -> Sequence[Loop]:
    deliveries = Loop("webhooks", courier.deliver_due, _DELIVERIES_EVERY, wake=courier.has_room)

    async def sequence() -> bool:
        has_more = await sequencer.sequence(place)
        deliveries.wake.set()
        return has_more

    events = Loop("sequencer", sequence, _EVENTS_EVERY)
    loops = [
        events,
        deliveries,
        Loop("alert_clocks", lambda: place.in_each(alert_clocks.run), _ALERT_CLOCKS_EVERY),
        Loop("horizon", lambda: horizon.run(place), _HORIZON_EVERY),
        Loop("measurement", lambda: measurement.run(place), _MEASUREMENT_EVERY, is_critical=False),
        Loop("cleanup", lambda: cleanup.clean(place), _CLEANUP_EVERY, is_critical=False),
        Loop(
            "listener",
            lambda: _listen(place, events, supervisor, events_link),
            0,
            is_critical=False,
        ),
    ]
    if (sender := notifications.sender_of(place.settings)) is None:
        _log.warning("notifications_have_no_mail_server")
    else:
        send = partial(notifications.send_due, place, sender)
        loops.append(Loop("notifications", send, _NOTIFICATIONS_EVERY, is_critical=False))
    if (parent := os.environ.get(PARENT)) is not None:
        loops.append(
            Loop("parent", lambda: _notice_orphanage(int(parent), supervisor), _PARENT_EVERY)
        )
    return loops


async def _listen(place: Workplace, events: Loop, supervisor: Supervisor, link: Link) -> bool:
    """Wake the sequencer when events are committed, until the connection ends or the worker does.

    What is missed in between costs a second: the sequencer looks by itself as well.
    """
    pooled = await place.connections.engine.raw_connection()
    connection = cast("asyncpg.Connection", pooled.driver_connection)
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    try:
        await connection.add_listener(EVENTS_CHANNEL, lambda *_: events.wake.set())
        link.is_up()
        waits = [asyncio.ensure_future(e.wait()) for e in (ended, supervisor.stopping)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
    finally:
        link.is_down()
        # A connection that listens must not go back to the pool.
        await greenlet_spawn(pooled.invalidate)
        await greenlet_spawn(pooled.close)
    if not supervisor.stopping.is_set():
        raise ConnectionResetError("the listening connection ended")
    return False


async def _notice_orphanage(parent: int, supervisor: Supervisor) -> bool:
    """Stop when the process that started this one is gone: nobody else would."""
    if os.getppid() != parent:
        _log.warning("worker_orphaned")
        supervisor.stop()
    return False


@contextlib.asynccontextmanager
async def _stopped_by_signals(supervisor: Supervisor) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, supervisor.stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
