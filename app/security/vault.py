"""The way from a participant to the key that seals what is theirs, and what a process remembers.

Keys lie wrapped in the database. A process keeps unwrapped ones in memory only, for minutes, and
no more than `capacity` of them (PHI-07). Every method takes the driver's connection inside a
transaction that has its tenant.

Three rules keep what is remembered true:

- A key that this transaction created is not remembered: if the transaction is rolled back, the
  key never was, and whatever it had sealed elsewhere could never be read. Rows carry the `now()`
  of the transaction that made them, which stays the same across its savepoints; any other row
  that can be seen has been committed.
- Seals are reserved in blocks before they are made. A key retires near 2^30, and random nonces
  become unsafe near 2^32 seals (NIST SP 800-38D, section 8.3): that leaves room for 780,000
  reservations that were rolled back, and for a transaction that seals more than its block.
- What is remembered expires, so that a key that was shredded or retired elsewhere is forgotten
  within `lifetime` even if nobody says so (PHI-06).
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, TypeAlias, TypeVar
from uuid import UUID

import asyncpg
from typing_extensions import override

from app.core import clock
from app.core.database import Lane
from app.core.ids import new_id
from app.core.problems import ServiceBusy
from app.security import sealing
from app.security.sealing import Cell, DataKey, OrganizationKey, RootKeys, Unsealable

SEAL_BLOCK: Final = 4_096
SEAL_LIMIT: Final = 2**30
"""A key is replaced before this many seals (PHI-01)."""

_ATTEMPTS: Final = 3
_PARTICIPANT: Final = "participant"
_OF_PARTICIPANT: Final = "d.participant_id = $2"
_OF_ORGANIZATION: Final = "d.participant_id is null and $2::uuid is null"
_COLUMNS: Final = """
    d.id, d.wrapped, d.organization_key_id, d.seals_reserved, d.created_at = now() as is_ours,
    o.wrapped as organization_wrapped, o.root_key_id
"""
_RESERVE: Final = f"""
    update data_key d set seals_reserved = d.seals_reserved + $4 from organization_key o
    where d.organization_id = $1 and {{whose}} and d.purpose = $3 and d.state = 'active'
        and o.organization_id = d.organization_id and o.id = d.organization_key_id
    returning {_COLUMNS}
"""  # noqa: S608 (composed of constants)
_RESERVE_FOR: Final = {
    True: _RESERVE.format(whose=_OF_PARTICIPANT),
    False: _RESERVE.format(whose=_OF_ORGANIZATION),
}
_CREATE: Final = """
    insert into data_key (
        organization_id, id, participant_id, purpose, organization_key_id, wrapped, state,
        seals_reserved, created_at
    )
    values ($1, $2, $3, $4, $5, $6, 'active', $7, now())
    on conflict do nothing returning id
"""
_IS_ACTIVE: Final = """
    select exists (
        select from data_key where organization_id = $1 and id = $2 and state = 'active'
    )
"""
_RETIRE: Final = """
    update data_key set state = 'retired'
    where organization_id = $1 and id = $2 and state = 'active'
"""
_LOAD: Final = f"""
    select {_COLUMNS} from data_key d
    join organization_key o
        on o.organization_id = d.organization_id and o.id = d.organization_key_id
    where d.organization_id = $1 and d.id = any ($2::uuid[])
"""  # noqa: S608 (composed of constants)
_ORGANIZATION_KEY: Final = """
    select id, wrapped, root_key_id, created_at = now() as is_ours from organization_key
    where organization_id = $1
"""
_ACTIVE_ORGANIZATION_KEY: Final = f"{_ORGANIZATION_KEY} and state = 'active'"
_FIRST_ORGANIZATION_KEY: Final = f"{_ORGANIZATION_KEY} order by created_at, id limit 1"
_CREATE_ORGANIZATION_KEY: Final = """
    insert into organization_key (organization_id, id, wrapped, root_key_id, state, created_at)
    values ($1, $2, $3, $4, 'active', now())
    on conflict do nothing
"""
_WRAPPED_ELSEWHERE: Final = f"{_ORGANIZATION_KEY} and root_key_id <> $2 for update"
_REWRAP: Final = """
    update organization_key set wrapped = $3, root_key_id = $4
    where organization_id = $1 and id = $2
"""

# Inside quotes: the class of the type stubs is generic, the driver's own is not.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | Lane"
Row: TypeAlias = Mapping[str, Any] | asyncpg.Record
Slot: TypeAlias = tuple[UUID, UUID | None, str]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Keys:
    """The keys at hand for some cells."""

    __slots__ = ("_by_id",)

    def __init__(self, by_id: Mapping[bytes, DataKey]) -> None:
        self._by_id = by_id

    def unseal(self, cell: Cell, blob: bytes) -> str:
        """The text of a cell; raises Unsealable, also when its key is not here or was shredded."""
        key = self._by_id.get(blob[1:17])
        if key is None:
            raise Unsealable
        return key.unseal(cell, blob)

    def unseal_optional(self, cell: Cell, blob: bytes | None) -> str | None:
        """The text of a cell that may be empty."""
        return None if blob is None else self.unseal(cell, blob)

    @override
    def __repr__(self) -> str:
        return f"Keys({len(self._by_id)})"


@dataclass(slots=True)
class _Active:
    """Which key seals for a slot, and how many of its seals this process has reserved."""

    key_id: bytes
    reserved: int


class _Memory(Generic[K, V]):
    """The least recently used go first, and each expires."""

    __slots__ = ("_capacity", "_entries", "_lifetime", "_monotonic")

    def __init__(self, capacity: int, lifetime: float, monotonic: Callable[[], float]) -> None:
        self._capacity, self._lifetime, self._monotonic = capacity, lifetime, monotonic
        self._entries: OrderedDict[K, tuple[V, float]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """What is remembered and has not expired."""
        entry = self._entries.get(key)
        if entry is None or entry[1] <= self._monotonic():
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def stale(self, key: K) -> V | None:
        """What is remembered, expired or not: for whoever asks the database if it still holds."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V) -> None:
        """Remember from now on."""
        self._entries[key] = value, self._monotonic() + self._lifetime
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def forget(self, key: K) -> None:
        """Drop what is remembered under a key, if anything is."""
        self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)


class Vault:
    """One for each process. Safe for any number of concurrent transactions of one event loop."""

    def __init__(
        self,
        root: RootKeys,
        *,
        capacity: int = 10_000,
        lifetime: timedelta = timedelta(minutes=5),
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._root = root
        self._global_index_key = root.lookups.index_key
        terms = (capacity, lifetime.total_seconds(), monotonic)
        self._keys: _Memory[bytes, DataKey] = _Memory(*terms)
        self._active: _Memory[Slot, _Active] = _Memory(*terms)
        self._organization_keys: _Memory[UUID, OrganizationKey] = _Memory(*terms)
        self._index_keys: _Memory[UUID, bytes] = _Memory(*terms)

    @override
    def __repr__(self) -> str:
        return f"Vault({len(self._keys)} keys)"

    async def for_participant(
        self, connection: Connection, organization_id: UUID, participant_id: UUID
    ) -> DataKey:
        """The key that seals what belongs to a participant, created on first use.

        Ask once in each transaction and seal with what comes back; a key is not kept for later.
        """
        return await self._sealing_key(connection, (organization_id, participant_id, _PARTICIPANT))

    async def for_organization(
        self, connection: Connection, organization_id: UUID, purpose: str
    ) -> DataKey:
        """The organization's own key for `staff` or `secret`, created on first use."""
        return await self._sealing_key(connection, (organization_id, None, purpose))

    async def load(
        self, connection: Connection, organization_id: UUID, blobs: Iterable[bytes | None]
    ) -> Keys:
        """Have at hand the keys of these cells: one query for those not remembered, else none.

        A key that is gone is no error here; the cell that needs it is unsealable.
        """
        by_id: dict[bytes, DataKey] = {}
        missing: set[bytes] = set()
        for blob in blobs:
            if blob is None or (raw := blob[1:17]) in by_id or raw in missing:
                continue
            key = self._keys.get(raw)
            if key is not None and key.organization_id == organization_id:
                by_id[raw] = key
            elif len(raw) == 16:
                missing.add(raw)
        if missing:
            ids = [UUID(bytes=raw) for raw in missing]
            for row in await connection.fetch(_LOAD, organization_id, ids):
                by_id[row["id"].bytes] = await self._opened(organization_id, row)
        return Keys(by_id)

    async def blind_index(
        self, connection: Connection, organization_id: UUID, purpose: str, normalized: str
    ) -> bytes:
        """Where a value can be looked up within one organization (PHI-04).

        The index key comes from the organization's first key, so that rotation moves no index.
        """
        key = self._index_keys.get(organization_id)
        if key is None:
            row = await self._organization_key_row(
                connection, organization_id, _FIRST_ORGANIZATION_KEY
            )
            key = (await self._organization_key(organization_id, row)).index_key()
            if not row["is_ours"]:
                self._index_keys.put(organization_id, key)
        return sealing.blind_index(key, purpose, normalized)

    def global_index(self, purpose: str, normalized: str) -> bytes:
        """Where a value can be looked up before its organization is known: login identifiers."""
        return sealing.blind_index(self._global_index_key, purpose, normalized)

    def refresh(self) -> None:
        """Take over root keys that were changed on disk. Raises BadRootKey, and keeps the old."""
        self._root.refresh()

    def forget(self, key_id: UUID) -> None:
        """Drop a key that was shredded, retired or rotated away (PHI-06)."""
        # A slot whose key is not remembered asks the database for its key.
        self._keys.forget(key_id.bytes)
        self._organization_keys.forget(key_id)

    async def rewrap(self, connection: Connection, organization_id: UUID) -> int:
        """Wrap an organization's keys with the newest root key, and say how many there were.

        Data keys and cells stay as they are, and readers notice nothing (PHI-05).
        """
        wrapping = self._root.wrapping_id
        rows = await connection.fetch(_WRAPPED_ELSEWHERE, organization_id, wrapping)
        for row in rows:
            key = await self._root.unwrap(
                row["root_key_id"], organization_id, row["id"], row["wrapped"]
            )
            wrapped = await self._root.wrap(organization_id, row["id"], key)
            await connection.execute(_REWRAP, organization_id, row["id"], wrapped, wrapping)
        return len(rows)

    async def _sealing_key(self, connection: Connection, slot: Slot) -> DataKey:
        active = self._active.stale(slot)
        key = None if active is None else self._keys.stale(active.key_id)
        if active is None or key is None or key.sealed >= active.reserved:
            debt = 0 if active is None or key is None else key.sealed - active.reserved
            return await self._reserve(connection, slot, SEAL_BLOCK + debt)
        if self._active.get(slot) is None:
            if not await connection.fetchval(_IS_ACTIVE, key.organization_id, key.key_id):
                return await self._reserve(connection, slot, SEAL_BLOCK)
            self._active.put(slot, active)
        return key

    async def _reserve(self, connection: Connection, slot: Slot, seals: int) -> DataKey:
        """Reserve seals of a slot's key; make the key when there is none or it is used up.

        Raises ServiceBusy when others keep changing the same key in between.
        """
        organization_id, participant_id, purpose = slot
        reserve = _RESERVE_FOR[participant_id is not None]
        for _ in range(_ATTEMPTS):
            row = await connection.fetchrow(
                reserve, organization_id, participant_id, purpose, seals
            )
            if row is None:
                created = await self._create(connection, slot)
                if created is None:
                    continue
                return created
            if row["seals_reserved"] > SEAL_LIMIT:
                await connection.execute(_RETIRE, organization_id, row["id"])
                continue
            key = await self._opened(organization_id, row)
            if not row["is_ours"]:
                self._active.put(slot, _Active(key.key_id.bytes, key.sealed + SEAL_BLOCK))
            return key
        raise ServiceBusy

    async def _create(self, connection: Connection, slot: Slot) -> DataKey | None:
        """Make a slot's key; None when another transaction was first, whose key is then there."""
        organization_id, participant_id, purpose = slot
        row = await self._organization_key_row(
            connection, organization_id, _ACTIVE_ORGANIZATION_KEY
        )
        organization_key = await self._organization_key(organization_id, row)
        key_id, key = new_id(), os.urandom(sealing.KEY_BYTES)
        created = await connection.fetchval(
            _CREATE,
            organization_id,
            key_id,
            participant_id,
            purpose,
            organization_key.key_id,
            organization_key.wrap(key_id, key),
            SEAL_BLOCK,
        )
        return None if created is None else DataKey(organization_id, key_id, key)

    async def _organization_key_row(
        self, connection: Connection, organization_id: UUID, query: str
    ) -> asyncpg.Record:
        """One of the organization's keys; its first is made when it has none."""
        row = await connection.fetchrow(query, organization_id)
        if row is None:
            key_id = new_id()
            wrapped = await self._root.wrap(organization_id, key_id, os.urandom(sealing.KEY_BYTES))
            await connection.execute(
                _CREATE_ORGANIZATION_KEY, organization_id, key_id, wrapped, self._root.wrapping_id
            )
            row = await connection.fetchrow(query, organization_id)
        if row is None:
            raise ServiceBusy
        return row

    async def _organization_key(self, organization_id: UUID, row: Row) -> OrganizationKey:
        known = self._organization_keys.get(row["id"])
        if known is not None:
            return known
        key = OrganizationKey(
            organization_id,
            row["id"],
            await self._root.unwrap(row["root_key_id"], organization_id, row["id"], row["wrapped"]),
        )
        # An id that was rolled back stands in no row, so that remembering it does no harm.
        self._organization_keys.put(row["id"], key)
        return key

    async def _opened(self, organization_id: UUID, row: Row) -> DataKey:
        """The data key of a row: the object that this process has already, or a new one."""
        key = self._keys.stale(row["id"].bytes)
        if key is None or key.organization_id != organization_id:
            organization_key = await self._organization_key(
                organization_id,
                {
                    "id": row["organization_key_id"],
                    "wrapped": row["organization_wrapped"],
                    "root_key_id": row["root_key_id"],
                },
            )
            key = organization_key.unwrap(row["id"], row["wrapped"])
        if not row["is_ours"]:
            self._keys.put(row["id"].bytes, key)
        return key
