"""NATS as the bus, for deployments of many processes; it needs the extra `nats`."""

import asyncio
from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from app.core import logging
from app.core.database import connection_lost
from app.realtime.bus import CONNECT_TIMEOUT, HEARTBEAT_SECONDS, Channel, Listener, PostgresBus

BRIDGE_PAUSE_SECONDS: Final = 2.0
_AGAIN: Final = "stepwell_again"
_log = logging.get_logger(__name__)


class NatsBus:
    """NATS carries the hints from one process, which listens to PostgreSQL, to all others.

    So the database tells one listener, however many processes there are. Whichever process holds
    an advisory lock is that one; when it dies, another takes over and tells everybody to compare.
    """

    def __init__(self, url: str, postgres: PostgresBus) -> None:
        self._url = url
        self._postgres = postgres

    async def listen(self, listener: Listener) -> None:
        client, lost = Client(), asyncio.Event()
        waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

        async def hear(message: Msg) -> None:
            if message.subject == _AGAIN:
                listener.listen_again()
            else:
                listener.hear(Channel(message.subject), message.data.decode())

        async def lose(*_: object) -> None:
            lost.set()

        await client.connect(
            self._url,
            connect_timeout=int(CONNECT_TIMEOUT),
            allow_reconnect=False,  # the supervised loop connects anew, and compares
            disconnected_cb=lose,
            closed_cb=lose,
            error_cb=lose,
            ping_interval=int(HEARTBEAT_SECONDS),
            max_outstanding_pings=1,
        )
        try:
            for subject in (*(channel.value for channel in Channel), _AGAIN):
                await client.subscribe(subject, cb=hear)
            await client.flush(timeout=int(CONNECT_TIMEOUT))
            listener.listen_again()
            async with asyncio.TaskGroup() as tasks:
                bridge = tasks.create_task(self._bridge(waiting))
                publishing = tasks.create_task(_publish(client, waiting))
                await lost.wait()
                bridge.cancel()
                publishing.cancel()
        finally:
            with suppress(NatsError, OSError):
                await client.close()
        _log.warning("bus_connection_lost", kind="nats")

    async def _bridge(self, waiting: asyncio.Queue[tuple[str, str]]) -> None:
        """Be the process that listens to PostgreSQL, as soon as no other is."""

        def pass_on(channel: Channel, payload: str) -> None:
            waiting.put_nowait((channel.value, payload))

        while True:
            try:
                if await self._postgres.listen_alone(pass_on):
                    waiting.put_nowait((_AGAIN, ""))
            except Exception as error:
                if not connection_lost(error):
                    raise
                _log.warning("bus_bridge_failed", error=error)
            await asyncio.sleep(BRIDGE_PAUSE_SECONDS)


async def _publish(client: Client, waiting: asyncio.Queue[tuple[str, str]]) -> None:
    while True:
        subject, payload = await waiting.get()
        await client.publish(subject, payload.encode())
        await client.flush(timeout=int(CONNECT_TIMEOUT))
