import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.core import embedded
from app.security import vault as vault_module
from app.security.sealing import Cell, DataKey, LocalRootKey, RootKeys, Unsealable, key_id_of
from app.security.vault import SEAL_BLOCK, SEAL_LIMIT, Vault

ROOT: Final = LocalRootKey(bytes(range(32)))
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Transaction = Callable[[UUID], AbstractAsyncContextManager[Connection]]
Shred = Callable[[UUID], Awaitable[str]]


class Hands:
    """A clock whose hands the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def transaction(server: embedded.EmbeddedServer) -> AsyncIterator[Transaction]:
    """Begins a transaction of an organization, as the API's role."""
    async with asyncpg.create_pool(
        host=str(server.socket_dir),
        user="stepwell_api",
        database="stepwell",
        min_size=1,
        max_size=20,
        server_settings={"search_path": "stepwell"},
    ) as pool:

        @asynccontextmanager
        async def begin(organization_id: UUID) -> AsyncIterator[Connection]:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    "select set_config('stepwell.organization_id', $1, true)", str(organization_id)
                )
                yield connection  # type: ignore[misc]  # a pooled connection is a connection

        yield begin


@pytest.fixture
async def shred(server: embedded.EmbeddedServer) -> AsyncIterator[Shred]:
    """Deletes a data key, which the API's role may not."""
    connection = await asyncpg.connect(
        host=str(server.socket_dir), user="postgres", database="stepwell"
    )
    yield lambda key_id: connection.execute("delete from stepwell.data_key where id = $1", key_id)
    await connection.close()


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def vault(hands: Hands) -> Vault:
    return Vault(RootKeys([ROOT]), monotonic=hands)


class Silence:
    """A connection on which nobody may speak: what is served from memory needs none."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        raise AssertionError(f"{name} was called although everything is remembered")


SILENCE: Final[Any] = Silence()


class Interrupted(Exception):
    """A request that fails after it had used the vault."""


@asynccontextmanager
async def rolled_back(begin: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    """A transaction that comes to nothing."""
    with contextlib.suppress(Interrupted):
        async with begin as connection:
            yield connection
            raise Interrupted


async def remembered_key(
    vault: Vault, transaction: Transaction, organization_id: UUID, participant_id: UUID
) -> DataKey:
    """A participant's key, once a transaction after its first has seen it."""
    async with transaction(organization_id) as connection:
        await vault.for_participant(connection, organization_id, participant_id)
    async with transaction(organization_id) as connection:
        return await vault.for_participant(connection, organization_id, participant_id)


def cell() -> Cell:
    return Cell("note", "body", uuid4())


async def test_phi_01_a_participant_has_one_key_that_opens_what_it_sealed(
    vault: Vault, transaction: Transaction
) -> None:
    organization_id, participant_id, place = uuid4(), uuid4(), cell()
    async with transaction(organization_id) as connection:
        key = await vault.for_participant(connection, organization_id, participant_id)
        blob = key.seal(place, "slept well")
    async with transaction(organization_id) as connection:
        again = await vault.for_participant(connection, organization_id, participant_id)
        other = await vault.for_participant(connection, organization_id, uuid4())
        keys = await vault.load(connection, organization_id, [blob, None])

    assert keys.unseal(place, blob) == "slept well"
    assert keys.unseal_optional(place, blob) == "slept well"
    assert keys.unseal_optional(place, None) is None
    assert again.key_id == key.key_id == key_id_of(blob)
    assert other.key_id != key.key_id


async def test_phi_01_purposes_of_an_organization_have_keys_of_their_own(
    vault: Vault, transaction: Transaction
) -> None:
    organization_id = uuid4()
    async with transaction(organization_id) as connection:
        staff = await vault.for_organization(connection, organization_id, "staff")
        secret = await vault.for_organization(connection, organization_id, "secret")
        again = await vault.for_organization(connection, organization_id, "staff")
        stored = await connection.fetchval(
            "select count(*) from data_key where organization_id = $1", organization_id
        )

    assert staff.key_id == again.key_id != secret.key_id
    assert stored == 2


async def test_phi_01_another_process_opens_what_this_one_sealed(transaction: Transaction) -> None:
    organization_id, participant_id, place = uuid4(), uuid4(), cell()
    here, there = Vault(RootKeys([ROOT])), Vault(RootKeys([ROOT]))
    async with transaction(organization_id) as connection:
        key = await here.for_participant(connection, organization_id, participant_id)
        blob = key.seal(place, "slept well")
    async with transaction(organization_id) as connection:
        keys = await there.load(connection, organization_id, [blob])

    assert keys.unseal(place, blob) == "slept well"


async def test_phi_01_what_is_remembered_costs_no_round_trip(
    vault: Vault, transaction: Transaction
) -> None:
    organization_id, participant_id, place = uuid4(), uuid4(), cell()
    async with transaction(organization_id) as connection:
        await vault.for_participant(connection, organization_id, participant_id)
        await vault.blind_index(connection, organization_id, "email", "a@example.org")
    async with transaction(organization_id) as connection:
        key = await vault.for_participant(connection, organization_id, participant_id)
        index = await vault.blind_index(connection, organization_id, "email", "a@example.org")

    blob = key.seal(place, "slept well")
    keys = await vault.load(SILENCE, organization_id, [blob, None, blob])
    assert keys.unseal(place, blob) == "slept well"
    assert await vault.for_participant(SILENCE, organization_id, participant_id) is key
    assert await vault.blind_index(SILENCE, organization_id, "email", "a@example.org") == index


async def test_phi_01_load_asks_once_for_many_keys(vault: Vault, transaction: Transaction) -> None:
    organization_id, places = uuid4(), [cell() for _ in range(20)]
    async with transaction(organization_id) as connection:
        blobs = [
            (await vault.for_participant(connection, organization_id, uuid4())).seal(place, "x")
            for place in places
        ]
    async with transaction(organization_id) as connection:
        statements: list[str] = []
        with connection.query_logger(lambda record: statements.append(record.query)):
            keys = await vault.load(connection, organization_id, blobs * 3)

    assert [keys.unseal(p, b) for p, b in zip(places, blobs, strict=True)] == ["x"] * 20
    # The driver asks about the type uuid[] once for each connection.
    assert sum("data_key" in statement for statement in statements) == 1


async def test_a_key_of_a_rolled_back_transaction_is_never_used_again(
    vault: Vault, transaction: Transaction
) -> None:
    organization_id, participant_id = uuid4(), uuid4()
    async with rolled_back(transaction(organization_id)) as connection:
        lost = await vault.for_participant(connection, organization_id, participant_id)
        lost_index = await vault.blind_index(connection, organization_id, "email", "a@x.org")
        await vault.load(connection, organization_id, [lost.seal(cell(), "gone")])

    place = cell()
    async with transaction(organization_id) as connection:
        key = await vault.for_participant(connection, organization_id, participant_id)
        index = await vault.blind_index(connection, organization_id, "email", "a@x.org")
        blob = key.seal(place, "kept")
    async with transaction(organization_id) as connection:
        keys = await Vault(RootKeys([ROOT])).load(connection, organization_id, [blob])

    assert key.key_id != lost.key_id
    assert index != lost_index
    assert keys.unseal(place, blob) == "kept"


async def test_a_key_of_a_rolled_back_savepoint_is_never_used_again(
    vault: Vault, transaction: Transaction
) -> None:
    organization_id, participant_id, place = uuid4(), uuid4(), cell()
    async with transaction(organization_id) as connection:
        async with rolled_back(connection.transaction()):
            lost = await vault.for_participant(connection, organization_id, participant_id)
        key = await vault.for_participant(connection, organization_id, participant_id)
        blob = key.seal(place, "kept")
    async with transaction(organization_id) as connection:
        keys = await Vault(RootKeys([ROOT])).load(connection, organization_id, [blob])

    assert key.key_id != lost.key_id
    assert keys.unseal(place, blob) == "kept"


async def test_concurrent_first_uses_agree_on_one_key(transaction: Transaction) -> None:
    organization_id, participant_id = uuid4(), uuid4()
    vaults = [Vault(RootKeys([ROOT])) for _ in range(4)]

    async def first_use(vault: Vault) -> tuple[Cell, bytes]:
        place = cell()
        async with transaction(organization_id) as connection:
            key = await vault.for_participant(connection, organization_id, participant_id)
            return place, key.seal(place, "mine")

    sealed = await asyncio.gather(*(first_use(vaults[turn % 4]) for turn in range(16)))
    async with transaction(organization_id) as connection:
        active = await connection.fetchval(
            "select count(*) from data_key where participant_id = $1", participant_id
        )
        keys = await Vault(RootKeys([ROOT])).load(
            connection, organization_id, [blob for _, blob in sealed]
        )

    assert active == 1
    assert {keys.unseal(place, blob) for place, blob in sealed} == {"mine"}


async def test_whoever_waits_for_a_first_use_that_fails_makes_the_key(
    vault: Vault, transaction: Transaction
) -> None:
    organization_id, participant_id = uuid4(), uuid4()
    entered = asyncio.Event()

    async def fails() -> UUID:
        async with rolled_back(transaction(organization_id)) as connection:
            key = await vault.for_participant(connection, organization_id, participant_id)
            entered.set()
            await _until_somebody_waits(transaction(organization_id))
        return key.key_id

    async def waits() -> UUID:
        await entered.wait()
        async with transaction(organization_id) as connection:
            key = await vault.for_participant(connection, organization_id, participant_id)
            return key.key_id

    lost, kept = await asyncio.gather(fails(), waits())
    async with transaction(organization_id) as connection:
        stored = await connection.fetchval(
            "select id from data_key where participant_id = $1", participant_id
        )
    assert kept == stored != lost


async def _until_somebody_waits(begin: AbstractAsyncContextManager[Connection]) -> None:
    """Return once a transaction waits for a lock."""
    waiting = "select exists (select from pg_locks where not granted)"
    async with asyncio.timeout(10), begin as connection:
        while not await connection.fetchval(waiting):
            pass


async def test_authz_another_organization_gets_no_key_even_from_memory(
    vault: Vault, transaction: Transaction
) -> None:
    organization_id, other_id, place = uuid4(), uuid4(), cell()
    async with transaction(organization_id) as connection:
        key = await vault.for_participant(connection, organization_id, uuid4())
        blob = key.seal(place, "slept well")
    async with transaction(organization_id) as connection:
        assert (await vault.load(connection, organization_id, [blob])).unseal(place, blob)
    async with transaction(other_id) as connection:
        keys = await vault.load(connection, other_id, [blob])

    with pytest.raises(Unsealable):
        keys.unseal(place, blob)


async def test_phi_01_seals_are_reserved_before_they_are_made(
    vault: Vault, transaction: Transaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_module, "SEAL_BLOCK", 4)
    organization_id, participant_id, place = uuid4(), uuid4(), cell()
    async with transaction(organization_id) as connection:
        await vault.for_participant(connection, organization_id, participant_id)

    for made in range(1, 40):
        async with transaction(organization_id) as connection:
            key = await vault.for_participant(connection, organization_id, participant_id)
            key.seal(place, "x")
            assert made <= await _reserved(connection, key) <= made + 8


async def test_phi_01_a_transaction_that_seals_beyond_its_block_is_settled_by_the_next(
    vault: Vault, transaction: Transaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_module, "SEAL_BLOCK", 4)
    organization_id, participant_id, place = uuid4(), uuid4(), cell()
    async with transaction(organization_id) as connection:
        await vault.for_participant(connection, organization_id, participant_id)
    async with transaction(organization_id) as connection:
        key = await vault.for_participant(connection, organization_id, participant_id)
        for _ in range(100):
            key.seal(place, "x")
    async with transaction(organization_id) as connection:
        await vault.for_participant(connection, organization_id, participant_id)
        assert await _reserved(connection, key) >= 100 + 4


async def test_phi_01_at_its_limit_a_key_retires_and_still_opens_what_it_sealed(
    vault: Vault, transaction: Transaction
) -> None:
    organization_id, participant_id, place = uuid4(), uuid4(), cell()
    async with transaction(organization_id) as connection:
        old = await vault.for_participant(connection, organization_id, participant_id)
        blob = old.seal(place, "before")
        await connection.execute(
            "update data_key set seals_reserved = $2 where id = $1", old.key_id, SEAL_LIMIT
        )
    async with transaction(organization_id) as connection:
        new = await vault.for_participant(connection, organization_id, participant_id)
    async with transaction(organization_id) as connection:
        same = await vault.for_participant(connection, organization_id, participant_id)
        keys = await vault.load(connection, organization_id, [blob])
        states = await connection.fetch(
            "select id, state from data_key where participant_id = $1", participant_id
        )

    assert new.key_id == same.key_id != old.key_id
    assert {row["id"]: row["state"] for row in states} == {
        old.key_id: "retired",
        new.key_id: "active",
    }
    assert keys.unseal(place, blob) == "before"


async def test_phi_01_a_block_that_would_pass_the_limit_is_not_granted(
    vault: Vault, transaction: Transaction
) -> None:
    organization_id, participant_id = uuid4(), uuid4()
    async with transaction(organization_id) as connection:
        old = await vault.for_participant(connection, organization_id, participant_id)
        await connection.execute(
            "update data_key set seals_reserved = $2 where id = $1",
            old.key_id,
            SEAL_LIMIT - SEAL_BLOCK,
        )
    async with transaction(organization_id) as connection:
        last = await vault.for_participant(connection, organization_id, participant_id)
        assert await _reserved(connection, last) == SEAL_LIMIT
    assert last.key_id == old.key_id

    last.sealed += SEAL_BLOCK
    async with transaction(organization_id) as connection:
        new = await vault.for_participant(connection, organization_id, participant_id)
    assert new.key_id != old.key_id


async def test_phi_01_a_key_retired_elsewhere_is_left_within_the_lifetime(
    vault: Vault, hands: Hands, transaction: Transaction
) -> None:
    organization_id, participant_id = uuid4(), uuid4()
    old = await remembered_key(vault, transaction, organization_id, participant_id)
    async with transaction(organization_id) as connection:
        await connection.execute("update data_key set state = 'retired' where id = $1", old.key_id)
    hands.seconds += 299
    assert await vault.for_participant(SILENCE, organization_id, participant_id) is old

    hands.seconds += 1
    async with transaction(organization_id) as connection:
        new = await vault.for_participant(connection, organization_id, participant_id)
    assert new.key_id != old.key_id


async def test_phi_01_an_expired_key_that_is_still_active_keeps_its_reservation(
    vault: Vault, hands: Hands, transaction: Transaction
) -> None:
    organization_id, participant_id = uuid4(), uuid4()
    key = await remembered_key(vault, transaction, organization_id, participant_id)
    async with transaction(organization_id) as connection:
        before = await _reserved(connection, key)
    hands.seconds += 301
    async with transaction(organization_id) as connection:
        again = await vault.for_participant(connection, organization_id, participant_id)
        assert await _reserved(connection, key) == before
    assert again is key
    assert await vault.for_participant(SILENCE, organization_id, participant_id) is key


async def test_phi_06_a_shredded_key_opens_nothing_once_it_is_forgotten(
    vault: Vault, transaction: Transaction, shred: Shred
) -> None:
    organization_id, participant_id, place = uuid4(), uuid4(), cell()
    key = await remembered_key(vault, transaction, organization_id, participant_id)
    blob = key.seal(place, "slept well")
    await shred(key.key_id)
    vault.forget(key.key_id)
    async with transaction(organization_id) as connection:
        keys = await vault.load(connection, organization_id, [blob])
        fresh = await vault.for_participant(connection, organization_id, participant_id)

    with pytest.raises(Unsealable):
        keys.unseal(place, blob)
    assert fresh.key_id != key.key_id


async def test_phi_06_a_shredded_key_expires_although_nobody_said_so(
    vault: Vault, hands: Hands, transaction: Transaction, shred: Shred
) -> None:
    organization_id, participant_id, place = uuid4(), uuid4(), cell()
    key = await remembered_key(vault, transaction, organization_id, participant_id)
    blob = key.seal(place, "slept well")
    await shred(key.key_id)
    hands.seconds += 301
    async with transaction(organization_id) as connection:
        keys = await vault.load(connection, organization_id, [blob])
    with pytest.raises(Unsealable):
        keys.unseal(place, blob)


async def test_phi_07_no_more_keys_are_remembered_than_the_capacity(
    transaction: Transaction,
) -> None:
    vault = Vault(RootKeys([ROOT]), capacity=3, lifetime=timedelta(minutes=5))
    organization_id, participants = uuid4(), [uuid4() for _ in range(5)]
    keys = [
        await remembered_key(vault, transaction, organization_id, participant_id)
        for participant_id in participants
    ]

    assert repr(vault) == "Vault(3 keys)"
    blobs = [key.seal(cell(), "x") for key in keys]
    await vault.load(SILENCE, organization_id, blobs[2:])
    with pytest.raises(AssertionError, match="fetch was called"):
        await vault.load(SILENCE, organization_id, blobs[:2])


async def test_phi_04_an_index_belongs_to_its_organization_and_its_purpose(
    vault: Vault, transaction: Transaction
) -> None:
    organizations, indexes = (uuid4(), uuid4()), []
    for organization_id in (*organizations, organizations[0]):
        async with transaction(organization_id) as connection:
            for purpose in ("email", "phone"):
                index = await vault.blind_index(connection, organization_id, purpose, "a@x.org")
                indexes.append(index)

    assert len({*indexes, vault.global_index("email", "a@x.org")}) == 5
    assert indexes[:2] == indexes[4:]


async def test_phi_05_rotating_the_organization_key_moves_no_index(
    transaction: Transaction,
) -> None:
    organization_id, place = uuid4(), cell()
    before, after = Vault(RootKeys([ROOT])), Vault(RootKeys([ROOT]))
    async with transaction(organization_id) as connection:
        index = await before.blind_index(connection, organization_id, "email", "a@example.org")
        key = await before.for_organization(connection, organization_id, "staff")
        blob = key.seal(place, "Ada")
    async with transaction(organization_id) as connection:
        await connection.execute(
            "update organization_key set state = 'retired' where organization_id = $1",
            organization_id,
        )
    async with transaction(organization_id) as connection:
        secret = await after.for_organization(connection, organization_id, "secret")
        organization_keys = await connection.fetch(
            "select distinct organization_key_id from data_key where organization_id = $1",
            organization_id,
        )
        keys = await after.load(connection, organization_id, [blob])
        assert (
            await after.blind_index(connection, organization_id, "email", "a@example.org") == index
        )

    assert len(organization_keys) == 2
    assert keys.unseal(place, blob) == "Ada"
    assert secret.key_id != key.key_id


async def test_phi_05_rotating_the_root_key_wraps_anew_and_takes_the_old_one_away(
    transaction: Transaction,
) -> None:
    organization_id, place = uuid4(), cell()
    new_root = LocalRootKey(bytes(range(1, 33)))
    async with transaction(organization_id) as connection:
        key = await Vault(RootKeys([ROOT])).for_participant(connection, organization_id, uuid4())
        blob = key.seal(place, "slept well")
    rotating = Vault(RootKeys([ROOT, new_root]))
    async with transaction(organization_id) as connection:
        assert (await rotating.load(connection, organization_id, [blob])).unseal(place, blob)
        assert await rotating.rewrap(connection, organization_id) == 1
    async with transaction(organization_id) as connection:
        assert await rotating.rewrap(connection, organization_id) == 0
        keys = await Vault(RootKeys([new_root])).load(connection, organization_id, [blob])
        assert keys.unseal(place, blob) == "slept well"
        with pytest.raises(Unsealable):
            await Vault(RootKeys([ROOT])).load(connection, organization_id, [blob])


def test_phi_05_adding_a_root_key_moves_no_login_index() -> None:
    added = RootKeys([ROOT, LocalRootKey(bytes(range(1, 33)))])
    alone = Vault(RootKeys([ROOT])).global_index("login", "a@example.org")
    assert Vault(added).global_index("login", "a@example.org") == alone


@pytest.mark.parametrize(
    "blob",
    [b"", b"\x01", b"\x01" + bytes(15), b"\x01" + bytes(60)],
    ids=["empty", "a version", "half an id", "an unknown id"],
)
async def test_phi_02_what_is_no_sealed_cell_is_unsealable(
    vault: Vault, transaction: Transaction, blob: bytes
) -> None:
    organization_id = uuid4()
    async with transaction(organization_id) as connection:
        keys = await vault.load(connection, organization_id, [blob])
    with pytest.raises(Unsealable):
        keys.unseal(cell(), blob)


async def test_phi_07_no_repr_shows_more_than_ids(vault: Vault, transaction: Transaction) -> None:
    organization_id = uuid4()
    async with transaction(organization_id) as connection:
        key = await vault.for_organization(connection, organization_id, "secret")
        keys = await vault.load(connection, organization_id, [key.seal(cell(), "x")])

    assert repr(vault) == "Vault(0 keys)"
    assert repr(keys) == "Keys(1)"
    assert repr(key) == f"DataKey({key.key_id})"


async def _reserved(connection: Connection, key: DataKey) -> int:
    reserved: int = await connection.fetchval(
        "select seals_reserved from data_key where id = $1", key.key_id
    )
    return reserved
