"""Keys are replaced in steps, each of which waits until everybody knows the one before."""

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from app.core import clock
from app.security import keyfiles, turning
from app.security.keyfiles import Busy
from app.security.keyring import RING_FILE, BadKeyRing, KeyRing, KeyState, SigningKey
from app.security.keys import Lookout
from app.security.rootfiles import RootFiles, RootState
from app.security.sealing import BadRootKey, LocalRootKey, RootKeys, Unsealable
from app.security.turning import Rewrapped, TooEarly, Unfinished
from app.security.vault import Vault


def states(directory: Path) -> dict[str, KeyState]:
    return {key.kid: key.state for key in KeyRing.load(directory).keys}


def backdate_ring(directory: Path, by: timedelta) -> None:
    """Let every key have stood where it stands for so long."""
    entries = json.loads((directory / RING_FILE).read_text())
    for entry in entries:
        if "since" in entry:
            since = datetime.fromisoformat(entry["since"]) - by
            entry["since"] = clock.render(since)
    (directory / RING_FILE).write_text(json.dumps(entries))


def backdate(path: Path, by: timedelta = timedelta(minutes=2)) -> None:
    at = (clock.wall() - by).timestamp()
    os.utime(path, (at, at))


# The key that signs


def test_auth_09_a_signing_key_is_replaced_in_three_steps(tmp_path: Path) -> None:
    old = KeyRing.load_or_create(tmp_path).active.kid

    turning.turn_ring(tmp_path)
    (new,) = states(tmp_path).keys() - {old}
    assert states(tmp_path) == {old: KeyState.ACTIVE, new: KeyState.NEXT}
    backdate_ring(tmp_path, turning.NEXT_FOR)

    turning.turn_ring(tmp_path)
    assert states(tmp_path) == {old: KeyState.RETIRING, new: KeyState.ACTIVE}
    backdate_ring(tmp_path, turning.RETIRING_FOR)

    turning.turn_ring(tmp_path)
    assert states(tmp_path) == {new: KeyState.ACTIVE}
    assert {path.name for path in tmp_path.iterdir()} == {RING_FILE, f"{new}.pem"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_auth_09_no_step_comes_before_its_time(tmp_path: Path) -> None:
    KeyRing.load_or_create(tmp_path)
    for rest in (turning.NEXT_FOR, turning.RETIRING_FOR):
        turning.turn_ring(tmp_path)
        before = states(tmp_path)
        with pytest.raises(TooEarly) as early:
            turning.turn_ring(tmp_path)
        backdate_ring(tmp_path, rest - timedelta(seconds=30))
        with pytest.raises(TooEarly):
            turning.turn_ring(tmp_path)

        assert states(tmp_path) == before
        assert abs(early.value.until - clock.wall() - rest) < timedelta(seconds=30)
        backdate_ring(tmp_path, timedelta(seconds=31))


def test_auth_09_a_key_of_unknown_age_rests_as_if_it_were_new(tmp_path: Path) -> None:
    ring = KeyRing([SigningKey.generate(), SigningKey.generate(KeyState.NEXT)])
    ring.save(tmp_path)
    with pytest.raises(TooEarly):
        turning.turn_ring(tmp_path)


def test_auth_09_a_key_that_leaked_is_replaced_without_waiting(tmp_path: Path) -> None:
    old = KeyRing.load_or_create(tmp_path).active.kid
    for _ in range(3):
        turning.turn_ring(tmp_path, at_once=True)
    assert old not in states(tmp_path)


def test_auth_09_the_rests_cover_every_cache_and_every_token() -> None:
    assert timedelta(minutes=10) <= turning.NEXT_FOR
    assert timedelta(seconds=900 + 30) < turning.RETIRING_FOR
    assert turning.ROOT_RESTS_FOR.total_seconds() > keyfiles.REREAD_SECONDS * 4


# What a running process makes of it


def test_auth_09_a_running_process_takes_over_a_changed_ring(tmp_path: Path) -> None:
    KeyRing.load_or_create(tmp_path)
    running = KeyRing.load(tmp_path)
    turning.turn_ring(tmp_path)
    running.refresh()
    assert len(running.jwks()["keys"]) == 2


@contextmanager
def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    """Let so many seconds pass on the clock that nobody can set."""
    now = clock.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(clock, "monotonic", lambda: now + seconds)
        yield


def test_auth_09_a_key_that_is_new_here_is_looked_for_but_not_at_every_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KeyRing.load_or_create(tmp_path)
    running = KeyRing.load(tmp_path)
    turning.turn_ring(tmp_path)
    (new,) = states(tmp_path).keys() - {running.active.kid}

    with later(monkeypatch, 0.5):
        assert running.find(new) is None
    with later(monkeypatch, 1.5):
        found = running.find(new)
    assert found is not None
    assert found.kid == new


async def test_auth_09_a_ring_that_cannot_be_read_leaves_the_old_one_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    KeyRing.load_or_create(tmp_path)
    running, before = KeyRing.load(tmp_path), (tmp_path / RING_FILE).read_text()
    lookout = Lookout(tokens=running.refresh)
    (tmp_path / RING_FILE).write_text("[")
    await lookout.look()
    assert not lookout.sees
    assert running.find("unknown") is None
    assert len(running.keys) == 1

    (tmp_path / RING_FILE).write_text(before)
    await lookout.look()
    assert lookout.sees
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["event"], each["kind"]) for each in lines] == [("keys_unreadable", "tokens")]


def test_a_ring_put_together_elsewhere_stays_as_it_is() -> None:
    ring = KeyRing([SigningKey.generate()])
    before = ring.jwks()
    ring.refresh()
    assert ring.jwks() == before


@pytest.mark.parametrize("since", ["yesterday", "2026-03-01T00:00:00", ""])
def test_auth_09_an_age_that_means_nothing_is_refused(tmp_path: Path, since: str) -> None:
    KeyRing.load_or_create(tmp_path)
    entries = json.loads((tmp_path / RING_FILE).read_text())
    (tmp_path / RING_FILE).write_text(json.dumps([{**entries[0], "since": since}]))
    with pytest.raises(BadKeyRing):
        KeyRing.load(tmp_path)


# The root key


async def nothing() -> Rewrapped:
    return Rewrapped(0, 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root.key"
    LocalRootKey.load_or_create(path)
    return path


async def test_phi_05_a_root_key_is_replaced_in_three_steps(root: Path) -> None:
    files, old = RootFiles(root), LocalRootKey.load(root)
    lookups = files.load().lookups

    await turning.turn_root(root, nothing)
    new = files.states()[RootState.NEXT]
    assert files.states().keys() == {RootState.WRAPPING, RootState.NEXT}
    assert files.load().wrapping_id == old.id
    backdate(files.next)

    await turning.turn_root(root, nothing)
    assert files.load().wrapping_id == new.id
    assert files.states()[RootState.RETIRING].id == old.id
    backdate(files.retiring)

    await turning.turn_root(root, nothing)
    assert {path.name for path in root.parent.iterdir()} == {"root.key", "root.key.lookups"}
    assert LocalRootKey.load(root).id == new.id
    assert {path.stat().st_mode & 0o777 for path in root.parent.iterdir()} == {0o600}
    # Where a sign-in finds its account does not move, although the key it came from is gone.
    assert files.load().lookups == lookups
    assert Vault(files.load()).global_index("login", "a@example.org") == Vault(
        RootKeys([old])
    ).global_index("login", "a@example.org")


async def test_phi_05_replaced_again_the_lookups_still_stay(root: Path) -> None:
    files = RootFiles(root)
    lookups = files.load().lookups
    for _ in range(2):
        await turning.turn_root(root, nothing)
        backdate(files.next)
        await turning.turn_root(root, nothing)
        backdate(files.retiring)
        await turning.turn_root(root, nothing)
    assert files.load().lookups == lookups


async def test_phi_05_no_step_comes_before_its_time(root: Path) -> None:
    files = RootFiles(root)
    await turning.turn_root(root, nothing)
    with pytest.raises(TooEarly):
        await turning.turn_root(root, nothing)
    assert RootState.NEXT in files.states()

    backdate(files.next)
    await turning.turn_root(root, nothing)
    with pytest.raises(TooEarly):
        await turning.turn_root(root, nothing)
    assert RootState.RETIRING in files.states()


async def test_phi_05_the_old_root_key_stays_while_anything_needs_it(root: Path) -> None:
    files = RootFiles(root)

    async def not_all() -> Rewrapped:
        return Rewrapped(3, 1)

    await turning.turn_root(root, nothing)
    backdate(files.next)
    for _ in range(2):
        with pytest.raises(Unfinished, match="1 organizations are left"):
            await turning.turn_root(root, not_all)
        backdate(files.retiring)
        assert RootState.RETIRING in files.states()
    await turning.turn_root(root, nothing)
    assert RootState.RETIRING not in files.states()


async def test_phi_05_a_crash_within_a_step_is_gone_on_from(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, old = RootFiles(root), LocalRootKey.load(root)
    await turning.turn_root(root, nothing)
    backdate(files.next)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keyfiles, "move", lambda path, to: crash() if to == root else path.rename(to))
        with pytest.raises(KeyboardInterrupt):
            await turning.turn_root(root, nothing)
    keys = files.load()
    assert keys.wrapping_id == old.id
    assert {state: key.id == old.id for state, key in files.states().items()} == {
        RootState.RETIRING: True,
        RootState.NEXT: False,
        RootState.WRAPPING: True,
    }

    await turning.turn_root(root, nothing)
    assert files.load().wrapping_id != old.id
    assert files.states()[RootState.RETIRING].id == old.id


async def test_phi_05_a_running_process_opens_what_another_has_wrapped_anew(root: Path) -> None:
    files, organization_id, key_id = RootFiles(root), uuid4(), uuid4()
    running = RootFiles(root).load()
    before = await running.wrap(organization_id, key_id, bytes(32))
    old = running.wrapping_id
    await turning.turn_root(root, nothing)
    backdate(files.next)
    await turning.turn_root(root, nothing)

    other = RootFiles(root).load()
    anew = await other.wrap(organization_id, key_id, bytes(32))
    assert running.wrapping_id == old
    assert await running.unwrap(other.wrapping_id, organization_id, key_id, anew) == bytes(32)
    assert running.wrapping_id == other.wrapping_id
    assert await running.unwrap(old, organization_id, key_id, before) == bytes(32)
    with pytest.raises(Unsealable):
        await running.unwrap("local-nobody", organization_id, key_id, anew)


def test_phi_05_a_root_key_that_cannot_be_read_leaves_the_old_ones(root: Path) -> None:
    running = RootFiles(root).load()
    content = root.read_bytes()
    root.write_bytes(b"short")
    for _ in range(2):
        with pytest.raises(BadRootKey):
            running.refresh()
    assert asyncio.run(running.wrap(uuid4(), uuid4(), bytes(32)))
    root.write_bytes(content)
    running.refresh()


async def test_phi_05_without_its_lookups_a_replacement_does_not_start(root: Path) -> None:
    await turning.turn_root(root, nothing)
    lookups = root.with_name("root.key.lookups")
    content = lookups.read_bytes()
    lookups.unlink()
    with pytest.raises(BadRootKey, match=r"root\.key\.lookups is missing"):
        RootFiles(root).load()
    lookups.write_bytes(content[:32])
    lookups.chmod(0o600)
    with pytest.raises(BadRootKey, match="64 bytes"):
        RootFiles(root).load()


# Two operators, and what they see


async def test_of_two_who_turn_the_same_keys_one_is_told(root: Path, tmp_path: Path) -> None:
    ring = tmp_path / "tokens"
    KeyRing.load_or_create(ring)
    for directory in (root.parent, ring):
        held = os.open(directory, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Busy):
            await turning.turn_root(root, nothing) if directory == root.parent else (
                await asyncio.to_thread(turning.turn_ring, ring)
            )
        os.close(held)


def test_phi_07_what_is_shown_holds_no_key(root: Path, tmp_path: Path) -> None:
    ring = tmp_path / "tokens"
    KeyRing.load_or_create(ring)
    turning.turn_ring(ring)
    shown = "\n".join(turning.described(root, ring))

    assert shown.count("\n") == 2
    assert LocalRootKey.load(root).id in shown
    for key in KeyRing.load(ring).keys:
        assert key.kid in shown
        assert key.pem().decode() not in shown
    assert root.read_bytes().hex() not in shown
    assert repr(RootFiles(root).load().lookups) == "Lookups()"


def test_phi_05_a_superuser_leaves_new_keys_to_the_owner_of_their_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _, user, group: given.append((user, group)))
    keyfiles.write_new(tmp_path / "key", b"")
    owner = tmp_path.stat()
    assert given == [(owner.st_uid, owner.st_gid)]
