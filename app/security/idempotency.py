"""A repeated request has one effect (API-07).

The lock, the look-up, the effect and the stored answer are one transaction: a crash leaves
neither effect nor record. Two requests with one key at the same moment: the second is told to
come back. An answer is kept for a day, sealed, and belongs to the account that asked.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy import Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from starlette.requests import Request
from starlette.responses import Response

from app.core.database import Handle, Lane, LaneTransaction, Query, Transaction, in_lane
from app.core.ids import new_id
from app.core.literals import call
from app.core.problems import BadRequest, NotFound, Problem, constraint_problem
from app.models.audit import AuditAction
from app.models.organizations import KeyPurpose
from app.security import audit, seals
from app.security.access import reach_parameters, visible_participants
from app.security.principal import Principal, Reach
from app.security.seals import Cell

_HEADER: Final = "idempotency-key"
_KEPT_HEADERS: Final = ("content-type", "etag", "location")
_PENDING: Final = "idempotency_pending"
_LOOK_UP: Final = """
    select pg_try_advisory_xact_lock(('x' || encode(substr($2, 1, 8), 'hex'))::bit(64)::bigint),
        a.id, a.fingerprint, a.status, a.headers, a.body, a.participant_ids
    from (select 1) one
    left join stored_answer a on a.account_id = $1 and a.key = $2
"""
_NOT_NEW: Final = "SW002"
"""The SQLSTATE of `claim_key`, for a key that was used or is in use."""


class InvalidIdempotencyKey(BadRequest):
    """The key is empty, longer than 255 characters, or not printable ASCII."""

    slug, title = "invalid-idempotency-key", "The idempotency key is not usable"


class IdempotencyKeyReused(Problem):
    """The same key came with another request."""

    slug, title = "idempotency-key-reused", "The idempotency key was used for another request"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class RequestUnderWay(Problem):
    """The first request with this key has not finished."""

    slug, title = "request-under-way", "The same request is still under way"
    status = HTTPStatus.CONFLICT
    default_headers = {"Retry-After": "1"}  # noqa: RUF012 (read-only by the base class's type)


# A duplicate that looked before the first one had committed meets its record when it stores.
constraint_problem("stored_answer_pkey", RequestUnderWay)

_PERSONAL: Final = (
    Reach.SELF
    | Reach.CARE_TEAM
    | Reach.SUPERVISEES
    | Reach.ROSTER
    | Reach.UNATTENDED
    | Reach.UNWATCHED
)
"""The relationships to a person, which may have ended since the answer was given."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A keyed request that is being answered for the first time."""

    handle: Handle
    account_id: UUID
    key: bytes
    fingerprint: bytes


class Replayed(Exception):
    """The request was answered before; this is that answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__("replayed")
        self.response = Response(body, status, headers={**headers, "Idempotency-Replayed": "true"})


async def begin(request: Request, handle: Handle, principal: Principal) -> None:
    """Take the key's lock and look for an earlier answer; does nothing without a key.

    The caller has passed the route's permission already: an earlier answer is given again only
    while they may still see whom it is about. Raises Replayed with the earlier answer, NotFound,
    IdempotencyKeyReused, RequestUnderWay or InvalidIdempotencyKey.
    """
    if request.method != "POST" or (value := request.headers.get(_HEADER)) is None:
        return
    if not 1 <= len(value) <= 255 or not value.isascii() or not value.isprintable():
        raise InvalidIdempotencyKey
    key = hashlib.sha256(principal.account_id.bytes + value.encode()).digest()
    fingerprint = await _fingerprint(request)
    pending = _Pending(handle, principal.account_id, key, fingerprint)
    if isinstance(handle, Lane) and await _is_claimed_at_once(handle, pending):
        request.scope["state"][_PENDING] = pending
        return
    lane = await in_lane(handle)
    (found,) = await lane.fetch(_LOOK_UP, principal.account_id, key)
    if found["id"] is not None:
        if found["fingerprint"] != fingerprint:
            raise IdempotencyKeyReused
        raise await _replay(lane, principal, found)
    if not found[0]:
        raise RequestUnderWay
    request.scope["state"][_PENDING] = pending


async def finish(request: Request, response: Response, transaction: Transaction | None) -> None:
    """Keep the answer in the transaction that made it true."""
    pending: _Pending | None = request.scope["state"].pop(_PENDING, None)
    if pending is None or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    answer_id = new_id()
    secret = await seals.organization_key(pending.handle, KeyPurpose.SECRET)
    body = bytes(response.body)
    sealed = secret.seal(_cell(answer_id), body.decode()) if body else None
    headers = {n: response.headers[n] for n in _KEPT_HEADERS if n in response.headers}
    named = pending.handle.info.get(audit.NAMED, ())
    statement = call(
        "keep_answer",
        pending.account_id,
        pending.key,
        pending.fingerprint,
        answer_id,
        response.status_code,
        json.dumps(headers),
        sealed,
        list(named),
    )
    if isinstance(transaction, LaneTransaction):
        transaction.last_words = statement
    else:
        await (await in_lane(pending.handle)).execute(statement)


async def _is_claimed_at_once(lane: Lane, pending: _Pending) -> bool:
    """Whether the key is new, and claimed in the round trip that begins the transaction.

    A key that is not new is rare, and worth asking about in another transaction.
    """
    if lane.has_begun:
        return False
    try:
        await lane.begun(together_with=call("claim_key", pending.account_id, pending.key))
    except asyncpg.PostgresError as error:
        if error.sqlstate != _NOT_NEW:
            raise
        return False
    return True


async def _fingerprint(request: Request) -> bytes:
    body = hashlib.sha256(await request.body()).digest()
    return hashlib.sha256(request.url.path.encode() + b"\0" + body).digest()


async def _replay(lane: Lane, principal: Principal, found: asyncpg.Record) -> Replayed:
    participant_ids: list[UUID] = found["participant_ids"]
    if participant_ids and principal.reach & _PERSONAL:
        visible = await lane.value(
            _visible(principal.reach), ids=participant_ids, **reach_parameters(principal)
        )
        if visible < len(participant_ids):
            raise NotFound
    await audit.record(
        lane,
        AuditAction.READ,
        "answer:replay",
        "stored_answer",
        found["id"],
        participant_ids=participant_ids or None,
    )
    blob = found["body"]
    keys = await seals.keys_for(lane, [blob])
    body = keys.unseal(_cell(found["id"]), blob).encode() if blob else b""
    headers = found["headers"]
    kept = json.loads(headers) if isinstance(headers, str) else headers
    return Replayed(found["status"], kept, body)


@cache
def _visible(reach: Reach) -> Query:
    """How many of some participants are within reach."""
    ids = func.unnest(bindparam("ids", type_=ARRAY(Uuid)))
    named = ids.table_valued("participant_id").render_derived()
    within = visible_participants(named.c.participant_id, reach)
    return Query(select(func.count()).select_from(named).where(within))


def _cell(answer_id: UUID) -> Cell:
    return Cell("stored_answer", "body", answer_id)
