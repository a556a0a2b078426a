"""Figures come from the server's clock: slower is never faster, and nothing is below zero."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from app.domain.connectivity import BODY_BYTES, PROBES, figures

durations = st.integers(min_value=0, max_value=120_000_000)
trips = st.lists(durations, min_size=PROBES, max_size=PROBES)


def test_figures_are_what_the_durations_say() -> None:
    found = figures([40_000, 44_000, 40_000, 42_000], 1_088_576, 2_137_152)

    assert found.round_trip_ms == Decimal("40.0")
    assert found.jitter_ms == Decimal("3.3")
    # 262144 bytes are 2097152 bits, in 1.048576 and in 2.097152 seconds.
    assert (found.down_mbps, found.up_mbps) == (Decimal("2.00"), Decimal("1.00"))


@given(trips, durations, durations, st.integers(min_value=0, max_value=10_000_000))
def test_what_takes_longer_is_never_faster(
    round_trips: list[int], download: int, upload: int, longer: int
) -> None:
    found = figures(round_trips, download, upload)
    slower = figures(round_trips, download + longer, upload + longer)

    assert slower.down_mbps <= found.down_mbps
    assert slower.up_mbps <= found.up_mbps


@given(trips, durations, durations)
def test_every_figure_lies_where_a_figure_can_lie(
    round_trips: list[int], download: int, upload: int
) -> None:
    found = figures(round_trips, download, upload)

    most = Decimal(BODY_BYTES * 8) / 1000
    assert 0 < found.down_mbps <= most
    assert 0 < found.up_mbps <= most
    assert found.round_trip_ms >= 0
    assert found.jitter_ms >= 0
