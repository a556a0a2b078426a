"""What a hostile receiver can do to the sender: nothing that outlasts the limits (F20)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from app.webhooks.addresses import Address
from app.webhooks.transport import (
    Attempt,
    FailureCode,
    Limits,
    Resolve,
    Transport,
    parse_retry_after,
    resolve_by_system,
)
from tests.webhooks.receivers import (
    Answer,
    Authority,
    drips,
    hangs,
    pours,
    receiver,
    reply,
    resets,
    says,
)

PATIENCE = 10
BODY = b'{"type":"appointment.updated"}'
HEADERS = {"webhook-id": "msg_1"}
QUICK = Limits(connect_seconds=2.0, attempt_seconds=0.3)


def names(*answers: Sequence[str]) -> tuple[Resolve, list[str]]:
    """A resolver that gives one answer after another, and what it was asked."""
    asked: list[str] = []
    remaining = [list(map(ip_address, answer)) for answer in answers]

    async def resolve(host: str, _port: int) -> Sequence[Address]:
        asked.append(host)
        return remaining.pop(0)

    return resolve, asked


@asynccontextmanager
async def transport(
    *, development: bool = True, resolve: Resolve | None = None, limits: Limits | None = None
) -> AsyncIterator[Transport]:
    built = Transport(development=development, resolve=resolve, limits=limits)
    async with asyncio.timeout(PATIENCE):
        try:
            yield built
        finally:
            await built.aclose()


async def attempt(answer: Answer, *, limits: Limits | None = None) -> Attempt:
    """Send to a receiver on this machine."""
    async with receiver(answer) as there, transport(limits=limits) as ours:
        return await ours.send(there.url, HEADERS, BODY)


# What is sent


async def test_wh_08_exactly_the_body_is_posted_over_http_1_1() -> None:
    async with receiver(says(reply(200))) as there, transport() as ours:
        sent = await ours.send(there.url, HEADERS, BODY)
    head, body = there.requests[0].split(b"\r\n\r\n")
    lines = head.decode().split("\r\n")

    assert sent.is_success
    assert body == BODY
    assert lines[0] == "POST /hooks?a=1 HTTP/1.1"
    assert sorted(line.lower() for line in lines[1:]) == [
        "connection: close",
        f"content-length: {len(BODY)}",
        "content-type: application/json",
        f"host: 127.0.0.1:{there.port}",
        "user-agent: stepwell-webhooks/1",
        "webhook-id: msg_1",
    ]


async def test_wh_14_a_cookie_is_not_kept() -> None:
    async with receiver(says(reply(200, "Set-Cookie: a=b"))) as there, transport() as ours:
        for _ in range(2):
            assert (await ours.send(there.url, HEADERS, BODY)).is_success
    assert len(there.requests) == 2
    assert b"cookie" not in there.requests[1].lower()


async def test_wh_14_a_proxy_of_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver(says(reply(502))) as proxy, receiver(says(reply(200))) as there:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with transport() as ours:
            assert (await ours.send(there.url, HEADERS, BODY)).status == 200
    assert proxy.requests == []


# What comes back


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_wh_07_a_2xx_is_a_success(status: int) -> None:
    sent = await attempt(says(reply(status)))
    assert (sent.status, sent.failure_code, sent.is_success) == (status, None, True)


@pytest.mark.parametrize("status", [300, 400, 404, 410, 429, 500, 503])
async def test_wh_07_any_other_status_is_not(status: int) -> None:
    sent = await attempt(says(reply(status)))
    assert (sent.status, sent.failure_code, sent.is_success) == (status, None, False)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_wh_14_a_redirect_is_not_followed(status: int) -> None:
    async with receiver(says(reply(200))) as elsewhere:
        sent = await attempt(says(reply(status, f"Location: {elsewhere.url}")))
    assert (sent.status, sent.is_success) == (status, False)
    assert elsewhere.requests == []


async def test_wh_12_the_nonce_of_a_verification_can_be_read() -> None:
    sent = await attempt(says(reply(200, body=b"nonce-17")))
    assert sent.body_head == b"nonce-17"


async def test_wh_08_a_gigabyte_is_not_read() -> None:
    async with receiver(pours) as there, transport() as ours:
        sent = await ours.send(there.url, HEADERS, BODY)
        await there.gone.wait()
    assert sent.is_success
    assert len(sent.body_head) == 4_096
    assert there.sent < 64 << 20, "what the kernel buffers, and not the whole"


async def test_wh_08_headers_without_end_are_not_read() -> None:
    endless = b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 1_000_000
    sent = await attempt(says(endless))
    assert (sent.status, sent.failure_code) == (None, FailureCode.BAD_RESPONSE)


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nX-Drip: ", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
    ],
)
async def test_wh_08_a_receiver_that_drips_is_cut_off(start: bytes, status: int | None) -> None:
    async with receiver(drips(start)) as there, transport(limits=QUICK) as ours:
        sent = await ours.send(there.url, HEADERS, BODY)
        await there.gone.wait()
    assert there.sent > 1
    assert (sent.status, sent.failure_code) in {
        (status, FailureCode.TIMED_OUT),
        # Octets that can be no status line may be refused before the time is up.
        *([(None, FailureCode.BAD_RESPONSE)] if not start else []),
    }
    assert not sent.is_success
    assert sent.duration < timedelta(seconds=QUICK.attempt_seconds + 0.5)


async def test_wh_08_a_receiver_that_never_answers_is_cut_off() -> None:
    sent = await attempt(hangs, limits=QUICK)
    assert (sent.status, sent.failure_code) == (None, FailureCode.TIMED_OUT)
    assert timedelta(seconds=0.2) < sent.duration < timedelta(seconds=0.8)


def test_wh_08_the_limits_are_those_that_are_published() -> None:
    assert Limits() == Limits(connect_seconds=5.0, attempt_seconds=15.0, body_bytes=4_096)


@pytest.mark.parametrize(
    ("response", "status", "failure"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nshort", 200, FailureCode.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", None, FailureCode.BAD_RESPONSE),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            None,
            FailureCode.BAD_RESPONSE,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            200,
            FailureCode.BAD_RESPONSE,
        ),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", None, FailureCode.BAD_RESPONSE),
        (b"", None, FailureCode.BAD_RESPONSE),
        (b"HTTP/1.1 200", None, FailureCode.BAD_RESPONSE),
    ],
)
async def test_wh_08_an_answer_that_is_not_what_it_says_is_a_failure(
    response: bytes, status: int | None, failure: FailureCode
) -> None:
    sent = await attempt(says(response))
    assert (sent.status, sent.failure_code, sent.is_success) == (status, failure, False)


async def test_wh_08_a_reset_connection_is_a_failure() -> None:
    sent = await attempt(resets)
    assert sent.status is None
    assert sent.failure_code in {FailureCode.CUT_OFF, FailureCode.BAD_RESPONSE}


async def test_wh_08_nobody_listening_is_a_failure() -> None:
    async with receiver(hangs) as there:
        url = there.url
    async with transport() as ours:
        sent = await ours.send(url, HEADERS, BODY)
    assert (sent.status, sent.failure_code) == (None, FailureCode.NOT_CONNECTED)


async def test_wh_08_a_resolver_that_hangs_is_cut_off() -> None:
    async def resolve(_host: str, _port: int) -> Sequence[Address]:
        await asyncio.Event().wait()
        return ()

    limits = Limits(connect_seconds=0.05)
    async with transport(resolve=resolve, limits=limits) as ours:
        sent = await ours.send("https://receiver.test/", HEADERS, BODY)
    assert sent.failure_code is FailureCode.TIMED_OUT


async def test_one_attempt_does_not_wait_for_another() -> None:
    async with receiver(hangs) as slow, receiver(says(reply(200))) as quick, transport() as ours:
        waiting = [asyncio.create_task(ours.send(slow.url, HEADERS, BODY)) for _ in range(20)]
        assert (await ours.send(quick.url, HEADERS, BODY)).is_success
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


# Where it may go


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://127.0.0.1/", "https://localhost/", "nonsense"]
)
async def test_wh_13_the_url_is_checked_at_each_attempt(url: str) -> None:
    resolve, asked = names()
    async with transport(development=False, resolve=resolve) as ours:
        sent = await ours.send(url, HEADERS, BODY)
    assert sent.failure_code is FailureCode.URL_REFUSED
    assert asked == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["93.184.216.34", "127.0.0.1"],
        ["93.184.216.34", "::1"],
        ["2606:4700::1", "10.0.0.1"],
    ],
)
async def test_wh_14_one_private_address_is_enough_to_refuse(addresses: list[str]) -> None:
    resolve, _ = names(addresses)
    async with transport(development=False, resolve=resolve) as ours:
        sent = await ours.send("https://receiver.test/", HEADERS, BODY)
    assert (sent.status, sent.failure_code) == (None, FailureCode.ADDRESS_REFUSED)


async def test_wh_14_development_allows_this_machine_and_no_other_private_address() -> None:
    resolve, _ = names(["127.0.0.1", "10.0.0.1"])
    async with transport(resolve=resolve) as ours:
        sent = await ours.send("http://receiver.test:9000/", HEADERS, BODY)
    assert sent.failure_code is FailureCode.ADDRESS_REFUSED


async def test_wh_14_a_name_is_resolved_once_and_connected_to_as_resolved() -> None:
    """A rebinding name answers with a good address first and a bad one when asked again."""
    async with receiver(says(reply(200))) as there:
        resolve, asked = names(["127.0.0.1"], ["10.0.0.1"])
        async with transport(resolve=resolve) as ours:
            url = f"http://receiver.test:{there.port}/"
            first = await ours.send(url, HEADERS, BODY)
            assert asked == ["receiver.test"]
            second = await ours.send(url, HEADERS, BODY)
    assert first.is_success
    assert second.failure_code is FailureCode.ADDRESS_REFUSED
    assert len(there.requests) == 1
    assert f"Host: receiver.test:{there.port}".lower().encode() in there.requests[0].lower()


async def test_an_address_that_does_not_answer_is_passed_over() -> None:
    async with receiver(says(reply(200))) as there:
        resolve, _ = names(["127.0.0.9", "127.0.0.1"])
        async with transport(resolve=resolve) as ours:
            sent = await ours.send(f"http://receiver.test:{there.port}/", HEADERS, BODY)
    assert sent.is_success


async def test_a_name_without_an_address_is_a_failure() -> None:
    resolve, _ = names([])
    async with transport(resolve=resolve) as ours:
        sent = await ours.send("https://receiver.test/", HEADERS, BODY)
    assert sent.failure_code is FailureCode.NAME_NOT_FOUND


async def test_the_system_resolver_gives_every_address_once_asked() -> None:
    assert ip_address("127.0.0.1") in await resolve_by_system("127.0.0.1", 443)
    assert await resolve_by_system("a..b", 443) == ()


# Whom it believes


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def over_tls(authority: Authority, *, certified: str, asked: str, **options: bool) -> Attempt:
    """Send to `asked`, where a receiver with a certificate for `certified` listens."""
    resolve, _ = names(["127.0.0.1"])
    context = authority.server_context(certified, expired=options.get("expired", False))
    async with receiver(says(reply(200)), tls=context) as there:
        ours = Transport(development=True, resolve=resolve, tls=authority.client_context())
        async with asyncio.timeout(PATIENCE):
            sent = await ours.send(f"https://{asked}:{there.port}/", HEADERS, BODY)
        await ours.aclose()
    assert len(there.requests) == int(sent.is_success)
    return sent


async def test_wh_14_tls_checks_the_name_although_the_address_is_what_is_dialed(
    authority: Authority,
) -> None:
    good = await over_tls(authority, certified="receiver.test", asked="receiver.test")
    assert good.is_success
    other = await over_tls(authority, certified="elsewhere.test", asked="receiver.test")
    assert (other.status, other.failure_code) == (None, FailureCode.NOT_TRUSTED)


async def test_wh_14_an_expired_certificate_is_not_believed(authority: Authority) -> None:
    sent = await over_tls(authority, certified="receiver.test", asked="receiver.test", expired=True)
    assert sent.failure_code is FailureCode.NOT_TRUSTED


async def test_wh_14_an_authority_of_their_own_is_not_believed(authority: Authority) -> None:
    resolve, _ = names(["127.0.0.1"])
    context = authority.server_context("receiver.test")
    async with receiver(says(reply(200)), tls=context) as there, transport(resolve=resolve) as ours:
        sent = await ours.send(f"https://receiver.test:{there.port}/", HEADERS, BODY)
    assert sent.failure_code is FailureCode.NOT_TRUSTED
    assert there.requests == []


async def test_wh_14_a_receiver_without_tls_is_not_spoken_to_in_clear() -> None:
    resolve, _ = names(["127.0.0.1"])
    async with (
        receiver(says(reply(200))) as there,
        transport(resolve=resolve, limits=QUICK) as ours,
    ):
        sent = await ours.send(f"https://receiver.test:{there.port}/", HEADERS, BODY)
    assert not sent.is_success
    assert there.requests == []


# When to come back


@pytest.mark.parametrize(
    ("value", "after"),
    [
        ("0", timedelta()),
        ("120", timedelta(minutes=2)),
        (" 120 ", timedelta(minutes=2)),
        ("86401", timedelta(hours=24)),
        ("9" * 5_000, timedelta(hours=24)),
        ("Sun, 01 Mar 2026 17:10:00 GMT", timedelta(minutes=10)),
        ("Sun, 01 Mar 2026 16:00:00 GMT", timedelta()),
        ("Sun, 01 Mar 2099 17:10:00 GMT", timedelta(hours=24)),
        ("Sun, 01 Mar 2026 17:10:00 -0000", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
    ],
)
def test_wh_07_retry_after_is_seconds_or_a_date_and_at_most_a_day(
    value: str, after: timedelta | None
) -> None:
    now = datetime(2026, 3, 1, 17, 0, tzinfo=UTC)
    assert parse_retry_after(value, now=now) == after


@pytest.mark.parametrize(("status", "heard"), [(429, True), (503, True), (500, False)])
async def test_wh_07_retry_after_is_heard_from_429_and_503(status: int, *, heard: bool) -> None:
    sent = await attempt(says(reply(status, "Retry-After: 60")))
    assert sent.retry_after == (timedelta(seconds=60) if heard else None)
