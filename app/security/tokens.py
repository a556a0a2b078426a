"""Access tokens: RFC 9068 JWTs, issued and verified here and nowhere else (AUTH-07 to AUTH-11).

python-jose signs and verifies, and is imported by no other module: it accepts by itself much that
must be refused, and raises much that is not a JWTError. `Verifier._read` goes through the
steps of AUTH-10 with their numbers. Whatever is wrong with a token, the caller learns one thing.
"""

import base64
import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from jose import backends, jwk, jwt
from jose.backends.base import Key
from jose.backends.cryptography_backend import CryptographyECKey, CryptographyRSAKey

from app.core import strict_json
from app.core.problems import Unauthenticated
from app.security.keyring import KeyRing, SigningKey
from app.security.scopes import ScopeSet

# Without `cryptography`, python-jose falls back to pure Python: ten times slower, and with the
# timing leak of CVE-2024-23342.
if backends.ECKey is not CryptographyECKey or backends.RSAKey is not CryptographyRSAKey:
    raise ImportError("python-jose must run on cryptography: install python-jose[cryptography]")

MAX_LENGTH: Final = 4_096
MAX_LIFETIME: Final = timedelta(seconds=900)
LEEWAY: Final = timedelta(seconds=30)

_TYPE: Final = "at+jwt"
_TYPES: Final = frozenset({_TYPE, f"application/{_TYPE}"})
_HEADER_NAMES: Final = frozenset({"alg", "typ", "kid"})
_SHAPE: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
_MAX_NAME: Final = 255
_ORDERS: Final = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": int(
        "ffffffffffffffffffffffffffffffffffffffffffffffff"
        "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        16,
    ),
}
_OPTIONS: Final = {
    "require_aud": True,
    "require_iss": True,
    "require_sub": True,
    "require_jti": True,
    # Instants are required and judged in step 6, against the `now` of the request. To require
    # them here would be to have python-jose judge them by the machine's clock.
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What an access token says: who, where, through which sign-in and application, until when.

    Ids and instants only; a token names nobody and says nothing of their care (AUTH-08).
    """

    sub: UUID
    organization_id: UUID
    sign_in_id: UUID
    version: int
    client_id: str
    scope: ScopeSet
    auth_time: datetime
    acr: str
    amr: tuple[str, ...]
    jti: UUID
    iat: datetime
    exp: datetime


class Issuer:
    """Signs with the ring's active key."""

    def __init__(self, ring: KeyRing, issuer: str, audience: str) -> None:
        self._ring, self._issuer, self._audience = ring, issuer, audience
        self._signer: tuple[SigningKey, Key] | None = None

    def issue(self, claims: AccessClaims, now: datetime) -> str:
        """Write the claims as a token; instants are kept to the second.

        Raises ValueError for claims that would be refused when presented at `now`: that is a
        mistake of the caller's, and better met here than by a person at home.
        """
        payload = self._payload(claims)
        _claims(payload, now)
        signing_key, signer = self._active()
        token = jwt.encode(
            payload,
            signer,
            algorithm=signing_key.alg,
            headers={"typ": _TYPE, "kid": signing_key.kid},
        )
        token = _with_low_s(token, signing_key)
        if len(token) > MAX_LENGTH:
            raise ValueError("the token would be longer than any verifier reads")
        return token

    def refresh(self) -> None:
        """Take over a ring that was changed on disk. Raises BadKeyRing, and keeps the old one."""
        self._ring.refresh()

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys that verify what is issued here (RFC 7517)."""
        return self._ring.jwks()

    def _active(self) -> tuple[SigningKey, Key]:
        """The signing key, prepared once for as long as it is the active one."""
        active = self._ring.active
        if self._signer is None or self._signer[0] is not active:
            self._signer = active, jwk.construct(active.pem(), active.alg)
        return self._signer

    def _payload(self, claims: AccessClaims) -> dict[str, Any]:
        return {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(claims.sub),
            "org": str(claims.organization_id),
            "sid": str(claims.sign_in_id),
            "sv": claims.version,
            "client_id": claims.client_id,
            "scope": str(claims.scope),
            "auth_time": int(claims.auth_time.timestamp()),
            "acr": claims.acr,
            "amr": list(claims.amr),
            "jti": str(claims.jti),
            "iat": int(claims.iat.timestamp()),
            "exp": int(claims.exp.timestamp()),
        }


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token that the slow path accepted, and all that may change its verdict later."""

    key: SigningKey
    claims: AccessClaims


class Verifier:
    """Reads tokens, and remembers which ones it has verified.

    One ES256 verification costs about 0.3 ms of CPU, and an app sends the same token for five
    minutes. The memory is keyed by the whole token's SHA-256, so that a token that differs in one
    bit is verified anew. What can change between two presentations, the instant and the ring, is
    checked each time; whether the sign-in still stands is the database's to say (AUTH-12).
    """

    def __init__(
        self, ring: KeyRing, issuer: str, audience: str, *, remembered: int = 8_192
    ) -> None:
        self._ring, self._issuer, self._audience = ring, issuer, audience
        self._remembered = remembered
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._verifiers: dict[str, tuple[SigningKey, Key]] = {}

    def verify(self, token: str, now: datetime) -> AccessClaims:
        """The claims of a valid token; raises Unauthenticated, alike for every cause."""
        try:
            return self._recall(token, now) or self._remember(token, now)
        except Exception:  # noqa: BLE001 (7. python-jose raises whatever a hostile token provokes)
            raise Unauthenticated(
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}
            ) from None

    def _recall(self, token: str, now: datetime) -> AccessClaims | None:
        """The claims of a token verified before, if nothing has changed that they rest on."""
        digest = _digest(token)
        verified = self._verified.get(digest)
        if verified is None:
            return None
        if self._ring.find(verified.key.kid) is not verified.key:
            del self._verified[digest]
            return None
        known = verified.claims
        _check_now(known.iat, known.exp, known.auth_time, now)
        self._verified.move_to_end(digest)
        return known

    def _remember(self, token: str, now: datetime) -> AccessClaims:
        verified = self._read(token, now)
        self._verified[_digest(token)] = verified
        if len(self._verified) > self._remembered:
            self._verified.popitem(last=False)
        return verified.claims

    def _read(self, token: object, now: datetime) -> _Verified:
        """Verify from nothing, in the order of AUTH-10; raises anything when refused."""
        # 1. The shape, before anything is decoded.
        if not isinstance(token, str) or not token.isascii() or len(token) > MAX_LENGTH:
            raise _Refused
        shape = _SHAPE.fullmatch(token)
        if shape is None:
            raise _Refused
        raw_header, raw_payload, signature = map(_decode, shape.groups())

        # 2. The header, by the strict reader. It has three names and no other: `crit`, `b64`,
        # `zip`, `enc`, `jwk`, `jku`, `x5u` and `x5c` ask for what is not done here.
        header = strict_json.loads(raw_header, max_bytes=MAX_LENGTH)
        if not isinstance(header, dict) or not header.keys() <= _HEADER_NAMES:
            raise _Refused

        # 3. The type: an ID token, a client's assertion or a state is no access token.
        if _string(header["typ"]).lower() not in _TYPES:
            raise _Refused

        # 4. The key, by its name; the algorithm is the ring's, never the token's.
        key = self._ring.find(_string(header["kid"]))
        if key is None or header["alg"] != key.alg or not _is_canonical(signature, key):
            raise _Refused

        # 5. The signature, audience, issuer and presence of claims, with a key object.
        jwt.decode(
            token,
            self._verifier(key),
            algorithms=[key.alg],
            audience=self._audience,
            issuer=self._issuer,
            options=_OPTIONS,
        )

        # 6. What python-jose does not look at.
        payload = strict_json.loads(raw_payload, max_bytes=MAX_LENGTH)
        if not isinstance(payload, dict) or payload["aud"] != self._audience:
            raise _Refused
        return _Verified(key, _claims(payload, now))

    def _verifier(self, key: SigningKey) -> Key:
        """The key as python-jose wants it, built once for each key of the ring."""
        known = self._verifiers.get(key.kid)
        if known is None or known[0] is not key:
            known = key, jwk.construct(key.public_pem(), key.alg)
            self._verifiers = {
                kid: entry
                for kid, entry in {**self._verifiers, key.kid: known}.items()
                if self._ring.find(kid) is entry[0]
            }
        return known[1]


class _Refused(ValueError):
    """The token is not accepted."""

    def __init__(self) -> None:
        super().__init__("the token is refused")


def _digest(token: str) -> bytes:
    if len(token) > MAX_LENGTH:
        raise _Refused
    return hashlib.sha256(token.encode("ascii")).digest()


def _decode(segment: str) -> bytes:
    """Base64url without padding, in the one spelling that the encoder writes (RFC 4648, 3.5)."""
    raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != segment:
        raise _Refused
    return raw


def _string(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME:
        raise _Refused
    return value


def _natural(value: object) -> int:
    # bool is an int to Python, and a float may be equal to one; neither is a NumericDate of ours.
    if type(value) is not int or value < 0:
        raise _Refused
    return value


def _uuid(value: object) -> UUID:
    parsed = UUID(_string(value))
    if str(parsed) != value:
        raise _Refused
    return parsed


def _instant(value: object) -> datetime:
    return datetime.fromtimestamp(_natural(value), UTC)


def _claims(payload: dict[str, Any], now: datetime) -> AccessClaims:
    iat, exp, auth_time = _instants(payload, now)
    if not isinstance(payload["amr"], list) or not isinstance(payload["scope"], str):
        raise _Refused
    return AccessClaims(
        sub=_uuid(payload["sub"]),
        organization_id=_uuid(payload["org"]),
        sign_in_id=_uuid(payload["sid"]),
        version=_natural(payload["sv"]),
        client_id=_string(payload["client_id"]),
        scope=ScopeSet.parse(payload["scope"]),
        auth_time=auth_time,
        acr=_string(payload["acr"]),
        amr=tuple(map(_string, payload["amr"])),
        jti=_uuid(payload["jti"]),
        iat=iat,
        exp=exp,
    )


def _instants(payload: dict[str, Any], now: datetime) -> tuple[datetime, datetime, datetime]:
    """`iat`, `exp` and `auth_time`, if a token with them may be used now."""
    if "nbf" in payload:  # never issued, so nothing here reads it
        raise _Refused
    iat, exp, auth_time = (_instant(payload[name]) for name in ("iat", "exp", "auth_time"))
    if not timedelta() < exp - iat <= MAX_LIFETIME:
        raise _Refused
    _check_now(iat, exp, auth_time, now)
    return iat, exp, auth_time


def _check_now(iat: datetime, exp: datetime, auth_time: datetime, now: datetime) -> None:
    """The part of the verdict that time changes."""
    if exp + LEEWAY <= now or max(iat, auth_time) > now + LEEWAY:
        raise _Refused


def _component_size(key: SigningKey) -> int:
    return (key.private.key_size + 7) // 8


def _is_canonical(signature: bytes, key: SigningKey) -> bool:
    """Whether the signature is the only one of its kind.

    To every ECDSA signature (r, s) belongs a second one, (r, n - s). Only the lower is issued,
    and only the lower is accepted, so that a token has one spelling.
    """
    size = _component_size(key)
    if not isinstance(key.private, ec.EllipticCurvePrivateKey):
        return len(signature) == size
    s = int.from_bytes(signature[size:], "big")
    return len(signature) == 2 * size and 0 < s <= _ORDERS[key.private.curve.name] // 2


def _with_low_s(token: str, key: SigningKey) -> str:
    """The token with the lower of its two signatures."""
    signed, _, segment = token.rpartition(".")
    signature = _decode(segment)
    if _is_canonical(signature, key) or not isinstance(key.private, ec.EllipticCurvePrivateKey):
        return token
    size = _component_size(key)
    low = _ORDERS[key.private.curve.name] - int.from_bytes(signature[size:], "big")
    lowered = signature[:size] + low.to_bytes(size, "big")
    return f"{signed}.{base64.urlsafe_b64encode(lowered).rstrip(b'=').decode()}"
