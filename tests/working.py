"""The worker's place in the database, for tests, and receivers that prove themselves."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pydantic import SecretStr

from app.core import embedded
from app.jobs import sequencer
from app.jobs.workplace import Workplace
from app.settings import Settings
from app.webhooks.addresses import Address, parse_address
from app.webhooks.delivery import Courier
from app.webhooks.transport import Transport
from tests.webhooks.receivers import Answer, Receiver, reply


@asynccontextmanager
async def workplace(
    server: embedded.EmbeddedServer, settings: Settings
) -> AsyncIterator[Workplace]:
    """The worker's pool and keys, as the worker's role, beside the API of the test."""
    url = SecretStr(server.url(role="stepwell_worker"))
    place = Workplace.of(settings.model_copy(update={"worker_database_url": url}))
    try:
        yield place
    finally:
        await place.connections.close()


async def set_aside_what_others_left(server: embedded.EmbeddedServer) -> None:
    """Let no delivery be due that an earlier test made; it would take the turn of another."""
    admin = await asyncpg.connect(host=str(server.socket_dir), user="postgres", database="stepwell")
    try:
        await admin.execute(
            "update stepwell.webhook_delivery set next_attempt_at = now() + interval '1 year'"
            " where state = 'waiting'"
        )
    finally:
        await admin.close()


@asynccontextmanager
async def courier(place: Workplace) -> AsyncIterator[Courier]:
    """Carries webhooks to receivers on this machine, with delays in the middle of their range."""
    transport = Transport(development=True, resolve=_literally)
    courier = Courier(place, transport, jitter=lambda: 0.5)
    try:
        yield courier
    finally:
        await courier.finish()
        await transport.aclose()


async def _literally(host: str, _port: int) -> Sequence[Address]:
    """Addresses that are written out, and no name: other tests' receivers are nowhere."""
    address = parse_address(host)
    return () if address is None else (address,)


async def work(place: Workplace, courier: Courier) -> None:
    """Give every event its position, and carry whatever is due."""
    while await sequencer.sequence(place):
        pass
    while await courier.deliver_due():
        await courier.finish()


def proves(statuses: Sequence[int] = (), *headers: str) -> Answer:
    """A receiver that gives the nonce back; to everything else it says one status after another.

    The last status is repeated; without any it is 204.
    """
    left = list(statuses)

    async def answer(
        receiver: Receiver, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonce = document_of(receiver.requests[-1])["data"].get("nonce")
        if nonce is not None:
            writer.write(reply(200, body=nonce.encode()))
        else:
            status = left.pop(0) if len(left) > 1 else (left or [204])[0]
            writer.write(reply(status, *headers))
        await writer.drain()

    return answer


def document_of(request: bytes) -> dict[str, Any]:
    """The JSON of a request that a receiver got."""
    document: dict[str, Any] = json.loads(body_of(request))
    return document


def body_of(request: bytes) -> bytes:
    """The exact octets of its body."""
    return request.partition(b"\r\n\r\n")[2]


def headers_of(request: bytes) -> dict[str, str]:
    """Its headers, by lower-case name."""
    lines = request.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in pairs}


def happenings(receiver: Receiver) -> list[bytes]:
    """What a receiver got besides questions for proof."""
    return [one for one in receiver.requests if "nonce" not in document_of(one)["data"]]
