from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.security.scopes import (
    CONTEXTS,
    MAX_LENGTH,
    WORDS,
    InvalidScope,
    Scope,
    ScopeSet,
)

RESOURCES = ("Appointment", "Observation", "CarePlan")
ACTIONS = "cruds"
QUERIES = ("category=survey", "category=laboratory")

actions = st.sets(st.sampled_from(ACTIONS), min_size=1).map(
    lambda chosen: "".join(action for action in ACTIONS if action in chosen)
)
scopes = st.builds(
    Scope,
    st.sampled_from(CONTEXTS),
    st.sampled_from((*RESOURCES, "*")),
    actions,
    st.none() | st.sampled_from(QUERIES),
)
scope_sets = st.builds(
    ScopeSet, st.lists(scopes, max_size=8), st.sets(st.sampled_from(sorted(WORDS)))
)
EVERY_QUESTION = list(product(CONTEXTS, (*RESOURCES, "Flag"), ACTIONS))
EVERY_SCOPE = [
    Scope(context, resource, action, query)
    for context, resource, action, query in product(
        CONTEXTS, (*RESOURCES, "*"), ACTIONS, (None, *QUERIES)
    )
]


def granted(scope_set: ScopeSet) -> set[Scope]:
    """All that a set gives, one action at a time: what it means, however it is written."""
    return {scope for scope in EVERY_SCOPE if scope_set.covers(scope)}


def allowed(scope_set: ScopeSet) -> set[tuple[str, str, str]]:
    return {question for question in EVERY_QUESTION if scope_set.allows(*question)}


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("patient/Appointment.rs", Scope("patient", "Appointment", "rs")),
        ("user/CarePlan.cruds", Scope("user", "CarePlan", "cruds")),
        ("system/*.s", Scope("system", "*", "s")),
        (
            "patient/Observation.rs?category=survey",
            Scope("patient", "Observation", "rs", "category=survey"),
        ),
        (
            "user/Observation.r?code=http://loinc.org|44249-1",
            Scope("user", "Observation", "r", "code=http://loinc.org|44249-1"),
        ),
    ],
)
def test_auth_31_scopes_of_smart_2_are_read(text: str, scope: Scope) -> None:
    assert Scope.parse(text) == scope
    assert str(scope) == text


@pytest.mark.parametrize(
    "text",
    [
        "patient",
        "patient/",
        "patient/Appointment",
        "patient/Appointment.",
        "patient/Appointment.sr",
        "patient/Appointment.rr",
        "patient/Appointment.x",
        "patient/Appointment.read",
        "patient/Appointment.*",
        "patient/appointment.r",
        "patient/Appointment .r",
        "patient/Appointment.rs?",
        "patient/Appointment.rs?category",
        "patient/Appointment.rs?category=",
        "patient/Appointment.rs?=survey",
        "patient/Observation.rs?category=survey&status=final",
        'patient/Observation.rs?category="survey"',
        "patient/Observation.rs?category=\\survey",
        "patient/Observation.rs?category=caf\u00e9",
        "Patient/Appointment.r",
        "client/Appointment.r",
        "patient/**.r",
        "patient/Appointment.r\n",
        "\npatient/Appointment.r",
        "patient/Appointment.r\x00",
        "patient/\uff21ppointment.r",
        "patient/" + "A" * 65 + ".r",
        "openid",
        "fhirUser",
        "launch",
        "launch/encounter",
        "OFFLINE_ACCESS",
        "admin",
        "\ud800",
    ],
)
def test_auth_31_what_is_unknown_or_badly_ordered_is_invalid(text: str) -> None:
    with pytest.raises(InvalidScope) as invalid:
        ScopeSet.parse(text)
    assert str(invalid.value) == "invalid scope"
    with pytest.raises(InvalidScope):
        ScopeSet.parse(f"patient/Appointment.r {text}")


@pytest.mark.parametrize(
    "text",
    [
        " ",
        " user/*.r",
        "user/*.r ",
        "user/*.r  patient/*.r",
        "user/*.r\tpatient/*.r",
        "user/*.r " * 300,
    ],
)
def test_auth_31_scopes_are_separated_by_single_spaces(text: str) -> None:
    with pytest.raises(InvalidScope):
        ScopeSet.parse(text)


def test_auth_31_a_scope_string_has_a_greatest_length() -> None:
    longest = "user/*.r " * 226 + "user/A.r?x=yyy"
    assert len(longest) == MAX_LENGTH
    assert str(ScopeSet.parse(longest)) == "user/*.r"
    with pytest.raises(InvalidScope):
        ScopeSet.parse(f"{longest}y")


def test_auth_31_no_scope_is_a_set_that_gives_nothing() -> None:
    nothing = ScopeSet.parse("")
    assert not nothing
    assert str(nothing) == ""
    assert allowed(nothing) == set()
    assert ScopeSet.parse("offline_access")


def test_auth_31_unknown_words_cannot_be_built_either() -> None:
    with pytest.raises(InvalidScope):
        ScopeSet(words=["openid"])


@pytest.mark.parametrize(
    ("written", "smallest"),
    [
        ("user/A.s user/A.r user/A.c", "user/A.crs"),
        ("user/A.rs user/*.r", "user/*.r user/A.s"),
        ("user/A.rs user/*.cruds", "user/*.cruds"),
        ("user/A.r?x=1 user/A.r", "user/A.r"),
        ("user/A.r?x=1 user/*.r?x=1", "user/*.r?x=1"),
        ("user/A.r?x=1 user/A.r?x=2", "user/A.r?x=1 user/A.r?x=2"),
        ("user/A.r patient/*.r", "patient/*.r user/A.r"),
        ("user/A.r offline_access launch/patient", "launch/patient offline_access user/A.r"),
    ],
)
def test_auth_31_sets_are_written_in_their_smallest_form(written: str, smallest: str) -> None:
    assert str(ScopeSet.parse(written)) == smallest
    assert repr(ScopeSet.parse(written)) == f"ScopeSet('{smallest}')"


@pytest.mark.parametrize(
    ("text", "question", "is_allowed"),
    [
        ("patient/Appointment.rs", ("patient", "Appointment", "r"), True),
        ("patient/Appointment.rs", ("patient", "Appointment", "s"), True),
        ("patient/Appointment.rs", ("patient", "Appointment", "u"), False),
        ("patient/Appointment.rs", ("user", "Appointment", "r"), False),
        ("patient/Appointment.rs", ("patient", "CarePlan", "r"), False),
        ("patient/*.r", ("patient", "CarePlan", "r"), True),
        ("patient/*.r patient/CarePlan.u", ("patient", "CarePlan", "r"), True),
        ("patient/*.r patient/CarePlan.u", ("patient", "CarePlan", "u"), True),
        ("patient/*.r patient/CarePlan.u", ("patient", "Flag", "u"), False),
        ("patient/Observation.rs?category=survey", ("patient", "Observation", "r"), False),
        ("patient/*.rs?category=survey", ("patient", "Observation", "r"), False),
    ],
)
def test_auth_31_allows(text: str, question: tuple[str, str, str], is_allowed: bool) -> None:  # noqa: FBT001
    assert ScopeSet.parse(text).allows(*question) is is_allowed


def test_auth_31_a_question_that_nobody_can_mean_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        ScopeSet.parse("user/*.cruds").allows("user", "Appointment", "x")


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("user/*.rs", "user/A.cr", "user/A.r"),
        ("user/A.rs?x=1", "user/A.r", "user/A.r?x=1"),
        ("user/A.rs?x=1", "user/A.r?x=1", "user/A.r?x=1"),
        ("user/A.rs?x=1", "user/A.r?x=2", ""),
        ("user/*.r?x=1", "user/A.r", "user/A.r?x=1"),
        ("user/*.r?x=1", "user/A.r?x=2", ""),
        ("user/A.r", "user/B.r", ""),
        ("user/A.r", "patient/A.r", ""),
        ("user/A.r", "user/A.s", ""),
        ("user/A.r offline_access", "user/A.r launch/patient", "user/A.r"),
    ],
)
def test_auth_31_what_two_sets_share(one: str, other: str, both: str) -> None:
    assert str(ScopeSet.parse(one) & ScopeSet.parse(other)) == both


def test_auth_31_a_set_is_limited_to_the_contexts_that_a_caller_has() -> None:
    everything = ScopeSet.parse("patient/*.r user/*.r system/*.r offline_access")
    assert str(everything.limited_to("patient")) == "offline_access patient/*.r"
    assert str(everything.limited_to()) == "offline_access"


@settings(deadline=None)
@given(scope_sets)
def test_auth_31_the_text_of_a_set_parses_to_the_same_set(scope_set: ScopeSet) -> None:
    assert ScopeSet.parse(str(scope_set)) == scope_set
    assert ScopeSet(scope_set, scope_set.words) == scope_set


@settings(deadline=None)
@given(st.lists(scopes, max_size=8), st.randoms())
def test_auth_31_order_and_repetition_mean_nothing(listed: list[Scope], random: Random) -> None:
    shuffled = [*listed, *listed]
    random.shuffle(shuffled)
    assert ScopeSet(shuffled) == ScopeSet(listed)
    assert hash(ScopeSet(shuffled)) == hash(ScopeSet(listed))
    assert str(ScopeSet(shuffled)) == str(ScopeSet(listed))


@settings(deadline=None)
@given(scope_sets, scope_sets)
def test_auth_31_sets_that_give_the_same_are_equal(one: ScopeSet, other: ScopeSet) -> None:
    same = granted(one) == granted(other) and one.words == other.words
    assert (one == other) is same


@settings(deadline=None)
@given(scope_sets, scope_sets)
def test_auth_31_an_intersection_is_what_both_give(one: ScopeSet, other: ScopeSet) -> None:
    both = one & other
    assert granted(both) == granted(one) & granted(other)
    assert allowed(both) == allowed(one) & allowed(other)
    assert both.words == one.words & other.words
    assert both == other & one
    assert one & one == one


@settings(deadline=None)
@given(scope_sets, scope_sets)
def test_auth_31_a_union_gives_what_either_gives(one: ScopeSet, other: ScopeSet) -> None:
    either = one | other
    assert granted(either) == granted(one) | granted(other)
    assert either == other | one
    assert one & either == one
    assert one | (one & other) == one


@settings(deadline=None)
@given(scope_sets, scope_sets, scope_sets)
def test_auth_31_what_is_granted_never_exceeds_request_registration_or_ceiling(
    requested: ScopeSet, registered: ScopeSet, ceiling: ScopeSet
) -> None:
    effective = requested & registered & ceiling
    for limit in (requested, registered, ceiling):
        assert granted(effective) <= granted(limit)
        assert allowed(effective) <= allowed(limit)
        assert effective.words <= limit.words
    assert effective == requested & (registered & ceiling)


@settings(deadline=None)
@given(scope_sets)
def test_auth_31_allowed_is_covered_without_a_query(scope_set: ScopeSet) -> None:
    for context, resource, action in EVERY_QUESTION:
        scope = Scope(context, resource, action)
        assert scope_set.allows(context, resource, action) is scope_set.covers(scope)


@settings(deadline=None)
@given(st.text())
def test_auth_31_whatever_comes_is_a_set_or_invalid(text: str) -> None:
    try:
        parsed = ScopeSet.parse(text)
    except InvalidScope:
        return
    assert ScopeSet.parse(str(parsed)) == parsed


def test_a_set_equals_nothing_but_a_set() -> None:
    assert ScopeSet.parse("user/*.r") != "user/*.r"
