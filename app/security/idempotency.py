"""A repeated request has one effect (API-07).

The lock, the look-up, the effect and the stored answer are one transaction: a crash leaves
neither effect nor record. Two requests with one key at the same moment: the second is told to
come back. An answer is kept for a day, sealed, and belongs to the account that asked.
"""

import hashlib
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from uuid import UUID

import asyncpg
from starlette.requests import Request
from starlette.responses import Response

from app.core.database import Handle, in_lane
from app.core.ids import new_id
from app.core.problems import BadRequest, Problem
from app.models.organizations import KeyPurpose
from app.security import seals
from app.security.seals import Cell

_HEADER: Final = "idempotency-key"
_KEPT_HEADERS: Final = ("content-type", "etag", "location")
_PENDING: Final = "idempotency_pending"
_LOOK_UP: Final = """
    select pg_try_advisory_xact_lock(('x' || encode(substr($2, 1, 8), 'hex'))::bit(64)::bigint),
        a.id, a.fingerprint, a.status, a.headers, a.body
    from (select 1) one
    left join stored_answer a on a.account_id = $1 and a.key = $2
"""
_STORE: Final = """
    insert into stored_answer (account_id, key, fingerprint, id, status, headers, body)
    values ($1, $2, $3, $4, $5, $6, $7)
"""


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


async def begin(request: Request, handle: Handle) -> None:
    """Take the key's lock and look for an earlier answer; does nothing without a key.

    Raises Replayed with the earlier answer, IdempotencyKeyReused, RequestUnderWay or
    InvalidIdempotencyKey.
    """
    if request.method != "POST" or (value := request.headers.get(_HEADER)) is None:
        return
    if not 1 <= len(value) <= 255 or not value.isascii() or not value.isprintable():
        raise InvalidIdempotencyKey
    account_id: UUID = handle.info["account_id"]
    key = hashlib.sha256(account_id.bytes + value.encode()).digest()
    fingerprint = await _fingerprint(request)
    lane = await in_lane(handle)
    (found,) = await lane.connection.fetch(_LOOK_UP, account_id, key)
    if found[1] is not None:
        if found[2] != fingerprint:
            raise IdempotencyKeyReused
        raise await _replay(handle, found)
    if not found[0]:
        raise RequestUnderWay
    request.scope["state"][_PENDING] = _Pending(handle, account_id, key, fingerprint)


async def finish(request: Request, response: Response) -> None:
    """Keep the answer in the transaction that made it true."""
    pending: _Pending | None = request.scope["state"].pop(_PENDING, None)
    if pending is None or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    answer_id = new_id()
    secret = await seals.organization_key(pending.handle, KeyPurpose.SECRET)
    body = bytes(response.body)
    sealed = secret.seal(_cell(answer_id), body.decode()) if body else None
    headers = {n: response.headers[n] for n in _KEPT_HEADERS if n in response.headers}
    lane = await in_lane(pending.handle)
    await lane.connection.execute(
        _STORE,
        pending.account_id,
        pending.key,
        pending.fingerprint,
        answer_id,
        response.status_code,
        json.dumps(headers),
        sealed,
    )


async def _fingerprint(request: Request) -> bytes:
    body = hashlib.sha256(await request.body()).digest()
    return hashlib.sha256(request.url.path.encode() + b"\0" + body).digest()


async def _replay(handle: Handle, found: asyncpg.Record) -> Replayed:
    _, answer_id, _, status, headers, blob = found
    keys = await seals.keys_for(handle, [blob])
    body = keys.unseal(_cell(answer_id), blob).encode() if blob else b""
    kept = json.loads(headers) if isinstance(headers, str) else headers
    return Replayed(status, kept, body)


def _cell(answer_id: UUID) -> Cell:
    return Cell("stored_answer", "body", answer_id)
