"""The root key on disk, and how another takes its place (PHI-05).

Beside the file that the settings name, a replacement puts up to three more:

    root.key            wraps the keys of every organization
    root.key.next       will wrap; processes read it beforehand, and unwrap with it already
    root.key.retiring   wrapped before; unwraps until nothing in the database names it
    root.key.lookups    what sign-ins and cursors are looked up by, which no replacement may move

Each step changes one name at once, so that whoever reads in between, and whoever goes on after a
crash, finds a state that is written here.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum, unique
from pathlib import Path
from typing import Final

from app.security import keyfiles
from app.security.sealing import (
    KEY_BYTES,
    BadRootKey,
    LocalRootKey,
    Lookups,
    RootKeys,
    read_private,
)

_LOOKUPS_BYTES: Final = 2 * KEY_BYTES


@unique
class RootState(StrEnum):
    """Where a root key stands in its replacement."""

    NEXT = "next"
    WRAPPING = "wrapping"
    RETIRING = "retiring"


class RootFiles:
    """The files of one deployment's root key."""

    def __init__(self, path: Path) -> None:
        self.wrapping = path
        self.next = path.with_name(f"{path.name}.next")
        self.retiring = path.with_name(f"{path.name}.retiring")
        self._lookups = path.with_name(f"{path.name}.lookups")
        self._seen: keyfiles.Signature = ()

    def load(self) -> RootKeys:
        """The keys, which follow what is changed here later. Raises BadRootKey."""
        keys = self._read()
        return RootKeys(keys, lookups=self._read_lookups(), reread=self._reread)

    def states(self) -> dict[RootState, LocalRootKey]:
        """Which keys there are. Raises BadRootKey."""
        places = {
            RootState.RETIRING: self.retiring,
            RootState.NEXT: self.next,
            RootState.WRAPPING: self.wrapping,
        }
        return {
            state: LocalRootKey.load(path)
            for state, path in places.items()
            if path.exists() or state is RootState.WRAPPING
        }

    def since(self, state: RootState) -> datetime:
        """When the key that is to come, or the one that goes, came into its state."""
        path = self.next if state is RootState.NEXT else self.retiring
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)

    def publish(self) -> None:
        """Draw the key that is to come. Raises BadRootKey."""
        if not self._lookups.exists():
            keyfiles.write_new(
                self._lookups, b"".join(Lookups.of(LocalRootKey.load(self.wrapping)))
            )
        keyfiles.write_new(self.next, os.urandom(KEY_BYTES))

    def activate(self) -> None:
        """Let the key that was published wrap, and keep the old one beside it.

        After a crash between the two, the old key stands under both names, and this goes on.
        """
        keyfiles.write_over(self.retiring, self.wrapping.read_bytes())
        keyfiles.move(self.next, self.wrapping)

    def retire(self) -> None:
        """Take the old key away: what it wrapped can be read by nobody any more."""
        keyfiles.remove(self.retiring)

    def _read(self) -> Sequence[LocalRootKey]:
        self._seen = self._signature()
        return list(self.states().values())

    def _reread(self) -> Sequence[LocalRootKey] | None:
        seen = self._seen
        if self._signature() == seen:
            return None
        try:
            return self._read()
        except BadRootKey:
            self._seen = seen  # so that it is tried again
            raise

    def _signature(self) -> keyfiles.Signature:
        return keyfiles.signature(self.wrapping, self.next, self.retiring)

    def _read_lookups(self) -> Lookups | None:
        if not self._lookups.exists():
            if self.next.exists() or self.retiring.exists():
                raise BadRootKey(f"{self._lookups.name} is missing beside the root key.")
            return None
        content = read_private(self._lookups)
        if len(content) != _LOOKUPS_BYTES:
            raise BadRootKey(f"The lookups must be a file of {_LOOKUPS_BYTES} bytes.")
        return Lookups(content[:KEY_BYTES], content[KEY_BYTES:])
