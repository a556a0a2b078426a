"""What an operator does next to replace a key, and when (AUTH-09, PHI-05).

A replacement is three steps with a rest between them, in which every process reads what the step
before has changed. Each call does the one step that is due, so that calling it again, by hand or
by a timer, brings a replacement to its end, also after a crash.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from app.core import clock
from app.security import keyfiles
from app.security.keyfiles import REREAD_SECONDS
from app.security.keyring import KeyRing, KeyState, SigningKey
from app.security.rootfiles import RootFiles, RootState
from app.security.tokens import LEEWAY, MAX_LIFETIME

NEXT_FOR: Final = timedelta(minutes=10)
"""How long a signing key is published before it signs: clients keep the JWKS for five minutes."""

RETIRING_FOR: Final = MAX_LIFETIME + LEEWAY + timedelta(minutes=1)
"""How long it verifies after it signed, until its last token has expired everywhere."""

ROOT_RESTS_FOR: Final = timedelta(minutes=1)
"""Much longer than any process takes to read the root keys anew."""


class TooEarly(Exception):
    """The step before has not reached everybody yet."""

    def __init__(self, what: str, until: datetime) -> None:
        super().__init__(f"{what}: come back at {_shown(until)}.")
        self.until = until


class Unfinished(Exception):
    """Some of a step's work is left; the same step does it."""


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """What became of the organizations' keys."""

    anew: int
    left: int
    """Organizations whose keys were in use, or name a root key that is not here."""


def described(root: Path, ring: Path) -> list[str]:
    """A line for each key: its kind, its name, where it stands. Raises BadRootKey, BadKeyRing."""
    roots = [f"root     {key.id:43}  {state}" for state, key in RootFiles(root).states().items()]
    signing = [
        f"signing  {key.kid:43}  {key.state}{'' if key.since is None else _since(key.since)}"
        for key in KeyRing.load(ring).keys
    ]
    return [*roots, *signing]


def _since(instant: datetime) -> str:
    return f" since {_shown(instant)}"


def turn_ring(directory: Path, *, at_once: bool = False) -> str:
    """Do what is due to replace the key that signs; answers with a sentence for the operator.

    `at_once` does not wait, for a key that somebody else may have. Raises TooEarly, BadKeyRing
    and Busy.
    """
    with keyfiles.turning(directory):
        ring, now = KeyRing.load(directory), clock.wall()
        by_state = {key.state: key for key in ring.keys}
        old = by_state.get(KeyState.RETIRING)
        fresh = by_state.get(KeyState.NEXT)
        if old is not None:
            _wait(old, RETIRING_FOR, now, f"{old.kid} may have signed tokens", at_once=at_once)
            return _retire(ring, old, directory)
        if fresh is not None:
            _wait(fresh, NEXT_FOR, now, f"{fresh.kid} is not known to all", at_once=at_once)
            return _activate(ring, fresh, directory, now)
        fresh = SigningKey.generate(KeyState.NEXT, now)
        _save(ring, [*ring.keys, fresh], directory)
        return (
            f"{fresh.kid} is published, and will sign. Processes read it within"
            f" {REREAD_SECONDS:.0f} seconds, clients within minutes. Run this again at"
            f" {_shown(now + NEXT_FOR)} or later."
        )


def _activate(ring: KeyRing, fresh: SigningKey, directory: Path, now: datetime) -> str:
    old = ring.active
    signing, leaving = (
        fresh.in_state(KeyState.ACTIVE, now),
        old.in_state(KeyState.RETIRING, now),
    )
    _save(ring, [signing, leaving], directory)
    return (
        f"{fresh.kid} signs from now on; tokens of {old.kid} are good until they expire. Run this"
        f" again at {_shown(now + RETIRING_FOR)} or later."
    )


def _retire(ring: KeyRing, old: SigningKey, directory: Path) -> str:
    _save(ring, [key for key in ring.keys if key is not old], directory)
    keyfiles.remove(directory / f"{old.kid}.pem")
    return f"{old.kid} is gone, and its tokens are refused. The key has been replaced."


def _save(ring: KeyRing, keys: Sequence[SigningKey], directory: Path) -> None:
    ring.replace(keys)
    ring.save(directory)


def _wait(key: SigningKey, rest: timedelta, now: datetime, what: str, *, at_once: bool) -> None:
    """A key of which nobody says since when it stands there rests from now on, for all we know."""
    until = (key.since or now) + rest
    if now < until and not at_once:
        raise TooEarly(what, until)


async def turn_root(path: Path, rewrap: Callable[[], Awaitable[Rewrapped]]) -> str:
    """Do what is due to replace the root key; answers with a sentence for the operator.

    `rewrap` wraps with the newest root key whatever is not wrapped with it, as far as it can. It
    may be called again. Raises TooEarly, Unfinished, BadRootKey and Busy.
    """
    with keyfiles.turning(path.parent):
        files, now = RootFiles(path), clock.wall()
        keys = files.states()
        wrapping, old = keys[RootState.WRAPPING], keys.get(RootState.RETIRING)
        if RootState.NEXT in keys:
            _rest(files, RootState.NEXT, now, "Not every process knows the next root key")
            files.activate()
            return await _wrap_anew(rewrap, files, keys[RootState.NEXT].id)
        if old is None:
            files.publish()
            fresh = files.states()[RootState.NEXT]
            return (
                f"{fresh.id} is published, and will wrap. Processes read it within"
                f" {REREAD_SECONDS:.0f} seconds. Run this again at"
                f" {_shown(now + ROOT_RESTS_FOR)} or later. Backups made until then need"
                f" {wrapping.id}: put a copy of {path} where they are."
            )
        # A process that had not looked yet may have made an organization under the old key.
        await _all_anew(rewrap)
        _rest(files, RootState.RETIRING, now, f"A process may still wrap with {old.id}")
        files.retire()
        return f"Nothing in the database names {old.id}, which is gone. It has been replaced."


async def _wrap_anew(
    rewrap: Callable[[], Awaitable[Rewrapped]], files: RootFiles, fresh: str
) -> str:
    anew = await _all_anew(rewrap)
    until = files.since(RootState.RETIRING) + ROOT_RESTS_FOR
    return (
        f"{fresh} wraps from now on, and {anew} keys of organizations were wrapped anew."
        f" Run this again at {_shown(until)} or later."
    )


async def _all_anew(rewrap: Callable[[], Awaitable[Rewrapped]]) -> int:
    done = await rewrap()
    if done.left:
        raise Unfinished(
            f"{done.anew} keys of organizations were wrapped anew, and {done.left} organizations"
            " are left: their keys are in use, or name a root key that is not here. Run this again."
        )
    return done.anew


def _rest(files: RootFiles, state: RootState, now: datetime, what: str) -> None:
    until = files.since(state) + ROOT_RESTS_FOR
    if now < until:
        raise TooEarly(what, until)


def _shown(instant: datetime) -> str:
    """The first full second that is not before it: who comes back then is not too early."""
    return clock.render((instant + timedelta(microseconds=999_999)).replace(microsecond=0))
