import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from app.security import keyring
from app.security.keyring import RING_FILE, BadKeyRing, KeyRing, KeyState, SigningKey

P256: Final = ec.generate_private_key(ec.SECP256R1())
P384: Final = ec.generate_private_key(ec.SECP384R1())
RSA: Final = rsa.generate_private_key(65537, 3_072)


def pem_of(private: PrivateKeyTypes, password: bytes | None = None) -> str:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    ).decode()


def metadata(*entries: tuple[str, str, str]) -> str:
    return json.dumps([{"kid": kid, "alg": alg, "state": state} for kid, alg, state in entries])


def one_key(private: PrivateKeyTypes, alg: str) -> KeyRing:
    return KeyRing.from_pem(pem_of(private), metadata(("only", alg, "active")))


@pytest.mark.parametrize(("private", "alg"), [(P256, "ES256"), (P384, "ES384"), (RSA, "RS256")])
def test_auth_07_keys_of_the_three_kinds_are_loaded(private: PrivateKeyTypes, alg: str) -> None:
    assert one_key(private, alg).active.alg == alg


@pytest.mark.parametrize(
    ("make", "alg", "reason"),
    [
        (lambda: rsa.generate_private_key(65537, 2_048), "RS256", "3072"),
        (lambda: ec.generate_private_key(ec.SECP521R1()), "ES512", "P-256 or P-384"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "ES256K", "P-256 or P-384"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "ES256", "P-256 or P-384"),
        (ed25519.Ed25519PrivateKey.generate, "EdDSA", "neither an EC nor an RSA"),
        (lambda: P256, "HS256", "algorithm"),
        (lambda: P256, "RS256", "algorithm"),
        (lambda: P256, "ES384", "algorithm"),
        (lambda: P384, "ES256", "algorithm"),
        (lambda: RSA, "PS256", "algorithm"),
        (lambda: RSA, "none", "algorithm"),
    ],
)
def test_auth_07_weak_and_mismatched_keys_are_refused(
    make: Callable[[], PrivateKeyTypes], alg: str, reason: str
) -> None:
    with pytest.raises(BadKeyRing, match=reason):
        one_key(make(), alg)


@pytest.mark.parametrize(
    "pem",
    [
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        '-----BEGIN OCT-----\n{"kty":"oct","k":"AAAA"}\n-----END OCT-----',
        P256.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
        pem_of(P256, password=b"correct horse"),
    ],
    ids=["garbage", "oct", "public", "encrypted"],
)
def test_auth_07_what_is_no_private_key_is_refused(pem: str) -> None:
    with pytest.raises(BadKeyRing, match="unencrypted private PEM key"):
        KeyRing.from_pem(pem, metadata(("only", "ES256", "active")))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '[{"kid":"a","alg":"ES256"}]',
        '[{"kid":"a","alg":"ES256","state":"active","k":"x"}]',
        '[{"kid":"a","alg":"ES256","state":"retired"}]',
        '[{"kid":1,"alg":"ES256","state":"active"}]',
        '[{"kid":"../a","alg":"ES256","state":"active"}]',
        '[{"kid":"","alg":"ES256","state":"active"}]',
        '[{"kid":"a\\u0000","alg":"ES256","state":"active"}]',
    ],
)
def test_auth_09_bad_metadata_is_refused(text: str) -> None:
    with pytest.raises(BadKeyRing, match="metadata"):
        KeyRing.from_pem(pem_of(P256), text)


def test_auth_09_a_ring_names_as_many_keys_as_it_holds() -> None:
    entries = metadata(("a", "ES256", "active"), ("b", "ES384", "next"))
    with pytest.raises(BadKeyRing, match="different numbers"):
        KeyRing.from_pem(pem_of(P256), entries)
    both = KeyRing.from_pem(f"{pem_of(P256)}\n{pem_of(P384)}", entries)
    assert [key.kid for key in both.keys] == ["a", "b"]
    assert both.active.kid == "a"
    assert both.find("b") is both.keys[1]
    assert both.find("c") is None


def test_auth_09_exactly_one_key_is_active_and_a_bad_ring_changes_nothing() -> None:
    active, other = SigningKey.generate(), SigningKey.generate(KeyState.NEXT)
    ring = KeyRing([active])
    for bad in (
        [],
        [other],
        [active, other.in_state(KeyState.ACTIVE)],
        [active, active.in_state(KeyState.RETIRING)],
    ):
        with pytest.raises(BadKeyRing):
            ring.replace(bad)
        assert ring.keys == (active,)
        assert ring.active is active


@pytest.mark.parametrize("kid", ["", "a b", "a/b", "a.pem", "x" * 65, "\u00e9"])
def test_auth_09_a_kid_can_name_a_file(kid: str) -> None:
    with pytest.raises(BadKeyRing, match="kid"):
        SigningKey(kid, "ES256", KeyState.ACTIVE, P256)


def test_auth_09_the_jwks_publishes_every_state_and_no_private_number() -> None:
    keys = [
        SigningKey("a", "ES256", KeyState.ACTIVE, P256),
        SigningKey("b", "ES384", KeyState.NEXT, P384),
        SigningKey("c", "RS256", KeyState.RETIRING, RSA),
    ]
    document = KeyRing(keys).jwks()

    assert [jwk["kid"] for jwk in document["keys"]] == ["a", "b", "c"]
    assert {name for jwk in document["keys"] for name in jwk} == {
        *("kid", "alg", "use", "kty"),
        *("crv", "x", "y"),
        *("n", "e"),
    }
    published = jwt.PyJWKSet.from_dict(json.loads(json.dumps(document)))
    for key, jwk in zip(keys, published.keys, strict=True):
        assert jwk.algorithm_name == key.alg
        assert jwk.key.public_numbers() == key.public.public_numbers()


def test_auth_09_coordinates_keep_their_leading_zeros() -> None:
    # About one key in 128 has a coordinate that begins with a zero byte.
    private = next(
        private
        for number in range(1, 10_000)
        if (private := ec.derive_private_key(number, ec.SECP256R1()))
        .public_key()
        .public_numbers()
        .x.bit_length()
        <= 248
    )
    jwk = SigningKey("a", "ES256", KeyState.ACTIVE, private).jwk()
    assert [len(base64.urlsafe_b64decode(jwk[name] + "=")) for name in "xy"] == [32, 32]


def test_a_generated_key_is_named_by_its_thumbprint() -> None:
    key = SigningKey.generate()
    jwk = key.jwk()
    canonical = f'{{"crv":"P-256","kty":"EC","x":"{jwk["x"]}","y":"{jwk["y"]}"}}'
    digest = hashlib.sha256(canonical.encode()).digest()
    assert key.kid == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_phi_07_no_repr_shows_a_private_key() -> None:
    key = SigningKey("a", "ES256", KeyState.ACTIVE, P256)
    assert repr(key) == "SigningKey(kid='a', alg='ES256', state=<KeyState.ACTIVE: 'active'>)"
    assert "SigningKey" not in repr(KeyRing([key]))


def test_a_development_ring_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    directory = tmp_path / "keys" / "tokens"
    made = KeyRing.load_or_create(directory)

    assert KeyRing.load_or_create(directory).jwks() == made.jwks()
    assert {entry.name for entry in directory.iterdir()} == {RING_FILE, f"{made.active.kid}.pem"}
    assert {entry.stat().st_mode & 0o777 for entry in directory.iterdir()} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700


def test_of_two_processes_that_make_a_ring_the_second_takes_the_firsts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = KeyRing.load_or_create(tmp_path)
    # The second process looked before the first had written.
    monkeypatch.setattr(Path, "exists", lambda _path: False)

    assert KeyRing.load_or_create(tmp_path).jwks() == first.jwks()
    assert {entry.name for entry in tmp_path.iterdir()} == {RING_FILE, f"{first.active.kid}.pem"}


def test_auth_09_a_saved_rotation_is_what_another_process_loads(tmp_path: Path) -> None:
    ring = KeyRing.load_or_create(tmp_path)
    old, new = ring.active, SigningKey.generate()
    ring.replace([old.in_state(KeyState.RETIRING), new])
    ring.save(tmp_path)
    ring.save(tmp_path)

    loaded = KeyRing.load(tmp_path)
    assert loaded.active.kid == new.kid
    assert loaded.jwks() == ring.jwks()
    assert [key.state for key in loaded.keys] == [KeyState.RETIRING, KeyState.ACTIVE]


def test_a_ring_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadKeyRing, match="cannot be read: No such file"):
        KeyRing.load(tmp_path)
    (tmp_path / RING_FILE).write_text(metadata(("a", "ES256", "active")))
    with pytest.raises(BadKeyRing, match="cannot be read: No such file"):
        KeyRing.load(tmp_path)


def test_a_failed_save_leaves_the_old_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing.load_or_create(tmp_path)
    before = ring.jwks()
    ring.replace([ring.active.in_state(KeyState.RETIRING), SigningKey.generate()])

    def fails(_keys: object) -> bytes:
        raise OSError("the disk is full")

    monkeypatch.setattr(keyring, "_metadata", fails)
    with pytest.raises(OSError, match="full"):
        ring.save(tmp_path)
    assert KeyRing.load(tmp_path).jwks() == before
