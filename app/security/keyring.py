"""The keys that sign access tokens, and their rotation (AUTH-07, AUTH-09).

A key is published as `next`, signs as `active`, and stays `retiring` until the last token that it
signed has expired. All three verify and stand in the JWKS; exactly one signs. A process that read
its ring from a directory takes over what is changed there: within seconds, and at once when a
token names a key that it does not know.

On disk a ring is a directory: `ring.json` lists `{kid, alg, state, since}`, and each key is
`<kid>.pem`. `since` says when the key came into its state; a ring from elsewhere may lack it.
"""

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum, unique
from pathlib import Path
from typing import Final, Self, TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.core import clock
from app.security import keyfiles

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

RING_FILE: Final = "ring.json"
MIN_RSA_BITS: Final = 3_072
_LOOK_AGAIN_SECONDS: Final = 1.0
"""How often unknown names may have the directory read: whoever sends tokens chooses names."""

_CURVES: Final[Mapping[str, tuple[str, str]]] = {
    "secp256r1": ("ES256", "P-256"),
    "secp384r1": ("ES384", "P-384"),
}
_KID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PEM_BLOCK: Final = re.compile(r"-----BEGIN [^-]+-----.+?-----END [^-]+-----", re.DOTALL)


class BadKeyRing(ValueError):
    """The ring cannot be used; the sentence says what to change, and repeats no key."""


@unique
class KeyState(StrEnum):
    """Where a key stands in its rotation."""

    NEXT = "next"
    ACTIVE = "active"
    RETIRING = "retiring"


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """One key of the ring. Its `repr` shows no key material (PHI-07)."""

    kid: str
    alg: str
    state: KeyState
    private: PrivateKey = field(repr=False)
    since: datetime | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if _KID.fullmatch(self.kid) is None:
            raise BadKeyRing("A kid has 1 to 64 characters of A-Z a-z 0-9 _ -.")
        if self.alg != _algorithm(self.private):
            raise BadKeyRing(f"The key {self.kid} is not a key for the algorithm it names.")

    @classmethod
    def generate(cls, state: KeyState = KeyState.ACTIVE, since: datetime | None = None) -> Self:
        """Draw an ES256 key, named by its thumbprint (RFC 7638)."""
        private = ec.generate_private_key(ec.SECP256R1())
        kid = _thumbprint(_public_members(private.public_key()))
        return cls(kid, "ES256", state, private, since)

    def in_state(self, state: KeyState, since: datetime | None = None) -> Self:
        """The same key, one step further in its rotation."""
        return replace(self, state=state, since=since)

    @property
    def public(self) -> PublicKey:
        """What others verify with."""
        return self.private.public_key()

    def jwk(self) -> dict[str, str]:
        """The public key as RFC 7517 writes it."""
        members = _public_members(self.public)
        return {**members, "kid": self.kid, "alg": self.alg, "use": "sig"}

    def public_pem(self) -> bytes:
        """The public key, for a library that reads keys from text."""
        return self.public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def pem(self) -> bytes:
        """The private key, for the file that only its owner may read."""
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


class KeyRing:
    """The keys of this process: one that signs, and all that verify."""

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        self._keys: Mapping[str, SigningKey] = {}
        self._active: SigningKey
        self._directory: Path | None = None
        self._seen: keyfiles.Signature = ()
        self._looked_at = clock.monotonic()
        self.replace(keys)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read a ring's directory; raises BadKeyRing with what to change."""
        seen = keyfiles.signature(directory / RING_FILE)
        ring = cls(_read(directory))
        ring._directory, ring._seen = directory, seen
        return ring

    @classmethod
    def from_pem(cls, pem: str, metadata: str) -> Self:
        """Read a ring from one text of PEM blocks and the JSON that `ring.json` would hold.

        For deployments that keep secrets in the environment; raises BadKeyRing.
        """
        entries, blocks = _entries(metadata), _PEM_BLOCK.findall(pem)
        if len(entries) != len(blocks):
            raise BadKeyRing("The metadata and the PEM text name different numbers of keys.")
        return cls(_key(e, b.encode()) for e, b in zip(entries, blocks, strict=True))

    @classmethod
    def load_or_create(cls, directory: Path) -> Self:
        """Read a ring's directory, and begin one when there is none: for development."""
        if not (directory / RING_FILE).exists():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create(directory)
        return cls.load(directory)

    def replace(self, keys: Iterable[SigningKey]) -> None:
        """Take over a changed ring; raises BadKeyRing and keeps the old one when it is bad."""
        ring = list(keys)
        by_kid = {key.kid: key for key in ring}
        active = [key for key in ring if key.state is KeyState.ACTIVE]
        if len(by_kid) != len(ring):
            raise BadKeyRing("Two keys of the ring have the same kid.")
        if len(active) != 1:
            raise BadKeyRing("Exactly one key of the ring must be active.")
        self._keys, self._active = by_kid, active[0]

    def refresh(self) -> None:
        """Take over what was changed in the ring's directory; raises BadKeyRing as `replace` does.

        A ring that was put together elsewhere has no directory, and stays as it is.
        """
        if self._directory is None:
            return
        self._looked_at = clock.monotonic()
        seen = keyfiles.signature(self._directory / RING_FILE)
        if seen != self._seen:
            self.replace(_read(self._directory))
            self._seen = seen

    @property
    def active(self) -> SigningKey:
        """The key that signs."""
        return self._active

    @property
    def keys(self) -> Sequence[SigningKey]:
        """Every key that verifies."""
        return tuple(self._keys.values())

    def find(self, kid: str) -> SigningKey | None:
        """The key of that name; None once it has left the ring.

        A name that is new here may be one that another process signs with already.
        """
        key = self._keys.get(kid)
        if key is None and clock.monotonic() - self._looked_at >= _LOOK_AGAIN_SECONDS:
            with suppress(BadKeyRing):  # who looks every few seconds says so
                self.refresh()
            key = self._keys.get(kid)
        return key

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The document at `/.well-known/jwks.json`."""
        return {"keys": [key.jwk() for key in self._keys.values()]}

    def save(self, directory: Path) -> None:
        """Write the ring, so that another process finds either the old ring or the new."""
        for key in self._keys.values():
            if not (directory / f"{key.kid}.pem").exists():
                keyfiles.write_new(directory / f"{key.kid}.pem", key.pem())
        keyfiles.write_over(directory / RING_FILE, _metadata(self.keys))


def _create(directory: Path) -> None:
    """Begin a ring. Of two processes that start at once, the second finds the first's."""
    key = SigningKey.generate(since=clock.wall())
    keyfiles.write_new(directory / f"{key.kid}.pem", key.pem())
    fresh = directory / f".{RING_FILE}.{key.kid}"
    keyfiles.write_new(fresh, _metadata([key]))
    try:
        os.link(fresh, directory / RING_FILE)
    except FileExistsError:
        (directory / f"{key.kid}.pem").unlink()
    finally:
        fresh.unlink()


def _read(directory: Path) -> list[SigningKey]:
    try:
        entries = _entries((directory / RING_FILE).read_text("utf-8"))
        return [_key(e, (directory / f"{e['kid']}.pem").read_bytes()) for e in entries]
    except OSError as error:
        raise BadKeyRing(f"The key ring cannot be read: {error.strerror}.") from None


def _metadata(keys: Sequence[SigningKey]) -> bytes:
    return json.dumps([_entry(key) for key in keys], indent=2).encode()


def _entry(key: SigningKey) -> dict[str, str]:
    entry = {"kid": key.kid, "alg": key.alg, "state": key.state.value}
    return entry if key.since is None else {**entry, "since": clock.render(key.since)}


def _entries(metadata: str) -> list[dict[str, str]]:
    try:
        entries = json.loads(metadata)
    except ValueError:
        raise BadKeyRing("The metadata of the key ring is not JSON.") from None
    if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
        raise BadKeyRing("The metadata is a list of objects with kid, alg and state.")
    return entries


def _is_entry(entry: object) -> bool:
    """Whether this is an entry; the kid will name a file, and may name no other."""
    return (
        isinstance(entry, dict)
        and entry.keys() - {"since"} == {"kid", "alg", "state"}
        and all(isinstance(value, str) for value in entry.values())
        and _KID.fullmatch(entry["kid"]) is not None
        and entry["state"] in set(KeyState)
        and ("since" not in entry or _instant(entry["since"]) is not None)
    )


def _instant(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None


def _key(entry: Mapping[str, str], pem: bytes) -> SigningKey:
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise BadKeyRing(f"The key {entry['kid']} is not an unencrypted private PEM key.") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise BadKeyRing(f"The key {entry['kid']} is neither an EC nor an RSA key.")
    since = _instant(entry.get("since", ""))
    return SigningKey(entry["kid"], entry["alg"], KeyState(entry["state"]), private, since)


def _algorithm(private: PrivateKey) -> str:
    """The one algorithm that a key is for; a key never chooses among several."""
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size < MIN_RSA_BITS:
            raise BadKeyRing(f"An RSA key needs {MIN_RSA_BITS} bits.")
        return "RS256"
    if private.curve.name not in _CURVES:
        raise BadKeyRing("An EC key must be on P-256 or P-384.")
    return _CURVES[private.curve.name][0]


def _public_members(public: PublicKey) -> dict[str, str]:
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        exponent_size = (numbers.e.bit_length() + 7) // 8
        return {
            "e": _base64url(numbers.e.to_bytes(exponent_size, "big")),
            "kty": "RSA",
            "n": _base64url(numbers.n.to_bytes(public.key_size // 8, "big")),
        }
    point = public.public_numbers()
    size = (public.key_size + 7) // 8
    return {
        "crv": _CURVES[public.curve.name][1],
        "kty": "EC",
        "x": _base64url(point.x.to_bytes(size, "big")),
        "y": _base64url(point.y.to_bytes(size, "big")),
    }


def _thumbprint(members: Mapping[str, str]) -> str:
    """RFC 7638: SHA-256 over the required members in the order of their names."""
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return _base64url(hashlib.sha256(canonical).digest())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
