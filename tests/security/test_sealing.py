import asyncio
import hmac
import json
import os
import unicodedata
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from app.security.sealing import (
    BadRootKey,
    Cell,
    DataKey,
    LocalRootKey,
    OrganizationKey,
    RootKeys,
    Unsealable,
    blind_index,
    key_id_of,
    normalize_email,
    normalize_phone,
)
from tests.tracer import untraced

VECTORS: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "vectors" / "sealed_cells.json").read_text("utf-8")
)
ORGANIZATION: Final = UUID("0191f7a0-0000-7000-8000-000000000001")
KEY_ID: Final = UUID("0191f7a0-0000-7000-8000-000000000002")
ROW: Final = UUID("0191f7a0-0000-7000-8000-000000000003")
CELL: Final = Cell("note", "body", ROW)
KEY: Final = bytes(range(32))

texts = st.text(st.characters(exclude_categories=["Cs"]))


def data_key(key: bytes = KEY) -> DataKey:
    return DataKey(ORGANIZATION, KEY_ID, key)


def organization_key(key: bytes = KEY) -> OrganizationKey:
    return OrganizationKey(ORGANIZATION, KEY_ID, key)


def framed(*parts: bytes) -> bytes:
    """The framing of PHI-02, written a second time."""
    joined = b""
    for part in parts:
        joined += len(part).to_bytes(2, "big") + part
    return joined


def test_phi_01_a_blob_is_version_key_id_nonce_ciphertext_and_tag() -> None:
    blob = data_key().seal(CELL, "slept well")

    assert blob[0] == 1
    assert blob[1:17] == KEY_ID.bytes
    assert len(blob) == 1 + 16 + 12 + len("slept well") + 16
    aad = framed(b"sw1", ORGANIZATION.bytes, b"note", b"body", ROW.bytes, KEY_ID.bytes)
    assert AESGCM(KEY).decrypt(blob[17:29], blob[29:], aad) == b"slept well"
    assert key_id_of(blob) == KEY_ID


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_phi_01_known_answers(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    key = DataKey(
        UUID(vector["organization_id"]), UUID(vector["key_id"]), bytes.fromhex(vector["key"])
    )
    cell = Cell(vector["table"], vector["column"], UUID(vector["row_id"]))
    blob = bytes.fromhex(vector["blob"])
    nonce = bytes.fromhex(vector["nonce"])
    monkeypatch.setattr(os, "urandom", lambda _length: nonce)

    assert key.unseal(cell, blob) == vector["text"]
    assert key.seal(cell, vector["text"]) == blob


@settings(deadline=None)
@given(texts)
def test_phi_01_what_is_sealed_is_unsealed_unchanged(text: str) -> None:
    key = data_key()
    assert key.unseal(CELL, key.seal(CELL, text)) == text


def test_phi_01_nonces_are_unique_over_a_million_seals() -> None:
    key = data_key()
    with untraced():
        nonces = {key.seal(CELL, "")[17:29] for _ in range(1_000_000)}
    assert len(nonces) == 1_000_000
    assert key.sealed == 1_000_000


def test_phi_02_every_flipped_bit_is_noticed() -> None:
    key = data_key()
    blob = key.seal(CELL, "slept well")
    for place in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(Unsealable):
            key.unseal(CELL, bytes(flipped))


@pytest.mark.parametrize("length", range(45))
def test_phi_02_a_truncated_blob_is_noticed(length: int) -> None:
    key = data_key()
    with pytest.raises(Unsealable):
        key.unseal(CELL, key.seal(CELL, "")[:length])


def test_phi_02_a_lengthened_blob_is_noticed() -> None:
    key = data_key()
    with pytest.raises(Unsealable):
        key.unseal(CELL, key.seal(CELL, "slept well") + b"\x00")


@pytest.mark.parametrize(
    "elsewhere",
    [
        Cell("plan", "body", ROW),
        Cell("note", "title", ROW),
        Cell("note", "body", uuid4()),
        # What a concatenation without lengths would take for the same place.
        Cell("noteb", "ody", ROW),
        Cell("not", "ebody", ROW),
    ],
)
def test_phi_02_a_blob_moved_to_another_place_does_not_open(elsewhere: Cell) -> None:
    key = data_key()
    with pytest.raises(Unsealable):
        key.unseal(elsewhere, key.seal(CELL, "slept well"))


@pytest.mark.parametrize(
    "other",
    [
        DataKey(uuid4(), KEY_ID, KEY),
        DataKey(ORGANIZATION, uuid4(), KEY),
        DataKey(ORGANIZATION, KEY_ID, os.urandom(32)),
    ],
    ids=["organization", "key id", "key"],
)
def test_phi_02_a_blob_does_not_open_with_another_organization_id_or_key(other: DataKey) -> None:
    with pytest.raises(Unsealable):
        other.unseal(CELL, data_key().seal(CELL, "slept well"))


def test_phi_02_a_key_id_put_in_the_place_of_another_is_noticed() -> None:
    other = DataKey(ORGANIZATION, uuid4(), KEY)
    blob = data_key().seal(CELL, "slept well")
    with pytest.raises(Unsealable):
        other.unseal(CELL, blob[:1] + other.key_id.bytes + blob[17:])


def test_phi_02_a_sealed_cell_of_no_text_is_unsealable() -> None:
    aad = framed(b"sw1", ORGANIZATION.bytes, b"note", b"body", ROW.bytes, KEY_ID.bytes)
    nonce = bytes(12)
    blob = b"\x01" + KEY_ID.bytes + nonce + AESGCM(KEY).encrypt(nonce, b"\xff\xfe", aad)
    with pytest.raises(Unsealable):
        data_key().unseal(CELL, blob)


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_phi_02_noise_is_unsealable_and_nothing_else(noise: bytes) -> None:
    with pytest.raises(Unsealable):
        data_key().unseal(CELL, noise)


@pytest.mark.parametrize("blob", [b"", b"\x02" + bytes(60), b"\x01" + bytes(43)])
def test_phi_02_only_a_sealed_cell_has_a_key_id(blob: bytes) -> None:
    with pytest.raises(Unsealable):
        key_id_of(blob)


def test_an_organization_key_opens_the_data_keys_that_it_wrapped() -> None:
    wrapping = organization_key(os.urandom(32))
    wrapped = wrapping.wrap(KEY_ID, KEY)

    assert KEY not in wrapped
    assert len(wrapped) == 1 + 12 + 32 + 16
    opened = wrapping.unwrap(KEY_ID, wrapped)
    assert opened.unseal(CELL, data_key().seal(CELL, "slept well")) == "slept well"


def test_phi_02_a_wrapped_data_key_is_bound_to_its_organization_and_its_ids() -> None:
    material, key_id = os.urandom(32), uuid4()
    wrapped = OrganizationKey(ORGANIZATION, key_id, material).wrap(KEY_ID, KEY)
    strangers: list[Callable[[], DataKey]] = [
        lambda: OrganizationKey(uuid4(), key_id, material).unwrap(KEY_ID, wrapped),
        lambda: OrganizationKey(ORGANIZATION, uuid4(), material).unwrap(KEY_ID, wrapped),
        lambda: OrganizationKey(ORGANIZATION, key_id, material).unwrap(uuid4(), wrapped),
        lambda: OrganizationKey(ORGANIZATION, key_id, os.urandom(32)).unwrap(KEY_ID, wrapped),
    ]
    for stranger in strangers:
        with pytest.raises(Unsealable):
            stranger()


def test_phi_02_every_flipped_bit_of_a_wrapped_key_is_noticed() -> None:
    root = LocalRootKey(KEY)
    wrapped = asyncio.run(root.wrap(ORGANIZATION, KEY_ID, os.urandom(32)))
    for place in range(len(wrapped) * 8):
        flipped = bytearray(wrapped)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(Unsealable):
            asyncio.run(root.unwrap(ORGANIZATION, KEY_ID, bytes(flipped)))


def test_phi_05_each_of_several_root_keys_opens_what_names_it() -> None:
    old, new = LocalRootKey(KEY), LocalRootKey(bytes(range(1, 33)))
    material = os.urandom(32)
    by_old = asyncio.run(RootKeys([old]).wrap(ORGANIZATION, KEY_ID, material))
    both = RootKeys([old, new])
    by_new = asyncio.run(both.wrap(ORGANIZATION, KEY_ID, material))

    assert both.wrapping_id == new.id != old.id
    assert asyncio.run(both.unwrap(old.id, ORGANIZATION, KEY_ID, by_old)) == material
    assert asyncio.run(both.unwrap(new.id, ORGANIZATION, KEY_ID, by_new)) == material
    for root_key_id, organization_id, wrapped in [
        (old.id, ORGANIZATION, by_new),
        (new.id, uuid4(), by_new),
        ("local-unknown", ORGANIZATION, by_new),
    ]:
        with pytest.raises(Unsealable):
            asyncio.run(both.unwrap(root_key_id, organization_id, KEY_ID, wrapped))


def test_a_deployment_without_a_root_key_does_not_start() -> None:
    with pytest.raises(BadRootKey):
        RootKeys([])


def test_a_root_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "root.key"
    made = LocalRootKey.load_or_create(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_bytes() not in {b"", bytes(32)}
    assert [entry.name for entry in path.parent.iterdir()] == ["root.key"]
    assert LocalRootKey.load_or_create(path).id == LocalRootKey.load(path).id == made.id


def test_of_two_processes_that_make_a_root_key_the_second_takes_the_firsts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "root.key"
    first = LocalRootKey.load_or_create(path)
    # The second process looked before the first had written.
    looks = iter([False])
    monkeypatch.setattr(Path, "exists", lambda _path: next(looks))

    assert LocalRootKey.load_or_create(path).id == first.id
    assert [entry.name for entry in tmp_path.iterdir()] == ["root.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_root_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root.key"
    path.write_bytes(KEY)
    path.chmod(mode)
    with pytest.raises(BadRootKey, match="0600"):
        LocalRootKey.load(path)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_root_key_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "root.key"
    path.write_bytes(bytes(length))
    path.chmod(0o600)
    with pytest.raises(BadRootKey, match="32"):
        LocalRootKey.load(path)


def test_a_missing_root_key_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadRootKey, match="cannot be read"):
        LocalRootKey.load(tmp_path / "root.key")


@pytest.mark.parametrize("make", [data_key, organization_key, LocalRootKey])
@pytest.mark.parametrize("length", [16, 24, 31, 33])
def test_phi_01_only_keys_of_256_bits_exist(make: Callable[[bytes], object], length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        make(bytes(length))


def test_phi_07_no_repr_shows_key_material() -> None:
    root = LocalRootKey(KEY)
    secrets = [
        data_key(),
        organization_key(),
        root,
        RootKeys([root]),
        Unsealable(),
    ]
    assert list(map(repr, secrets)) == [
        f"DataKey({KEY_ID})",
        f"OrganizationKey({KEY_ID})",
        f"LocalRootKey({root.id})",
        f"RootKeys({root.id})",
        "Unsealable('unsealable')",
    ]
    assert KEY.hex() not in root.id


def test_phi_07_no_secret_has_attributes_that_a_dump_would_list() -> None:
    for secret in (data_key(), organization_key(), LocalRootKey(KEY)):
        with pytest.raises(TypeError):
            vars(secret)


def test_phi_04_a_blind_index_is_an_hmac_of_purpose_and_value() -> None:
    expected = hmac.new(KEY, framed(b"email") + b"a@example.org", sha256).digest()
    assert blind_index(KEY, "email", "a@example.org") == expected


def test_phi_04_purposes_and_keys_never_share_an_index() -> None:
    indexes = {
        blind_index(KEY, "email", "1"),
        blind_index(KEY, "phone", "1"),
        blind_index(bytes(32), "email", "1"),
        # What a concatenation without lengths would take for the same value.
        blind_index(KEY, "emai", "l1"),
    }
    assert len(indexes) == 4


def test_phi_04_index_keys_are_not_the_keys_they_come_from() -> None:
    root = RootKeys([LocalRootKey(KEY)])
    assert len({organization_key().index_key(), root.lookups.index_key, KEY}) == 3
    assert organization_key().index_key() == OrganizationKey(uuid4(), uuid4(), KEY).index_key()


@pytest.mark.parametrize(
    "variant",
    [
        "ren\u00e9@example.org",
        "rene\u0301@example.org",
        "REN\u00c9@EXAMPLE.ORG",
        " Ren\u00e9@Example.org\t",
        "ren\u00e9@\uff45xample.org",
    ],
)
def test_phi_04_every_spelling_of_an_address_has_one_index(variant: str) -> None:
    assert normalize_email(variant) == "ren\u00e9@example.org"


@settings(deadline=None)
@given(texts)
def test_phi_04_normalizing_an_address_twice_changes_nothing(text: str) -> None:
    once = normalize_email(text)
    assert normalize_email(once) == once
    assert normalize_email(unicodedata.normalize("NFD", text)) == once


@pytest.mark.parametrize(
    ("written", "normalized"),
    [
        ("+1 (555) 010-0199", "+15550100199"),
        ("+1.555.010.0199", "+15550100199"),
        ("\uff0b\uff11 555 010 0199", "+15550100199"),
        ("555 010 0199", "5550100199"),
        ("", ""),
    ],
)
def test_phi_04_a_number_is_its_digits(written: str, normalized: str) -> None:
    assert normalize_phone(written) == normalized


def test_a_lone_surrogate_has_an_index_and_finds_nobody() -> None:
    assert len(blind_index(KEY, "email", normalize_email("\ud800@example.org"))) == 32
