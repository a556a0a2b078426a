import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jose.backends.cryptography_backend import CryptographyECKey

import app
from app.core.problems import Unauthenticated
from app.core.problems import render as rendered
from app.security import secrets
from app.security.keyring import KeyRing, KeyState, SigningKey
from app.security.scopes import ScopeSet
from app.security.tokens import LEEWAY, MAX_LIFETIME, AccessClaims, Issuer, Verifier
from tests.security.vectors import hostile_tokens as vectors

DOCUMENT: Final[dict[str, Any]] = json.loads(vectors.FILE.read_text("utf-8"))
HOSTILE: Final[list[dict[str, str]]] = DOCUMENT["hostile"]
GOOD: Final[list[dict[str, str]]] = DOCUMENT["good"]
ISSUER: Final = vectors.ISSUER
NOW: Final = vectors.NOW
CLAIMS: Final = AccessClaims(
    sub=UUID("0191f7a0-0000-7000-8000-000000000001"),
    organization_id=UUID("0191f7a0-0000-7000-8000-000000000002"),
    sign_in_id=UUID("0191f7a0-0000-7000-8000-000000000003"),
    version=1,
    client_id="app",
    scope=ScopeSet.parse("patient/Appointment.rs offline_access"),
    auth_time=NOW - timedelta(seconds=60),
    acr="iop:2",
    amr=("pwd", "otp"),
    jti=UUID("0191f7a0-0000-7000-8000-000000000004"),
    iat=NOW,
    exp=NOW + timedelta(seconds=300),
)
ACTIVE: Final = SigningKey("active", "ES256", KeyState.ACTIVE, vectors.ACTIVE)
RETIRING: Final = SigningKey("retiring", "ES256", KeyState.RETIRING, vectors.RETIRING)


def ring() -> KeyRing:
    return KeyRing([ACTIVE, RETIRING])


def verifier(keys: KeyRing | None = None) -> Verifier:
    return Verifier(keys or ring(), ISSUER, ISSUER)


def issued(claims: AccessClaims = CLAIMS, keys: KeyRing | None = None) -> str:
    return Issuer(keys or ring(), ISSUER, ISSUER).issue(claims, NOW)


def answer(token: object, now: datetime = NOW, by: Verifier | None = None) -> AccessClaims | bytes:
    """The claims, or everything that the caller would be told."""
    try:
        return (by or verifier()).verify(cast("str", token), now)
    except Unauthenticated as problem:
        return rendered(problem) + json.dumps([problem.headers, problem.__cause__]).encode()


REFUSAL: Final = answer("")


def lasting(seconds: int) -> AccessClaims:
    return replace(CLAIMS, exp=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("vector", GOOD, ids=lambda vector: vector["name"])
def test_auth_10_good_tokens_are_accepted(vector: dict[str, str]) -> None:
    assert isinstance(verifier().verify(vector["token"], NOW), AccessClaims)


@pytest.mark.parametrize("vector", HOSTILE, ids=lambda vector: vector["name"])
def test_auth_10_every_hostile_token_gets_the_same_answer(vector: dict[str, str]) -> None:
    assert answer(vector["token"]) == REFUSAL


def test_auth_10_the_answer_is_401_invalid_token_and_says_nothing_else() -> None:
    with pytest.raises(Unauthenticated) as refused:
        verifier().verify("", NOW)
    assert refused.value.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    assert refused.value.detail is None
    assert not refused.value.members


def test_auth_10_there_are_enough_hostile_tokens() -> None:
    assert len({vector["token"] for vector in HOSTILE}) >= 60


def test_auth_10_the_file_holds_what_its_maker_makes() -> None:
    assert [vector["name"] for vector in GOOD] == [name for name, _ in vectors.good_tokens()]
    assert [vector["name"] for vector in HOSTILE] == [name for name, _ in vectors.hostile_tokens()]


@pytest.mark.parametrize("vector", GOOD + HOSTILE, ids=lambda vector: vector["name"])
def test_auth_10_nothing_that_pyjwt_refuses_is_accepted(vector: dict[str, str]) -> None:
    if not is_accepted_by_pyjwt(vector["token"], NOW):
        assert answer(vector["token"]) == REFUSAL


def is_accepted_by_pyjwt(token: str, now: datetime) -> bool:
    """What an independent library says, with the keys named as we name them."""
    try:
        kid = jwt.get_unverified_header(token)["kid"]
        key = {"active": vectors.ACTIVE, "retiring": vectors.RETIRING}[kid]
        claims = jwt.decode(
            token,
            key.public_key(),
            algorithms=["ES256"],
            audience=ISSUER,
            issuer=ISSUER,
            options={
                "require": ["exp", "iat", "iss", "aud", "sub", "jti"],
                # It reads the machine's clock, and the tokens belong to another day.
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
        return float(claims["exp"]) + 30 > now.timestamp() >= float(claims["iat"]) - 30
    except Exception:  # noqa: BLE001 (PyJWT raises other things too on hostile tokens)
        return False


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from([*vectors.HEADER, "crit"]), json_values, max_size=1),
    st.dictionaries(st.sampled_from([*vectors.CLAIMS, "nbf"]), json_values, max_size=2),
)
def test_auth_10_no_signed_change_is_accepted_that_pyjwt_refuses(
    header: dict[str, Any], claims: dict[str, Any]
) -> None:
    token = vectors.token({**vectors.HEADER, **header}, {**vectors.CLAIMS, **claims})
    if not is_accepted_by_pyjwt(token, NOW):
        assert answer(token) == REFUSAL


@settings(deadline=None)
@given(st.data())
def test_auth_10_no_changed_letter_is_accepted(data: st.DataObject) -> None:
    token = GOOD[0]["token"]
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters())
    changed = token[:place] + letter + token[place + 1 :]
    assert changed == token or answer(changed) == REFUSAL


@settings(deadline=None)
@given(st.text() | st.binary() | st.none() | st.integers() | st.lists(st.text()))
def test_auth_10_whatever_is_no_token_gets_the_answer(noise: object) -> None:
    assert answer(noise) == REFUSAL


@pytest.mark.parametrize(
    "token",
    [
        vectors.token(b"[" * 100_000 + b"]" * 100_000),
        vectors.token(vectors.spelled(vectors.HEADER, "{", '{"x":' + "9" * 5_000 + ",")),
        vectors.with_deep_claim(100_000),
        "." * 1_000_000,
        GOOD[0]["token"].encode(),
    ],
    ids=["100,000 levels", "5,000 digits", "deep claims", "dots", "bytes"],
)
def test_auth_10_what_is_too_large_for_the_file_gets_the_answer_too(token: object) -> None:
    assert answer(token) == REFUSAL


def test_auth_10_only_one_module_imports_jose() -> None:
    imports = re.compile(r"^\s*(?:from|import)\s+jose\b", re.MULTILINE)
    root = Path(app.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if imports.search(path.read_text("utf-8"))
    }
    assert found == {"security/tokens.py"}


def test_auth_08_a_token_field_by_field() -> None:
    header, payload, _ = issued().split(".")
    assert json.loads(decoded(header)) == {"alg": "ES256", "kid": "active", "typ": "at+jwt"}
    assert json.loads(decoded(payload)) == vectors.CLAIMS
    assert verifier().verify(issued(), NOW) == CLAIMS


def decoded(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


@pytest.mark.parametrize(
    ("issuer", "audience"),
    [("https://other.example.org", ISSUER), (ISSUER, "https://other.example.org")],
)
def test_auth_08_a_token_for_somebody_else_is_refused(issuer: str, audience: str) -> None:
    token = Issuer(ring(), issuer, audience).issue(CLAIMS, NOW)
    assert answer(token) == REFUSAL
    assert answer(token, by=Verifier(ring(), issuer, audience)) == CLAIMS


@pytest.mark.parametrize(
    ("now", "is_accepted"),
    [
        (CLAIMS.exp + LEEWAY - timedelta(microseconds=1), True),
        (CLAIMS.exp + LEEWAY, False),
        (CLAIMS.iat - LEEWAY, True),
        (CLAIMS.iat - LEEWAY - timedelta(microseconds=1), False),
    ],
)
@pytest.mark.parametrize("is_remembered", [False, True])
def test_auth_08_a_token_is_good_between_its_instants(
    *, now: datetime, is_accepted: bool, is_remembered: bool
) -> None:
    by, token = verifier(), issued()
    if is_remembered:
        assert by.verify(token, NOW) == CLAIMS
    assert (answer(token, now, by) == CLAIMS) is is_accepted
    assert answer(token, NOW, by) == CLAIMS


@pytest.mark.parametrize(
    "claims",
    [
        lasting(0),
        lasting(-1),
        lasting(901),
        replace(CLAIMS, iat=NOW + timedelta(seconds=31)),
        replace(CLAIMS, auth_time=NOW + timedelta(seconds=31)),
        replace(CLAIMS, iat=NOW - timedelta(hours=2), exp=NOW - timedelta(hours=1)),
        replace(CLAIMS, version=-1),
        replace(CLAIMS, client_id=""),
        replace(CLAIMS, acr=""),
        replace(CLAIMS, amr=("x" * 255,) * 16),
    ],
)
def test_auth_08_a_token_that_would_be_refused_is_not_issued(claims: AccessClaims) -> None:
    with pytest.raises(ValueError, match=r"refused|longer"):
        issued(claims)


def test_auth_08_fifteen_minutes_are_the_longest_life() -> None:
    longest = replace(CLAIMS, exp=NOW + MAX_LIFETIME)
    assert verifier().verify(issued(longest), NOW) == longest


def test_auth_08_claims_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        CLAIMS.version = 2  # type: ignore[misc]  # that it cannot be done is what is tested


@pytest.mark.parametrize(
    ("alg", "private"),
    [
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("ES384", ec.generate_private_key(ec.SECP384R1())),
        ("RS256", rsa.generate_private_key(65537, 3_072)),
    ],
    ids=["ES256", "ES384", "RS256"],
)
def test_auth_07_every_algorithm_of_the_ring_signs_what_pyjwt_verifies(
    alg: str, private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> None:
    keys = KeyRing([SigningKey("only", alg, KeyState.ACTIVE, private)])
    token = issued(keys=keys)

    assert verifier(keys).verify(token, NOW) == CLAIMS
    claims = jwt.decode(
        token,
        private.public_key(),
        algorithms=[alg],
        audience=ISSUER,
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims == vectors.CLAIMS
    signed, _, signature = token.rpartition(".")
    for changed in (decoded(signature) + b"\0", decoded(signature)[:-1], bytes(64)):
        assert answer(f"{signed}.{vectors.encoded(changed)}", by=verifier(keys)) == REFUSAL


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_auth_11_a_token_has_one_signature_of_the_two_that_ecdsa_allows(
    curve: ec.EllipticCurve,
) -> None:
    private = ec.generate_private_key(curve)
    alg = "ES256" if curve.key_size == 256 else "ES384"
    keys = KeyRing([SigningKey("only", alg, KeyState.ACTIVE, private)])
    size, order = curve.key_size // 8, curve.group_order
    for _ in range(50):
        signed, _, signature = issued(keys=keys).rpartition(".")
        raw = decoded(signature)
        s = int.from_bytes(raw[size:], "big")
        assert s <= order // 2
        other = raw[:size] + (order - s).to_bytes(size, "big")
        assert answer(f"{signed}.{vectors.encoded(other)}", by=verifier(keys)) == REFUSAL


def test_auth_09_a_rotation_refuses_nobody_and_ends_with_the_old_key_refused() -> None:
    old = SigningKey.generate(KeyState.ACTIVE)
    new = SigningKey.generate(KeyState.NEXT)
    keys = KeyRing([old])
    issuer, by = Issuer(keys, ISSUER, ISSUER), verifier(keys)
    tokens = [issuer.issue(CLAIMS, NOW)]

    for step in (
        [old, new],
        [old.in_state(KeyState.RETIRING), new.in_state(KeyState.ACTIVE)],
    ):
        keys.replace(step)
        tokens.append(issuer.issue(replace(CLAIMS, jti=uuid4()), NOW))
        assert all(isinstance(answer(token, by=by), AccessClaims) for token in tokens)
    assert [jwt.get_unverified_header(token)["kid"] for token in tokens] == [
        old.kid,
        old.kid,
        new.kid,
    ]

    keys.replace([new.in_state(KeyState.ACTIVE)])
    assert [answer(token, by=by) == REFUSAL for token in tokens] == [True, True, False]


class Signatures:
    """Counts how often a signature is verified."""

    def __init__(self, verify: Callable[..., bool]) -> None:
        self.verified = 0
        self._verify = verify

    def count(self, key: CryptographyECKey, message: bytes, signature: bytes) -> bool:
        self.verified += 1
        return self._verify(key, message, signature)


@pytest.fixture
def signatures(monkeypatch: pytest.MonkeyPatch) -> Signatures:
    signatures = Signatures(CryptographyECKey.verify)

    def counted(key: CryptographyECKey, message: bytes, signature: bytes) -> bool:
        return signatures.count(key, message, signature)

    monkeypatch.setattr(CryptographyECKey, "verify", counted)
    return signatures


def test_auth_10_a_token_is_verified_once_and_remembered(signatures: Signatures) -> None:
    by, token = verifier(), issued()
    assert [by.verify(token, NOW) for _ in range(5)] == [CLAIMS] * 5
    assert signatures.verified == 1


def test_auth_10_a_refusal_is_not_remembered_as_anything(signatures: Signatures) -> None:
    by, forged = verifier(), vectors.token(key=vectors.FOREIGN)
    assert [answer(forged, by=by) for _ in range(3)] == [REFUSAL] * 3
    assert signatures.verified == 3


def test_auth_10_the_memory_is_bounded_and_keeps_what_is_used(signatures: Signatures) -> None:
    by = Verifier(ring(), ISSUER, ISSUER, remembered=2)
    one, two, three = (issued(replace(CLAIMS, jti=uuid4())) for _ in range(3))
    for token in (one, two, one, three):
        by.verify(token, NOW)
    assert signatures.verified == 3
    by.verify(one, NOW)
    assert signatures.verified == 3
    by.verify(two, NOW)
    assert signatures.verified == 4


def test_auth_10_a_remembered_token_dies_with_its_key() -> None:
    keys = ring()
    by, token = (
        verifier(keys),
        vectors.token({**vectors.HEADER, "kid": "retiring"}, key=vectors.RETIRING),
    )
    assert by.verify(token, NOW) == CLAIMS

    # Another key under the same name is not the key that verified it.
    keys.replace([ACTIVE, SigningKey("retiring", "ES256", KeyState.RETIRING, vectors.FOREIGN)])
    assert answer(token, by=by) == REFUSAL
    keys.replace([ACTIVE, RETIRING])
    assert answer(token, by=by) == CLAIMS
    keys.replace([ACTIVE])
    assert answer(token, by=by) == REFUSAL


RINGS: Final[Sequence[Sequence[SigningKey]]] = [
    [ACTIVE, RETIRING],
    [ACTIVE],
    [SigningKey("active", "ES256", KeyState.ACTIVE, vectors.FOREIGN), RETIRING],
    [SigningKey("active", "ES256", KeyState.ACTIVE, vectors.ACTIVE), RETIRING],
    [SigningKey("retiring", "ES256", KeyState.ACTIVE, vectors.ACTIVE)],
]
# Few tokens, rings and instants, so that they meet often: the first two are good.
PRESENTED: Final = [vector["token"] for vector in (*GOOD[:2], *HOSTILE[::100])]
SECONDS: Final = (0, 0, 0, 329, 330, -30, -31)
steps = st.tuples(st.sampled_from(PRESENTED), st.sampled_from(RINGS), st.sampled_from(SECONDS))


@settings(deadline=None)
@given(st.lists(steps, max_size=30))
def test_auth_10_memory_never_accepts_what_verifying_anew_refuses(
    presented: list[tuple[str, Sequence[SigningKey], int]],
) -> None:
    keys = ring()
    by = Verifier(keys, ISSUER, ISSUER, remembered=4)
    for token, changed, seconds in presented:
        keys.replace(changed)
        now = NOW + timedelta(seconds=seconds)
        assert answer(token, now, by) == answer(token, now, verifier(keys))


def test_auth_15_a_secret_is_256_random_bits_and_what_is_stored_is_its_digest() -> None:
    drawn = [secrets.new_secret() for _ in range(1_000)]
    assert len({secret for secret, _ in drawn}) == 1_000
    for secret, stored in drawn:
        assert re.fullmatch("[A-Za-z0-9_-]{43}", secret)
        assert stored == hashlib.sha256(secret.encode()).digest() == secrets.digest(secret)
        assert len(decoded(secret)) == 32


def test_auth_15_only_the_secret_itself_matches_its_digest() -> None:
    secret, stored = secrets.new_secret()
    assert secrets.matches(secrets.digest(secret), stored)
    for other in ("", secret[:-1], f"{secret}=", secret.swapcase(), "\ud800", "\0", "x" * 10_000):
        assert not secrets.matches(secrets.digest(other), stored)
