"""Connectivity tests: a participant's client exchanges measured bodies with the server.

Every duration is by the server's clock; of the client's only what it returns counts: the token at
the end of each answer, which nobody has who did not receive that answer whole.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Uuid, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import events
from app.core import clock
from app.core.database import Lane, Query
from app.core.ids import new_id
from app.core.problems import Conflict, FieldError, Invalid, NotFound, Problem
from app.domain.connectivity import (
    BODY_BYTES,
    LASTS,
    PER_HOUR,
    PROBES,
    Figures,
    TestStep,
    figures,
)
from app.models.audit import AuditAction
from app.models.connectivity import ConnectivityTest
from app.models.participants import Participant
from app.schemas.connectivity import (
    ConnectivityTestRead,
    ExchangeCreate,
    ExchangeRead,
    FiguresRead,
)
from app.security import audit
from app.security.access import participants_visible_to, reach_parameters, visible_participants
from app.security.permissions import Permission
from app.security.principal import Principal, Reach

TABLE: Final = "connectivity_test"
_HOUR: Final = timedelta(hours=1)


class TooManyConnectivityTests(Problem):
    """So many tests an hour are enough; `Retry-After` says when the next may begin."""

    slug, title = "too-many-connectivity-tests", "Too many connectivity tests in an hour"
    status = HTTPStatus.TOO_MANY_REQUESTS


class ConnectivityTestOver(Conflict):
    """The test is done, or its two minutes are over: begin another."""

    slug, title = "connectivity-test-over", "The connectivity test is over"


class AnswerNotReceived(Conflict):
    """The token is not that of the last answer, so that answer did not arrive whole."""

    slug, title = "answer-not-received", "The last answer was not received whole"


@dataclass(frozen=True, slots=True)
class Measured:
    """A finished test and what it showed."""

    id: UUID
    figures: Figures


async def begin_test(db: AsyncSession, principal: Principal) -> ExchangeRead:
    """Begin a test of the caller's own connection. Raises TooManyConnectivityTests.

    The participant is locked first, so that tests begun at one moment are counted too.
    """
    participant = (
        await db.scalars(
            select(Participant)
            .where(participants_visible_to(principal, Participant.id))
            .with_for_update(key_share=True)
        )
    ).one()
    now = clock.wall()
    await _check_rate(db, participant.id, now)
    token = secrets.token_urlsafe(16)
    test = ConnectivityTest(
        id=new_id(),
        participant_id=participant.id,
        step=TestStep.PROBE,
        round_trips=[],
        sent_at=now,
        token_digest=_digest(token),
        expires_at=now + LASTS,
        created_at=now,
        updated_at=now,
    )
    db.add(test)
    await db.flush()
    await _audit(db, AuditAction.CREATE, Permission.CONNECTIVITY_TEST, test)
    return await _answer(db, test, token, "")


async def exchange(
    db: AsyncSession, principal: Principal, test_id: UUID, request: ExchangeCreate
) -> ExchangeRead:
    """Take the next request of a test, and answer it.

    Raises NotFound, ConnectivityTestOver, AnswerNotReceived, or Invalid for a body of another
    length than was asked for.
    """
    arrived_at = clock.wall()
    test = await _lock(db, principal, test_id)
    if test.step is TestStep.DONE or arrived_at >= test.expires_at:
        raise ConnectivityTestOver
    if not hmac.compare_digest(_digest(request.token), test.token_digest):
        raise AnswerNotReceived
    expected = BODY_BYTES if test.step is TestStep.UPLOAD else 0
    if len(request.payload) != expected:
        raise Invalid(
            errors=[FieldError("/payload", "length", f"{expected} characters are needed.")]
        )
    took = max(0, (arrived_at - test.sent_at) // timedelta(microseconds=1))
    payload = _advance(test, took)
    if test.upload is not None:
        test.finished_at = arrived_at
        await db.flush()
        await _audit(db, AuditAction.UPDATE, Permission.CONNECTIVITY_TEST, test)
        await events.record(
            db,
            "connectivity_test.finished",
            test.id,
            participant_id=test.participant_id,
            version=test.version,
        )
    return await _answer(db, test, secrets.token_urlsafe(16), payload)


def _advance(test: ConnectivityTest, took: int) -> str:
    """Keep what the last exchange took; gives the body of the next answer."""
    match test.step:
        case TestStep.PROBE:
            test.round_trips = [*test.round_trips, took]
            if len(test.round_trips) < PROBES:
                return ""
            test.step = TestStep.CONFIRM
            return _body()
        case TestStep.CONFIRM:
            test.download = took
            test.step = TestStep.UPLOAD
        case TestStep.UPLOAD:
            test.upload = took
            test.step = TestStep.DONE
        case TestStep.DONE:
            raise ConnectivityTestOver
    return ""


@cache
def _body() -> str:
    """What is sent down: text that nothing on the way can make shorter."""
    return base64.b64encode(secrets.token_bytes(BODY_BYTES * 3 // 4)).decode("ascii")


async def _answer(
    db: AsyncSession, test: ConnectivityTest, token: str, payload: str
) -> ExchangeRead:
    """Answer, with a token at the end; the clock of the next exchange begins now."""
    test.token_digest = _digest(token)
    test.sent_at = test.updated_at = clock.wall()
    await db.flush()
    measured = _figures(test.round_trips, test.download, test.upload)
    return ExchangeRead(
        id=test.id,
        next=test.step,
        send_characters=BODY_BYTES if test.step is TestStep.UPLOAD else 0,
        expires_at=test.expires_at,
        figures=None if measured is None else FiguresRead.model_validate(measured),
        payload=payload,
        token=token,
    )


@cache
def _page(reach: Reach, *, of_one: bool) -> Query:
    after = bindparam("after", type_=Uuid)
    statement = (
        select(*ConnectivityTest.__table__.columns)
        .where(
            ConnectivityTest.id > after,
            visible_participants(ConnectivityTest.participant_id, reach),
        )
        .order_by(ConnectivityTest.id)
        .limit(bindparam("limit"))
    )
    if of_one:
        statement = statement.where(ConnectivityTest.participant_id == bindparam("participant_id"))
    return audit.read_many(statement, Permission.CONNECTIVITY_READ, TABLE)


async def list_tests(
    lane: Lane, principal: Principal, participant_id: UUID | None, *, after: UUID, limit: int
) -> Sequence[ConnectivityTestRead]:
    """The tests that the caller may see, of one participant or of all, by id."""
    rows = await lane.all(
        _page(principal.reach, of_one=participant_id is not None),
        after=after,
        limit=limit + 1,
        participant_id=participant_id,
        **reach_parameters(principal),
    )
    return [
        ConnectivityTestRead.model_validate({**row, "figures": _figures_read(dict(row))})
        for row in rows
    ]


async def latest_measured(db: AsyncSession, participant_id: UUID) -> Measured | None:
    """What the participant's last finished test showed; None without one."""
    row = await db.scalar(
        select(ConnectivityTest)
        .where(
            ConnectivityTest.participant_id == participant_id,
            ConnectivityTest.step == TestStep.DONE,
        )
        .order_by(ConnectivityTest.id.desc())
        .limit(1)
    )
    if row is None:
        return None
    measured = _figures(row.round_trips, row.download, row.upload)
    return None if measured is None else Measured(row.id, measured)


async def _check_rate(db: AsyncSession, participant_id: UUID, now: datetime) -> None:
    begun, earliest = (
        await db.execute(
            select(func.count(), func.min(ConnectivityTest.created_at)).where(
                ConnectivityTest.participant_id == participant_id,
                ConnectivityTest.created_at > now - _HOUR,
            )
        )
    ).one()
    if begun >= PER_HOUR:
        wait = int((earliest + _HOUR - now).total_seconds()) + 1
        raise TooManyConnectivityTests(headers={"Retry-After": str(wait)})


async def _lock(db: AsyncSession, principal: Principal, test_id: UUID) -> ConnectivityTest:
    test = await db.scalar(
        select(ConnectivityTest)
        .where(
            ConnectivityTest.id == test_id,
            participants_visible_to(principal, ConnectivityTest.participant_id),
        )
        .with_for_update(key_share=True)
    )
    if test is None:
        raise NotFound
    return test


def _figures(
    round_trips: Sequence[int], download: int | None, upload: int | None
) -> Figures | None:
    """What a test showed; None before it is done."""
    if download is None or upload is None:
        return None
    return figures(round_trips, download, upload)


def _figures_read(row: Mapping[str, Any]) -> FiguresRead | None:
    measured = _figures(row["round_trips"], row["download"], row["upload"])
    return None if measured is None else FiguresRead.model_validate(measured)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def _audit(
    db: AsyncSession, action: AuditAction, permission: Permission, test: ConnectivityTest
) -> None:
    await audit.record(
        db,
        action,
        permission,
        TABLE,
        test.id,
        participant_id=test.participant_id,
        version=test.version,
    )
