"""The key material of a process: the root keys that seal, the ring that signs, the cursor key.

Production names its files; development makes its own, once, in the data directory. What an
operator changes there is taken over while the process runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.core import logging
from app.jobs.supervision import Loop
from app.security.keyfiles import REREAD_SECONDS
from app.security.keyring import BadKeyRing, KeyRing
from app.security.rootfiles import RootFiles
from app.security.sealing import BadRootKey, LocalRootKey, RootKeys
from app.settings import Misconfigured, Settings

_log = logging.get_logger(__name__)
_UNREADABLE: Final = (BadRootKey, BadKeyRing, OSError)


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """Everything secret that a process holds besides its database credentials."""

    root: RootKeys
    ring: KeyRing
    cursor_key: bytes
    """What signs cursors: the same in every process that shares the root key."""


def root_file(settings: Settings) -> Path:
    """Where the root key lies."""
    return settings.root_key_file or settings.data_dir / "keys" / "root.key"


def ring_directory(settings: Settings) -> Path:
    """Where the ring lies that signs access tokens."""
    return settings.token_keys_dir or settings.data_dir / "keys" / "tokens"


def load(settings: Settings) -> KeyMaterial:
    """Read the keys. Raises Misconfigured with what to do."""
    try:
        if settings.root_key_file is None:
            LocalRootKey.load_or_create(root_file(settings))
        root = RootFiles(root_file(settings)).load()
        ring = (
            KeyRing.load(settings.token_keys_dir)
            if settings.token_keys_dir
            else KeyRing.load_or_create(ring_directory(settings))
        )
    except _UNREADABLE as error:
        raise Misconfigured([f"The keys cannot be read: {error}."]) from error
    return KeyMaterial(root, ring, root.lookups.cursor_key)


class Lookout:
    """Sees every few seconds whether keys have changed, and knows whether it could read them."""

    def __init__(self, **refresh: Callable[[], None]) -> None:
        """`refresh` takes over one kind of keys, and raises what it cannot read."""
        self._refresh = refresh
        self.sees = True

    @property
    def loop(self) -> Loop:
        """For the process's supervisor."""
        return Loop("keys", self.look, REREAD_SECONDS, is_critical=False)

    async def look(self) -> bool:
        """Take over what was changed; what cannot be read leaves the keys as they were."""
        sees = True
        for kind, refresh in self._refresh.items():
            try:
                refresh()
            except _UNREADABLE as error:
                sees = False
                _log.error("keys_unreadable", kind=kind, **logging.describe(error))
        self.sees = sees
        return False
