"""How much anybody may ask in a minute, shared by every process (API-06).

A process leases requests from the database in advance, an eighth of what is left in the window,
and spends them from memory: who asks little costs one statement a minute, and near the limit the
leases shrink to one, so that all processes together keep to the quota.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from app.core.database import Connections
from app.core.problems import TooManyRequests

_CAPACITY: Final = 10_000
_SHARE: Final = 8
_LEASE: Final = "select granted, used_by_all from lease_requests($1, $2, $3, $4)"


@dataclass(frozen=True, slots=True)
class Quota:
    """So many requests in a window, under a name that clients are told."""

    name: str
    requests: int
    window: timedelta = timedelta(seconds=60)

    @property
    def policy(self) -> str:
        """As the header `RateLimit-Policy` says it."""
        return f'"{self.name}";q={self.requests};w={int(self.window.total_seconds())}'


@dataclass(slots=True)
class _Window:
    """What a process knows of one key in one window."""

    started_at: datetime
    leased: int
    used_by_all: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left, for the answer's headers."""

    quota: Quota
    remaining: int
    resets_in: int

    def headers(self) -> dict[str, str]:
        """`RateLimit-Policy` and `RateLimit`, after the IETF draft."""
        return {
            "RateLimit-Policy": self.quota.policy,
            "RateLimit": f'"{self.quota.name}";r={self.remaining};t={self.resets_in}',
        }


class RateLimits:
    """The windows that this process has leased from."""

    def __init__(self, connections: Connections, *, account: Quota, network: Quota) -> None:
        self._connections = connections
        self._account = account
        self._network = network
        self._windows: OrderedDict[bytes, _Window] = OrderedDict()

    async def spend_account(self, account_id: UUID, now: datetime) -> Standing:
        """Spend one request of an account, whatever device it asks from."""
        return await self._spend(self._account, account_id.bytes, now)

    async def spend_network(self, source: str, now: datetime) -> Standing:
        """Spend one request of a network that nobody has signed in from yet."""
        return await self._spend(self._network, source.encode(), now)

    async def _spend(self, quota: Quota, subject: bytes, now: datetime) -> Standing:
        key = hashlib.sha256(quota.name.encode() + b"\0" + subject).digest()
        seconds = int(quota.window.total_seconds())
        into = int(now.timestamp()) % seconds
        started_at = now.replace(microsecond=0) - timedelta(seconds=into)
        window = self._windows.get(key)
        if window is None or window.started_at != started_at:
            window = self._open(key, started_at)
        if window.leased == 0:
            await self._lease(quota, key, window)
        standing = Standing(
            quota,
            max(0, quota.requests - window.used_by_all + window.leased - 1),
            seconds - into,
        )
        if window.leased == 0:
            raise TooManyRequests(
                headers={**standing.headers(), "Retry-After": str(standing.resets_in)}
            )
        window.leased -= 1
        return standing

    def _open(self, key: bytes, started_at: datetime) -> _Window:
        window = self._windows[key] = _Window(started_at, 0, 0)
        if len(self._windows) > _CAPACITY:
            self._windows.popitem(last=False)
        return window

    async def _lease(self, quota: Quota, key: bytes, window: _Window) -> None:
        if window.used_by_all >= quota.requests:
            return
        async with self._connections.lane() as lane:
            row = await lane.fetchrow(_LEASE, key, window.started_at, quota.requests, _SHARE)
        if row is not None:
            window.leased += row["granted"]
            window.used_by_all = row["used_by_all"]
