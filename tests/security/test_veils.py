"""Names for numbered rows: they lead back, and tell nothing."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.core.ids import new_id
from app.security.veils import Veil

KEY = b"k" * 32
numbers = st.integers(min_value=1, max_value=2**63 - 1)


@given(numbers)
def test_a_name_leads_back_to_its_number(number: int) -> None:
    veil = Veil(KEY, new_id())

    assert veil.number(veil.name(number)) == number


@given(numbers, numbers)
def test_names_are_of_one_thing_and_one_key(one: int, other: int) -> None:
    jordan, casey = new_id(), new_id()
    veil = Veil(KEY, jordan)

    assert (veil.name(one) == veil.name(other)) == (one == other)
    assert Veil(KEY, casey).number(veil.name(one)) is None
    assert Veil(b"o" * 32, jordan).number(veil.name(one)) is None


@given(st.uuids())
def test_a_name_that_nobody_gave_leads_nowhere(invented: UUID) -> None:
    assert Veil(KEY, new_id()).number(invented) is None
