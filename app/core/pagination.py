"""Keyset pages: where a list goes on, as a signed word that only we can write (API-05).

A cursor holds the ordering values of the last item, and is bound to the route, the organization
and the filters it was made for. It is no secret, and no way around a filter: an altered cursor,
or one from another list, is refused as `invalid_cursor`.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Generic, TypeAlias, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from app.core import strict_json
from app.core.problems import InvalidCursor, InvalidJson

T = TypeVar("T")
Key: TypeAlias = UUID | datetime | date | int | str

_MAC_BYTES: Final = 16
_MIN_KEY_BYTES: Final = 32
_MAX_CURSOR: Final = 1024
_MICROSECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Listing:
    """What a cursor is bound to: one list, as one organization sees it, with its filters."""

    route: str
    organization_id: UUID
    filters: str = ""


class CursorCodec:
    """Makes and reads cursors. The key is the deployment's, so every process reads each other's."""

    def __init__(self, key: bytes) -> None:
        if len(key) < _MIN_KEY_BYTES:
            raise ValueError("a cursor key has 32 bytes or more")
        self._key = key

    def encode(self, listing: Listing, values: Sequence[Key]) -> str:
        """Write the cursor that goes on after the item with these ordering values."""
        payload = json.dumps([_tagged(value) for value in values], separators=(",", ":")).encode()
        signed = self._mac(listing, payload) + payload
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode("ascii")

    def decode(self, listing: Listing, cursor: str) -> tuple[Key, ...]:
        """Read the ordering values back, with their types; raises InvalidCursor."""
        if len(cursor) > _MAX_CURSOR:
            raise InvalidCursor
        try:
            signed = base64.b64decode(
                cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True
            )
        except (ValueError, binascii.Error):
            raise InvalidCursor from None
        mac, payload = signed[:_MAC_BYTES], signed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(listing, payload)):
            raise InvalidCursor
        return _values(payload)

    def _mac(self, listing: Listing, payload: bytes) -> bytes:
        route, filters = listing.route.encode(), listing.filters.encode()
        # Each part is preceded by its length, so that no two lists sign the same bytes.
        bound = b"".join(
            len(part).to_bytes(4, "big") + part
            for part in (b"cursor/1", route, listing.organization_id.bytes, filters, payload)
        )
        return hmac.digest(self._key, bound, "sha256")[:_MAC_BYTES]


def filters_digest(filters: Mapping[str, object]) -> str:
    """A short name for a set of filters; those that are None are not set."""
    given = sorted((name, str(value)) for name, value in filters.items() if value is not None)
    return hashlib.sha256(json.dumps(given).encode()).hexdigest()[:16] if given else ""


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """The items of one page, and the ordering values of the last one when more follow."""

    items: list[T]
    last: tuple[Key, ...] | None


def page(items: Sequence[T], limit: int, key: Callable[[T], tuple[Key, ...]]) -> Slice[T]:
    """Cut `limit` items from what a query for `limit + 1` has found.

    The one too many says that the list goes on, which spares a count.
    """
    if len(items) <= limit:
        return Slice(list(items), None)
    kept = list(items[:limit])
    return Slice(kept, key(kept[-1]))


def next_link(path: str, query: Mapping[str, object], cursor: str) -> str:
    """The `Link` header that leads to the next page (RFC 8288); the path is relative."""
    given = {name: value for name, value in query.items() if value is not None}
    return f'<{path}?{urlencode({**given, "cursor": cursor})}>; rel="next"'


def _tagged(value: Key) -> list[str | int]:
    match value:
        case UUID():
            return ["u", value.hex]
        case datetime():
            since = value.astimezone(UTC) - datetime.fromtimestamp(0, UTC)
            # Whole microseconds: a float would step over the item it should stop at.
            return ["t", (since.days * 86400 + since.seconds) * _MICROSECOND + since.microseconds]
        case date():
            return ["d", value.toordinal()]
        case int():
            return ["i", value]
        case str():
            return ["s", value]


def _values(payload: bytes) -> tuple[Key, ...]:
    # The signature says that we wrote this; what cannot be read was written by another release.
    try:
        read = strict_json.loads(payload, max_bytes=_MAX_CURSOR)
        if not isinstance(read, list):
            raise InvalidCursor
        return tuple(_untagged(item) for item in read)
    except (InvalidJson, TypeError, ValueError, OverflowError):
        raise InvalidCursor from None


def _untagged(item: strict_json.JsonValue) -> Key:
    match item:
        case ["u", str(text)]:
            return UUID(hex=text)
        case ["t", int(micros)]:
            seconds, rest = divmod(micros, _MICROSECOND)
            return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
        case ["d", int(day)]:
            return date.fromordinal(day)
        case ["i", int(number)]:
            return number
        case ["s", str(text)]:
            return text
        case _:
            raise InvalidCursor
