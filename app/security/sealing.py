"""Authenticated encryption of single cells, the keys around it, and blind indexes (PHI-01 to 04).

A root key wraps an organization's key, which wraps its data keys, which seal cells: AES-256-GCM
throughout. Everything is bound to where it belongs: a sealed cell to its organization, table,
column and row, a wrapped key to its organization and its own id. What was moved or changed by one
bit does not open.

    sealed cell   0x01 | key_id (16) | nonce (12) | ciphertext | tag (16)
    wrapped key   0x01 | nonce (12) | ciphertext (32) | tag (16)

Nothing here reads a database or a clock, and no `repr` shows more than ids (PHI-07).
"""

import hmac
import os
import stat
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Protocol, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from typing_extensions import override

from app.security import keyfiles

KEY_BYTES: Final = 32

_DOMAIN: Final = b"sw1"
_VERSION: Final = b"\x01"
_NONCE: Final = 12
_TAG: Final = 16
_ID: Final = slice(1, 17)
_BODY: Final = 17 + _NONCE
_SHORTEST: Final = _BODY + _TAG


class Unsealable(Exception):
    """A cell or a key does not open: it was changed, moved, or its key is gone.

    Says no more, since whatever is inside is not ours to repeat.
    """

    def __init__(self) -> None:
        super().__init__("unsealable")


class BadRootKey(ValueError):
    """A root key cannot be used; the sentence says what to change."""


class Cell(NamedTuple):
    """The place in the database that a sealed text belongs to."""

    table: str
    column: str
    row_id: UUID


def key_id_of(blob: bytes) -> UUID:
    """The id of the data key that sealed a cell; raises Unsealable for what is no sealed cell."""
    if len(blob) < _SHORTEST or blob[:1] != _VERSION:
        raise Unsealable
    return UUID(bytes=blob[_ID])


class DataKey:
    """Seals and unseals the cells of one participant, or of an organization for one purpose.

    `sealed` counts the seals made with this object; the vault settles them with the database,
    so that no key comes near the number at which random nonces could repeat.
    """

    __slots__ = ("_aad_head", "_aad_tail", "_aead", "key_id", "organization_id", "sealed")

    def __init__(self, organization_id: UUID, key_id: UUID, key: bytes) -> None:
        self.organization_id = organization_id
        self.key_id = key_id
        self.sealed = 0
        self._aead = AESGCM(_checked(key))
        self._aad_head = _framed(_DOMAIN, organization_id.bytes)
        self._aad_tail = _framed(key_id.bytes)

    def seal(self, cell: Cell, text: str) -> bytes:
        """Encrypt a text for one place; sealing the same text twice gives two different blobs."""
        self.sealed += 1
        nonce = os.urandom(_NONCE)
        body = self._aead.encrypt(nonce, text.encode(), self._aad(cell))
        return b"".join((_VERSION, self.key_id.bytes, nonce, body))

    def unseal(self, cell: Cell, blob: bytes) -> str:
        """The text that was sealed for this place; raises Unsealable."""
        if blob[:1] != _VERSION or blob[_ID] != self.key_id.bytes or len(blob) < _SHORTEST:
            raise Unsealable
        try:
            return self._aead.decrypt(blob[17:_BODY], blob[_BODY:], self._aad(cell)).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise Unsealable from None

    def _aad(self, cell: Cell) -> bytes:
        table, column, row_id = cell
        place = _place(table, column)
        return b"".join((self._aad_head, place, b"\x00\x10", row_id.bytes, self._aad_tail))

    @override
    def __repr__(self) -> str:
        return f"DataKey({self.key_id})"


class OrganizationKey:
    """Wraps the data keys of one organization, and is the source of its blind indexes."""

    __slots__ = ("_key", "key_id", "organization_id")

    def __init__(self, organization_id: UUID, key_id: UUID, key: bytes) -> None:
        self.organization_id = organization_id
        self.key_id = key_id
        self._key = _checked(key)

    def wrap(self, data_key_id: UUID, key: bytes) -> bytes:
        """Wrap a data key; what comes back may lie in the database."""
        return _wrap(self._key, key, self._aad(data_key_id))

    def unwrap(self, data_key_id: UUID, wrapped: bytes) -> DataKey:
        """The data key; raises Unsealable when it belongs elsewhere or was changed."""
        key = _unwrap(self._key, wrapped, self._aad(data_key_id))
        return DataKey(self.organization_id, data_key_id, key)

    def index_key(self) -> bytes:
        """The key of the organization's blind indexes."""
        return _derived(self._key, "blind-index")

    def _aad(self, data_key_id: UUID) -> bytes:
        ids = (self.organization_id.bytes, data_key_id.bytes, self.key_id.bytes)
        return _framed(_DOMAIN, b"data_key", *ids)

    @override
    def __repr__(self) -> str:
        return f"OrganizationKey({self.key_id})"


class RootKey(Protocol):
    """A key that never leaves its provider: a file in development, a KMS or a vault elsewhere.

    `id` is stored beside what it wrapped. `wrap` and `unwrap` may travel a network; `derive` is
    called while the process starts.
    """

    @property
    def id(self) -> str: ...

    async def wrap(self, organization_id: UUID, key_id: UUID, key: bytes) -> bytes:
        """Wrap an organization's key."""
        ...

    async def unwrap(self, organization_id: UUID, key_id: UUID, wrapped: bytes) -> bytes:
        """The organization's key; raises Unsealable."""
        ...

    def derive(self, purpose: str) -> bytes:
        """32 bytes that only this root key gives, and always the same for a purpose."""
        ...


def read_private(path: Path) -> bytes:
    """What is in a key file; raises BadRootKey when others could read it too."""
    try:
        mode, content = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise BadRootKey(f"The root key cannot be read: {error.strerror}.") from None
    if stat.S_IMODE(mode) & 0o077:
        raise BadRootKey("Others can read the root key: set the file's mode to 0600.")
    return content


class LocalRootKey:
    """A root key in a file that only its owner may read."""

    __slots__ = ("_key", "id")

    def __init__(self, key: bytes) -> None:
        self._key = _checked(key)
        # A digest of 256 random bits gives nothing away, and needs no list of names beside it.
        self.id = f"local-{sha256(_framed(_DOMAIN, b'root', key)).hexdigest()[:16]}"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read 32 bytes; raises BadRootKey when others could read them too."""
        key = read_private(path)
        if len(key) != KEY_BYTES:
            raise BadRootKey(f"The root key must be a file of {KEY_BYTES} random bytes.")
        return cls(key)

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Read the file, and draw a key when there is none: for development.

        The file appears with its content, so that of two processes that start at once the second
        finds the first's key.
        """
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
            keyfiles.write_new(fresh, os.urandom(KEY_BYTES))
            try:
                os.link(fresh, path)
            except FileExistsError:
                return cls.load(path)
            finally:
                fresh.unlink()
        return cls.load(path)

    async def wrap(self, organization_id: UUID, key_id: UUID, key: bytes) -> bytes:
        """Wrap an organization's key."""
        return _wrap(self._key, key, _root_aad(organization_id, key_id))

    async def unwrap(self, organization_id: UUID, key_id: UUID, wrapped: bytes) -> bytes:
        """The organization's key; raises Unsealable."""
        return _unwrap(self._key, wrapped, _root_aad(organization_id, key_id))

    def derive(self, purpose: str) -> bytes:
        """32 bytes that only this root key gives, and always the same for a purpose."""
        return _derived(self._key, purpose)

    @override
    def __repr__(self) -> str:
        return f"LocalRootKey({self.id})"


class Lookups(NamedTuple):
    """What is looked up by, and must stay the same when the root key is replaced."""

    index_key: bytes
    """Of the indexes that span organizations: where a sign-in looks for its account."""

    cursor_key: bytes
    """What signs cursors: the same in every process that shares the root key."""

    @classmethod
    def of(cls, root: RootKey) -> Self:
        """What a deployment's first root key gives."""
        return cls(root.derive("global-index"), root.derive("cursor"))

    @override
    def __repr__(self) -> str:
        return "Lookups()"


class RootKeys:
    """The root keys of a deployment, the oldest first.

    The last wraps. All unwrap what names them, so that a new root key is added, everything is
    wrapped anew, and the old one is taken away without a request failing (PHI-05). The first
    gives the lookups, unless they are given: then it can be taken away too.
    """

    __slots__ = ("_by_id", "_reread", "_wrapping", "lookups")

    def __init__(
        self,
        keys: Sequence[RootKey],
        *,
        lookups: Lookups | None = None,
        reread: Callable[[], Sequence[RootKey] | None] | None = None,
    ) -> None:
        """`reread` gives what the keys are now if that has changed. Raises BadRootKey."""
        self._reread = reread
        self.replace(keys)
        self.lookups = lookups or Lookups.of(keys[0])

    def replace(self, keys: Sequence[RootKey]) -> None:
        """Take over changed keys; the lookups stay. Raises BadRootKey, and keeps the old ones."""
        if not keys:
            raise BadRootKey("There is no root key.")
        self._by_id, self._wrapping = {key.id: key for key in keys}, keys[-1]

    def refresh(self) -> None:
        """Take over what was changed where the keys came from. Raises BadRootKey."""
        if self._reread is not None and (keys := self._reread()) is not None:
            self.replace(keys)

    @property
    def wrapping_id(self) -> str:
        """The id of the root key that wraps from now on."""
        return self._wrapping.id

    async def wrap(self, organization_id: UUID, key_id: UUID, key: bytes) -> bytes:
        """Wrap an organization's key with the newest root key."""
        return await self._wrapping.wrap(organization_id, key_id, key)

    async def unwrap(
        self, root_key_id: str, organization_id: UUID, key_id: UUID, wrapped: bytes
    ) -> bytes:
        """The organization's key; raises Unsealable, also when its root key is not here.

        One that is unknown may have begun to wrap in another process a moment ago.
        """
        if root_key_id not in self._by_id:
            self.refresh()
        root = self._by_id.get(root_key_id)
        if root is None:
            raise Unsealable
        return await root.unwrap(organization_id, key_id, wrapped)

    @override
    def __repr__(self) -> str:
        return f"RootKeys({', '.join(self._by_id)})"


def blind_index(key: bytes, purpose: str, normalized: str) -> bytes:
    """Where a value can be looked up without being readable: HMAC-SHA-256 of it (PHI-04).

    The purpose keeps a telephone number from matching an e-mail address. Never use it alone for
    a value of which there are few, such as a date of birth: whoever has the key tries them all.
    """
    message = _framed(purpose.encode()) + normalized.encode("utf-8", "surrogatepass")
    return hmac.digest(key, message, "sha256")


def normalize_email(email: str) -> str:
    """One spelling for every way in which a keyboard writes one address.

    Case is folded in the local part too: no mail provider of note tells `Ann@` from `ann@`, and
    people write both.
    """
    folded = unicodedata.normalize("NFKC", email).strip().casefold()
    return unicodedata.normalize("NFKC", folded)


def normalize_phone(phone: str) -> str:
    """A number in E.164 with its decoration taken off: `+1 (555) 010-0199` is `+15550100199`."""
    plain = unicodedata.normalize("NFKC", phone).strip()
    digits = "".join(str(unicodedata.decimal(sign)) for sign in plain if sign.isdecimal())
    return f"+{digits}" if plain.startswith("+") else digits


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes")
    return key


def _framed(*parts: bytes) -> bytes:
    """Each part behind its length, so that no two lists of parts give the same bytes."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


@lru_cache(maxsize=1_024)
def _place(table: str, column: str) -> bytes:
    """The schema's share of a cell's AAD: as many as there are sealed columns."""
    return _framed(table.encode(), column.encode())


def _root_aad(organization_id: UUID, key_id: UUID) -> bytes:
    return _framed(_DOMAIN, b"organization_key", organization_id.bytes, key_id.bytes)


def _wrap(wrapping: bytes, key: bytes, aad: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return _VERSION + nonce + AESGCM(wrapping).encrypt(nonce, _checked(key), aad)


def _unwrap(wrapping: bytes, wrapped: bytes, aad: bytes) -> bytes:
    nonce, body = wrapped[1 : 1 + _NONCE], wrapped[1 + _NONCE :]
    if wrapped[:1] != _VERSION or len(body) != KEY_BYTES + _TAG:
        raise Unsealable
    try:
        return AESGCM(wrapping).decrypt(nonce, body, aad)
    except InvalidTag:
        raise Unsealable from None


def _derived(key: bytes, purpose: str) -> bytes:
    """HKDF-SHA-256 (RFC 5869): an index key gives the key it came from away to nobody."""
    info = _framed(_DOMAIN, purpose.encode())
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)
