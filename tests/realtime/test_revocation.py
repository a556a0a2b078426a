"""Access that ends reaches open sockets: at once when told, within seconds when not (WS-14)."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from uuid import UUID

import pytest
from sqlalchemy import update
from websockets.exceptions import ConnectionClosed

from app.core import clock
from app.models.accounts import Account, AccountState, SignIn
from app.models.rooms import EntryKind
from tests.clients.chat import RefusedError
from tests.factories import Make, Person, problem_of
from tests.processes import ApiProcess
from tests.realtime.staging import (
    Stage,
    ask,
    close_of,
    device,
    ended,
    hear,
    raw,
)

SOON = 2.0
"""Seconds within which an open socket has heard that access ended."""


async def test_ws_14_who_is_removed_gets_nothing_more(apis: list[ApiProcess], stage: Stage) -> None:
    heron, wren = await stage.member(), await stage.member()
    async with device(apis[0], heron) as a, device(apis[1], wren) as b:
        view = await a.follow(stage.room_id)
        await b.follow(stage.room_id)
        before = await b.say(stage.room_id, "before")
        await a.until_shown(stage.room_id, before["seq"])

        await stage.remove(heron)
        async with asyncio.timeout(SOON):
            assert await ended(view) == "removed"
        after = await b.say(stage.room_id, "after")
        await b.until_shown(stage.room_id, after["seq"])
        with pytest.raises(RefusedError, match="not_found"):
            await a.say(stage.room_id, "still here?")
        with pytest.raises(RefusedError, match="not_found"):
            await a.follow(stage.room_id, after_seq=before["seq"])

    assert [entry["body"] for entry in view.shown] == ["before"]
    assert problem_of(await heron.get(f"/v1/rooms/{stage.room_id}")) == "not-found"


async def test_authz_07_whoever_is_removed_in_the_middle_of_a_flood_sees_none_of_the_rest(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren = await stage.member(), await stage.member()
    async with device(apis[0], heron) as a:
        view = await a.follow(stage.room_id)
        await stage.say(wren, "first")
        await asyncio.gather(
            *(stage.say(wren, f"{n}") for n in range(20)),
            stage.remove(heron),
            *(stage.say(wren, f"{n}") for n in range(20)),
        )
        await ended(view)

    left = next(row.seq for row in reversed(await stage.log()) if row.kind is EntryKind.MEMBERSHIP)
    assert all(entry["seq"] < left for entry in view.shown)


async def test_who_is_let_in_again_sees_what_is_said_from_then_on(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron, wren = await stage.member(), await stage.member()
    async with device(apis[0], heron) as a:
        view = await a.follow(stage.room_id)
        await stage.remove(heron)
        await ended(view)
        await stage.say(wren, "between")
        await stage.admit(heron)
        view = await a.follow(stage.room_id, after_seq=1)
        after = await stage.say(wren, "after")
        await a.until_shown(stage.room_id, after["seq"])

    assert [each["body"] for each in view.shown if each["kind"] == "message"] == ["after"]


async def sign_out(person: Person, _make: Make) -> None:
    assert (await person.post("/v1/me/sign-out")).status_code == HTTPStatus.NO_CONTENT


async def end_from_another_device(person: Person, make: Make) -> None:
    async with make.transaction() as db:
        await db.execute(
            update(SignIn).where(SignIn.id == person.sign_in_id).values(revoked_at=clock.wall())
        )


async def raise_version(person: Person, make: Make) -> None:
    async with make.transaction() as db:
        await db.execute(
            update(SignIn).where(SignIn.id == person.sign_in_id).values(version=SignIn.version + 1)
        )


async def disable(person: Person, make: Make) -> None:
    async with make.transaction() as db:
        await db.execute(
            update(Account)
            .where(Account.id == person.account_id)
            .values(state=AccountState.DISABLED)
        )


@pytest.mark.parametrize("end", [sign_out, end_from_another_device, raise_version, disable])
async def test_ws_14_a_sign_in_that_ends_closes_its_sockets_everywhere(
    apis: list[ApiProcess], stage: Stage, end: Callable[[Person, Make], Awaitable[None]]
) -> None:
    heron, wren = await stage.member(), await stage.member()
    async with raw(apis[0], heron) as a, raw(apis[1], heron) as b, raw(apis[1], wren) as other:
        for socket in (a, b, other):
            await ask(socket, "subscribe", ref="1", room_id=stage.room_id)
            await hear(socket, "caught_up")

        await end(heron, stage.make)

        async with asyncio.timeout(SOON):
            assert await close_of(a) == (4401, "authentication")
            assert await close_of(b) == (4401, "authentication")
        await ask(other, "ping", n=1)
        await hear(other, "pong")


async def test_a_frame_after_the_sign_in_ended_is_not_obeyed(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron = await stage.member()
    async with raw(apis[0], heron) as socket:
        await ask(socket, "subscribe", ref="1", room_id=stage.room_id)
        await hear(socket, "caught_up")
        await end_from_another_device(heron, stage.make)
        with suppress(ConnectionClosed):  # it may be faster than we are
            await ask(
                socket,
                "send",
                ref="2",
                room_id=stage.room_id,
                client_message_id=UUID(int=7),
                kind="message",
                body="too late",
            )
        assert (await close_of(socket))[0] == 4401

    assert [row.kind for row in await stage.log()].count(EntryKind.MESSAGE) == 0


async def test_a_ticket_of_a_sign_in_that_ended_opens_nothing(
    apis: list[ApiProcess], stage: Stage
) -> None:
    heron = await stage.member()
    async with device(apis[0], heron) as client:
        await client.follow(stage.room_id)
        await sign_out(heron, stage.make)
        async with asyncio.timeout(SOON):
            assert await client.until_closed() == 4401
    assert problem_of(await heron.post("/v1/realtime/tickets")) == "unauthenticated"
