"""The world outside: a mail server, a receiver of webhooks, and whoever listens on the bus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy import update

from app.core.embedded import EmbeddedServer
from app.jobs import notifications
from app.jobs.workplace import Workplace
from app.models.webhooks import EndpointState, WebhookEndpoint
from app.realtime.bus import Channel
from app.worker import EVENTS_CHANNEL
from tests.contract.people import Clinic
from tests.webhooks.receivers import Authority, Receiver, receiver
from tests.working import courier, proves, work

_REPLIES: Final = {"data": b"354 go on\r\n", "quit": b"221 bye\r\n"}


@asynccontextmanager
async def overhearing(server: EmbeddedServer) -> AsyncIterator[list[str]]:
    """Every payload that is told on any channel."""
    payloads: list[str] = []

    def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        payloads.append(str(payload))

    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    try:
        for channel in (EVENTS_CHANNEL, *Channel):
            await connection.add_listener(channel, hear)
        yield payloads
        await connection.fetch("select 1")  # what was told before this has arrived after it
    finally:
        await connection.close()


@asynccontextmanager
async def receiving(*clinics: Clinic) -> AsyncIterator[Receiver]:
    """A receiver of everything that happens in these organizations from now on."""
    async with receiver(proves()) as listening:
        for clinic in clinics:
            body = {"url": "https://receiver.example.org/", "event_types": ["*"]}
            registered = await clinic.administrator.post("/v1/webhooks", json=body)
            endpoint_id = UUID(registered.json()["id"])
            async with clinic.make.transaction() as db:
                await db.execute(
                    update(WebhookEndpoint)
                    .where(WebhookEndpoint.id == endpoint_id)
                    .values(url=listening.url, state=EndpointState.ACTIVE)
                )
        yield listening


async def carry(place: Workplace) -> None:
    """Let the worker do what is due, to the last event."""
    async with courier(place) as carrier:
        await work(place, carrier)


async def mail(place: Workplace, directory: Path) -> list[str]:
    """Send whatever waits, and give what the mail server was told."""
    authority = Authority(directory)
    told: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().rstrip("\r\n").lower():
            told.append(line)
            writer.write(_REPLIES.get(line, b"250 said\r\n"))
            if line == "data":
                told.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                writer.write(b"250 taken\r\n")
        writer.close()

    context = authority.server_context("localhost")
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    sender = notifications.SmtpSender(
        f"smtps://localhost:{port}", "us@example.org", tls=authority.client_context()
    )
    try:
        while await notifications.send_due(place, sender):
            pass
    finally:
        server.close()
    return told
