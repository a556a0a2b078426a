"""The key material of a process: the root keys that seal, the ring that signs, the cursor key.

Production names its files; development makes its own, once, in the data directory.
"""

from dataclasses import dataclass

from app.security.keyring import BadKeyRing, KeyRing
from app.security.sealing import BadRootKey, LocalRootKey, RootKeys
from app.settings import Misconfigured, Settings


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """Everything secret that a process holds besides its database credentials."""

    root: RootKeys
    ring: KeyRing
    cursor_key: bytes
    """What signs cursors: the same in every process that shares the root key."""


def load(settings: Settings) -> KeyMaterial:
    """Read the keys. Raises Misconfigured with what to do."""
    directory = settings.data_dir / "keys"
    try:
        root = (
            LocalRootKey.load(settings.root_key_file)
            if settings.root_key_file
            else LocalRootKey.load_or_create(directory / "root.key")
        )
        ring = (
            KeyRing.load(settings.token_keys_dir)
            if settings.token_keys_dir
            else KeyRing.load_or_create(directory / "tokens")
        )
    except (BadRootKey, BadKeyRing, OSError) as error:
        raise Misconfigured([f"The keys cannot be read: {error}."]) from error
    return KeyMaterial(RootKeys([root]), ring, root.derive("cursor"))
