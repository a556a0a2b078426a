"""The checkers are checked: each violation of I1 to I4 that is made here must be found (REL-23)."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clients import checkers
from tests.clients.checkers import Acknowledged, Display, Logged, Membership, check_rooms


@dataclass
class Run:
    """The facts of one run; a sound one, until a mutant changes it."""

    log: list[Logged] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    displays: list[Display] = field(default_factory=list)
    memberships: list[Membership] = field(default_factory=list)

    def violations(self) -> list[str]:
        return check_rooms(self.log, self.acknowledged, self.displays, self.memberships)


def entry_of(seq: int) -> tuple[int, str]:
    return seq, f"entry-{seq}"


@st.composite
def sound_runs(draw: st.DrawFn) -> Run:
    """One room: somebody who stayed from the start, somebody who came late and left early."""
    head = draw(st.integers(8, 40))
    joined = draw(st.integers(2, 4))
    left = draw(st.integers(joined + 2, head - 1))
    run = Run()
    run.log = [Logged("room", *entry_of(seq)) for seq in range(1, head + 1)]
    unknown = draw(st.sets(st.integers(2, head - 1)))
    run.acknowledged = [
        Acknowledged(row.room_id, row.seq, row.entry_id)
        for row in run.log
        if row.seq not in unknown
    ]
    run.memberships = [Membership("room", "host", 1), Membership("room", "guest", joined, left)]
    run.displays = [
        Display("room", "host", 0, tuple(map(entry_of, range(1, head + 1)))),
        Display("room", "guest", joined - 1, tuple(map(entry_of, range(joined, left + 1)))),
    ]
    return run


@given(sound_runs())
def test_a_sound_run_has_no_violation(run: Run) -> None:
    assert run.violations() == []


@given(sound_runs(), st.data())
def test_i3_a_client_that_went_away_owes_nothing_more(run: Run, data: st.DataObject) -> None:
    display = run.displays[0]
    kept = data.draw(st.integers(0, len(display.shown) - 1))
    run.displays[0] = replace(display, shown=display.shown[:kept], stayed=False)
    assert run.violations() == []


def show(run: Run, shown: list[tuple[int, str]], *, of: int = 0) -> None:
    run.displays[of] = replace(run.displays[of], shown=tuple(shown))


def drop_from_the_log(run: Run, at: int) -> None:
    del run.log[at]


def drop_the_last_of_the_log(run: Run, _at: int) -> None:
    run.log.pop()


def double_in_the_log(run: Run, _at: int) -> None:
    run.log.append(Logged("room", len(run.log) + 1, run.acknowledged[0].entry_id))


def repeat_a_seq(run: Run, at: int) -> None:
    run.log.append(replace(run.log[at], entry_id="other"))


def start_at_zero(run: Run, _at: int) -> None:
    run.log = [replace(row, seq=row.seq - 1) for row in run.log]


def drop_on_a_screen(run: Run, at: int) -> None:
    shown = list(run.displays[0].shown)
    del shown[at]
    show(run, shown)


def stop_too_early(run: Run, _at: int) -> None:
    show(run, list(run.displays[0].shown[:-1]))


def double_on_a_screen(run: Run, at: int) -> None:
    shown = list(run.displays[0].shown)
    shown.insert(at, shown[at])
    show(run, shown)


def swap_on_a_screen(run: Run, at: int) -> None:
    shown = list(run.displays[0].shown)
    shown[at], shown[at + 1] = shown[at + 1], shown[at]
    show(run, shown)


def show_what_was_never_said(run: Run, at: int) -> None:
    shown = list(run.displays[0].shown)
    shown[at] = (shown[at][0], "invented")
    show(run, shown)


def show_beyond_the_end(run: Run, _at: int) -> None:
    shown = list(run.displays[1].shown)
    show(run, [*shown, entry_of(shown[-1][0] + 1)], of=1)


def show_before_the_beginning(run: Run, _at: int) -> None:
    guest = run.displays[1]
    before = entry_of(guest.shown[0][0] - 1)
    run.displays[1] = replace(
        guest, began_after=guest.began_after - 1, shown=(before, *guest.shown)
    )


def show_to_a_stranger(run: Run, _at: int) -> None:
    run.displays.append(replace(run.displays[0], member_id="stranger"))


def show_another_room(run: Run, _at: int) -> None:
    run.displays.append(replace(run.displays[0], room_id="elsewhere"))


def acknowledge_what_was_not_kept(run: Run, _at: int) -> None:
    run.acknowledged.append(Acknowledged("room", *entry_of(len(run.log) + 1)))


def acknowledge_another_seq(run: Run, _at: int) -> None:
    run.acknowledged[0] = replace(run.acknowledged[0], seq=run.acknowledged[0].seq + 1)


I1, I2, I3, I4 = "i1", "i2", "i3", "i4"


@pytest.mark.parametrize(
    ("mutant", "found_by"),
    [
        (drop_from_the_log, {I2, I3}),
        (drop_the_last_of_the_log, {I1, I3}),
        (double_in_the_log, {I1}),
        (repeat_a_seq, {I2, I3}),
        (start_at_zero, {I1, I2, I3}),
        (drop_on_a_screen, {I3}),
        (stop_too_early, {I1}),
        (double_on_a_screen, {I3}),
        (swap_on_a_screen, {I3}),
        (show_what_was_never_said, {I3}),
        (show_beyond_the_end, {I4}),
        (show_before_the_beginning, {I4}),
        (show_to_a_stranger, {I4}),
        (show_another_room, {I3, I4}),
        (acknowledge_what_was_not_kept, {I1}),
        (acknowledge_another_seq, {I1}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@given(run=sound_runs(), data=st.data())
def test_rel_23_every_mutant_is_caught(
    run: Run, data: st.DataObject, mutant: object, found_by: set[str]
) -> None:
    assert callable(mutant)
    at = data.draw(st.integers(1, len(run.log) - 2))
    mutant(run, at)

    found = {
        I1: checkers.i1_acknowledged_is_kept_and_reached(
            run.log, run.acknowledged, run.displays, run.memberships
        ),
        I2: checkers.i2_sequences_have_no_gaps(run.log),
        I3: checkers.i3_screens_show_an_interval(run.log, run.displays),
        I4: checkers.i4_nobody_sees_beyond_their_membership(run.displays, run.memberships),
    }
    assert run.violations()
    assert found_by <= {name for name, violations in found.items() if violations}
