"""The words that everything else is written in."""

import re
from enum import StrEnum

import pytest

from app.domain import roles
from app.domain.roles import LevelOfCare, RoomKind, SessionKind, StaffRole

VOCABULARIES = [
    each
    for each in vars(roles).values()
    if isinstance(each, type) and issubclass(each, StrEnum) and each is not StrEnum
]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_every_word_is_stable_lower_case_and_said_once(vocabulary: type[StrEnum]) -> None:
    words = [each.value for each in vocabulary]
    assert len(words) == len(set(words)) == len(vocabulary.__members__)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", word) for word in words)
    assert [each.name.lower() for each in vocabulary] == words


def test_what_counts_toward_dose_is_treatment_by_qualified_staff() -> None:
    counted = {kind for kind in SessionKind if kind.counts_toward_dose}
    assert {SessionKind.GROUP_THERAPY, SessionKind.INDIVIDUAL_THERAPY} <= counted
    assert not counted & {
        SessionKind.PEER_SUPPORT,
        SessionKind.ORIENTATION,
        SessionKind.CASE_MANAGEMENT,
        SessionKind.INTAKE_ASSESSMENT,
    }


def test_a_group_is_shared_and_one_to_one_care_is_not() -> None:
    assert SessionKind.MULTIFAMILY_GROUP.is_group
    assert not SessionKind.FAMILY_THERAPY.is_group
    assert [kind for kind in RoomKind if not kind.is_shared] == [RoomKind.DIRECT]


def test_peer_support_and_offices_are_not_clinical_roles() -> None:
    assert {role for role in StaffRole if not role.is_clinical} == {
        StaffRole.PEER_SPECIALIST,
        StaffRole.CARE_COORDINATOR,
        StaffRole.PRIVACY_OFFICER,
        StaffRole.ADMINISTRATOR,
    }


def test_levels_of_care_are_a_ladder() -> None:
    ranks = [level.rank for level in LevelOfCare]
    assert ranks == sorted(set(ranks))
    assert LevelOfCare.OUTPATIENT.rank < LevelOfCare.INTENSIVE_OUTPATIENT.rank
