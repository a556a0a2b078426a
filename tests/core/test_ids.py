"""Ids sort by the moment they were drawn."""

from uuid import RFC_4122

from app.core.ids import new_id


def test_ids_are_version_7_of_rfc_9562() -> None:
    drawn = new_id()
    assert (drawn.version, drawn.variant) == (7, RFC_4122)


def test_ids_of_one_process_sort_as_they_were_drawn() -> None:
    drawn = [new_id() for _ in range(5000)]
    assert drawn == sorted(set(drawn))
