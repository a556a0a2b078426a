"""The policy suggests with every reason; silence admits no one; an acute alert always wins."""

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import date
from importlib import resources
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.criteria import Axis, Outcome
from app.domain.instruments import AnswerValue, GateKind, Number, shipped
from app.domain.intake import (
    INTAKE_MACHINE,
    UNDER_WAY,
    DecisionValue,
    Grounds,
    IntakeAction,
    IntakeState,
    agrees,
    decision_gaps,
    possible_moves,
)
from app.domain.readiness import GateResult, PriorCare, gates, has_stepped_down
from app.domain.recommendation import (
    Axes,
    Commitment,
    IntakeInputs,
    Recommendation,
    ScoreInput,
    Severity,
    Verdict,
    VirtualAbility,
    default_admission_policy,
    instruments_of,
    load_admission_policy,
    recommend,
    shipped_admission_policies,
    suggest,
)
from app.domain.roles import LevelOfCare
from app.domain.transitions import IllegalTransition

POLICY = default_admission_policy()
READINESS = shipped()["readiness"]
ATTESTED = {rule.code: rule.expects for rule in POLICY.attestations}
DOMAINS = POLICY.severity.functional_domains

READY: dict[str, AnswerValue | None] = {
    "device_camera_mic": True,
    "screen_size": "computer",
    "bandwidth_down_mbps": 20,
    "bandwidth_up_mbps": 5,
    "data_plan_ok": True,
    "private_space": "always",
    "headphones": True,
    "home_is_safe": "yes",
    "primary_location": "12 Example Street",
    "state_of_location": "US-NY",
    "local_emergency_numbers": "On file",
    "emergency_contact": "A sibling",
    "emergency_contact_release": True,
    "backup_phone": "+12025550123",
    "reconnect_plan": "The facilitator calls after five minutes",
    "firearms_means_asked": "asked_no",
    "orientation_done": True,
    "is_minor": False,
}


def scored(instrument: str, score: str, value: Number | None) -> ScoreInput:
    return ScoreInput(instrument, score, value, evidence=f"{instrument}:{score}")


SCORES = (
    scored("phq-9", "total", 14),
    scored("gad-7", "total", 8),
    scored("rulers", "commitment_ruler", 8),
    scored("rulers", "importance_ruler", 8),
    scored("rulers", "confidence_ruler", 6),
)
COMPLETE = IntakeInputs(
    scores=SCORES,
    gates=gates(READINESS, READY),
    has_acute_alert=False,
    functional_ratings=dict.fromkeys(DOMAINS, 2),
    attestations=ATTESTED | {"recent_step_down": False, "outpatient_insufficient": False},
)


def with_score(instrument: str, score: str, value: Number | None) -> IntakeInputs:
    others = [s for s in SCORES if (s.instrument, s.score) != (instrument, score)]
    return replace(COMPLETE, scores=(*others, scored(instrument, score, value)))


def with_attestation(code: str, said: bool | None) -> IntakeInputs:  # noqa: FBT001 - a value
    return replace(COMPLETE, attestations={**COMPLETE.attestations, code: said})


def with_answer(item: str, value: AnswerValue | None) -> IntakeInputs:
    return replace(COMPLETE, gates=gates(READINESS, READY | {item: value}))


def outcome_of(recommendation: Recommendation, code: str) -> Outcome:
    return next(each.outcome for each in recommendation.criteria if each.code == code)


def test_with_every_criterion_met_the_suggestion_is_to_admit() -> None:
    found = recommend(POLICY, COMPLETE)
    assert found.verdict is Verdict.ADMIT
    assert found.axes == Axes(Severity.IOP_RANGE, Commitment.READY, VirtualAbility.ABLE)
    assert {each.outcome for each in found.criteria} == {Outcome.MET}
    assert {each.axis for each in found.criteria} == set(Axis)
    assert (found.policy_key, found.policy_version) == (POLICY.key, POLICY.version)
    assert all(each.reason for each in found.criteria)


def test_without_anything_known_the_suggestion_is_to_ask() -> None:
    found = recommend(POLICY, IntakeInputs())
    assert found.verdict is Verdict.DEFER_MORE_INFO
    assert {each.outcome for each in found.criteria} == {Outcome.UNKNOWN}


def test_the_policy_names_every_gate_of_the_checklist_with_its_kind() -> None:
    of_policy = {(rule.code, rule.kind) for rule in POLICY.gates}
    assert of_policy == {(gate.code, gate.kind) for gate in gates(READINESS, {})}


def test_the_policy_is_dated_and_sourced() -> None:
    assert POLICY.source
    assert POLICY.applies_on(POLICY.effective_from)


@pytest.mark.parametrize(
    ("inputs", "verdict"),
    [
        (replace(COMPLETE, has_acute_alert=True), Verdict.HIGHER_LEVEL),
        (replace(COMPLETE, has_acute_alert=None), Verdict.DEFER_MORE_INFO),
        (with_score("phq-9", "total", 10), Verdict.ADMIT),
        (with_score("phq-9", "total", 9), Verdict.OUTPATIENT),
        (with_score("phq-9", "total", None), Verdict.DEFER_MORE_INFO),
        (with_score("gad-7", "total", None), Verdict.ADMIT),
        (with_score("rulers", "commitment_ruler", 0), Verdict.ADMIT),
        (with_score("rulers", "commitment_ruler", None), Verdict.DEFER_MORE_INFO),
        (with_attestation("agrees_to_attendance", False), Verdict.MOTIVATIONAL_PATHWAY),
        (with_attestation("legal_only", True), Verdict.MOTIVATIONAL_PATHWAY),
        (with_attestation("violence_risk", True), Verdict.HIGHER_LEVEL),
        (with_attestation("diagnosis_present", False), Verdict.OUTPATIENT),
        (with_attestation("diagnosis_present", None), Verdict.DEFER_MORE_INFO),
        (with_attestation("license_gap", True), Verdict.IN_PERSON_OR_SUPPORT),
        (with_answer("private_space", "no"), Verdict.IN_PERSON_OR_SUPPORT),
        (with_answer("private_space", None), Verdict.DEFER_MORE_INFO),
        (with_answer("home_is_safe", "prefer_not_to_say"), Verdict.IN_PERSON_OR_SUPPORT),
        (with_answer("backup_phone", None), Verdict.DEFER_MORE_INFO),
        (with_answer("orientation_done", False), Verdict.IN_PERSON_OR_SUPPORT),
        (with_answer("headphones", False), Verdict.ADMIT),
        (with_answer("is_minor", None), Verdict.DEFER_MORE_INFO),
        (with_answer("is_minor", True), Verdict.DEFER_MORE_INFO),
    ],
)
def test_each_input_moves_the_suggestion_as_the_table_says(
    inputs: IntakeInputs, verdict: Verdict
) -> None:
    assert recommend(POLICY, inputs).verdict is verdict


@pytest.mark.parametrize(
    ("value", "commitment"),
    [(7, Commitment.READY), (6, Commitment.READY_WITH_PLAN), (3, Commitment.READY_WITH_PLAN)],
)
def test_a_low_ruler_asks_for_a_plan_and_excludes_no_one(
    value: int, commitment: Commitment
) -> None:
    found = recommend(POLICY, with_score("rulers", "commitment_ruler", value))
    assert (found.axes.commitment, found.verdict) == (commitment, Verdict.ADMIT)


def test_a_soft_gate_that_is_unknown_asks_for_support() -> None:
    found = recommend(POLICY, with_answer("headphones", None))
    assert found.axes.virtual_ability is VirtualAbility.ABLE_WITH_SUPPORT


def test_an_optional_instrument_counts_when_it_was_given() -> None:
    below = with_score("phq-9", "total", 4)
    with_trauma = replace(below, scores=(*below.scores, scored("pcl-5", "total", 33)))
    found = recommend(POLICY, with_trauma)
    assert found.verdict is Verdict.ADMIT
    symptoms = next(each for each in found.criteria if each.code == "symptom_severity")
    assert symptoms.evidence == ("pcl-5:total",)


@pytest.mark.parametrize(
    ("rating", "stepped_down", "outcome"),
    [
        (1, False, Outcome.NOT_MET),
        (1, True, Outcome.MET),
        (1, None, Outcome.UNKNOWN),
        (2, False, Outcome.MET),
        (None, False, Outcome.UNKNOWN),
        (None, True, Outcome.MET),
    ],
)
def test_functioning_is_judged_by_ratings_or_by_care_that_was_not_enough(
    rating: int | None,
    stepped_down: bool | None,  # noqa: FBT001 - a column of the table
    outcome: Outcome,
) -> None:
    inputs = replace(
        with_attestation("recent_step_down", stepped_down),
        functional_ratings=dict.fromkeys(DOMAINS, rating),
    )
    assert outcome_of(recommend(POLICY, inputs), "functional_impairment") is outcome


@pytest.mark.parametrize(
    ("axes", "verdict"),
    [
        ((Severity.ABOVE_IOP, Commitment.NOT_NOW, VirtualAbility.UNABLE), Verdict.HIGHER_LEVEL),
        (
            (Severity.ABOVE_IOP, Commitment.UNDETERMINED, VirtualAbility.UNDETERMINED),
            Verdict.HIGHER_LEVEL,
        ),
        ((Severity.BELOW_IOP, Commitment.READY, VirtualAbility.ABLE), Verdict.OUTPATIENT),
        (
            (Severity.IOP_RANGE, Commitment.NOT_NOW, VirtualAbility.UNABLE),
            Verdict.MOTIVATIONAL_PATHWAY,
        ),
        (
            (Severity.IOP_RANGE, Commitment.READY, VirtualAbility.UNABLE),
            Verdict.IN_PERSON_OR_SUPPORT,
        ),
        (
            (Severity.IOP_RANGE, Commitment.READY_WITH_PLAN, VirtualAbility.ABLE_WITH_SUPPORT),
            Verdict.ADMIT,
        ),
    ],
)
def test_the_suggestion_table_reads_as_written(
    axes: tuple[Severity, Commitment, VirtualAbility], verdict: Verdict
) -> None:
    assert suggest(Axes(*axes)) is verdict


def test_no_undetermined_axis_admits() -> None:
    for axes in product(Severity, Commitment, VirtualAbility):
        if "undetermined" in axes:
            assert suggest(Axes(*axes)) is not Verdict.ADMIT


maybe = st.sampled_from([True, False, None])
outcomes = st.sampled_from([Outcome.MET, Outcome.MET, Outcome.NOT_MET, Outcome.UNKNOWN])


@st.composite
def any_inputs(draw: st.DrawFn) -> IntakeInputs:
    """Inputs near admission, so that the laws are tried where they could break."""
    if draw(st.integers(0, 3)) == 0:
        base = COMPLETE
    else:
        base = IntakeInputs(
            scores=[
                replace(s, value=draw(st.one_of(st.none(), st.integers(0, 27)))) for s in SCORES
            ],
            gates=[GateResult(r.code, r.kind, draw(outcomes)) for r in POLICY.gates],
            has_acute_alert=draw(maybe),
            functional_ratings={d: draw(st.sampled_from([None, 0, 2, 4])) for d in DOMAINS},
            attestations={c: draw(maybe) for c in COMPLETE.attestations},
        )
    return draw(st.sampled_from(list(small_changes(base))))


def small_changes(base: IntakeInputs) -> list[IntakeInputs]:
    return [
        base,
        replace(base, scores=[replace(s, value=4) for s in base.scores]),
        replace(base, functional_ratings=dict.fromkeys(DOMAINS, 0)),
        replace(base, attestations={**base.attestations, "can_benefit": False}),
        replace(base, has_acute_alert=True),
    ]


def with_less_known(base: IntakeInputs) -> list[IntakeInputs]:
    """Every way to take one input away."""
    scores, gate_list = list(base.scores), list(base.gates)
    return [
        replace(base, has_acute_alert=None),
        replace(base, gates=()),
        replace(base, scores=()),
        *(replace(base, scores=[*scores[:i], *scores[i + 1 :]]) for i in range(len(scores))),
        *(
            replace(base, scores=[*scores[:i], replace(s, value=None), *scores[i + 1 :]])
            for i, s in enumerate(scores)
        ),
        *(
            replace(base, gates=[*gate_list[:i], *gate_list[i + 1 :]])
            for i in range(len(gate_list))
        ),
        *(
            replace(base, functional_ratings={**base.functional_ratings, domain: None})
            for domain in base.functional_ratings
        ),
        *(
            replace(base, attestations={**base.attestations, code: None})
            for code in base.attestations
        ),
    ]


@settings(max_examples=150, deadline=None)
@given(any_inputs())
def test_making_an_input_unknown_never_moves_the_suggestion_toward_admission(
    inputs: IntakeInputs,
) -> None:
    before = recommend(POLICY, inputs)
    for less in with_less_known(inputs):
        after = recommend(POLICY, less)
        assert after.verdict is not Verdict.ADMIT or before.verdict is Verdict.ADMIT
        was = {each.code: each.outcome for each in before.criteria}
        for each in after.criteria:
            assert each.outcome is not Outcome.MET or was[each.code] is Outcome.MET


@settings(max_examples=150, deadline=None)
@given(any_inputs())
def test_an_open_acute_alert_always_wins(inputs: IntakeInputs) -> None:
    found = recommend(POLICY, replace(inputs, has_acute_alert=True))
    assert found.verdict is Verdict.HIGHER_LEVEL
    assert outcome_of(found, "no_acute_alert") is Outcome.NOT_MET


@settings(max_examples=150, deadline=None)
@given(any_inputs())
def test_whoever_is_suggested_for_admission_meets_every_required_criterion(
    inputs: IntakeInputs,
) -> None:
    found = recommend(POLICY, inputs)
    if found.verdict is Verdict.ADMIT:
        # A ruler below its mark bends the axis and breaks nothing (1.14).
        required = [e for e in found.criteria if e.is_required and e.code != "commitment_ruler"]
        assert {each.outcome for each in required} == {Outcome.MET}


def test_gates_are_hard_or_soft_and_unknown_until_answered() -> None:
    nothing = gates(READINESS, {})
    assert {gate.outcome for gate in nothing} == {Outcome.UNKNOWN}
    assert {g.kind for g in nothing} == {GateKind.HARD, GateKind.SOFT}


def test_audio_only_by_a_clinician_stands_in_for_a_camera() -> None:
    answers = READY | {"device_camera_mic": False, "audio_only_exception": True}
    found = {gate.code: gate.outcome for gate in gates(READINESS, answers)}
    assert found["device_camera_mic"] is Outcome.MET


@pytest.mark.parametrize(
    ("adult", "outcome"), [(True, Outcome.MET), (False, Outcome.NOT_MET), (None, Outcome.UNKNOWN)]
)
def test_a_minor_needs_an_adult_on_the_premises(
    adult: bool | None,  # noqa: FBT001 - a column of the table
    outcome: Outcome,
) -> None:
    answers = READY | {"is_minor": True, "minor_adult_on_premises": adult}
    found = {gate.code: gate.outcome for gate in gates(READINESS, answers)}
    assert found["minor_adult_on_premises"] is outcome


def gaps(
    inputs: IntakeInputs,
    decision: DecisionValue,
    override_reason: str | None = None,
    overridden: Collection[str] = (),
) -> tuple[str, ...]:
    return decision_gaps(
        recommend(POLICY, inputs),
        decision,
        Grounds("Meets criteria", override_reason, overridden),
        is_licensed_clinician=True,
    )


def test_a_decision_that_follows_the_suggestion_needs_a_rationale_and_a_license() -> None:
    assert gaps(COMPLETE, DecisionValue.ADMIT_IOP) == ()
    assert decision_gaps(
        recommend(POLICY, COMPLETE),
        DecisionValue.ADMIT_IOP,
        Grounds("  "),
        is_licensed_clinician=False,
    ) == ("not_a_licensed_clinician", "rationale_missing")


def test_a_decision_that_departs_from_the_suggestion_gives_its_reason() -> None:
    below = with_score("phq-9", "total", 9)
    standing = "override_missing:symptom_severity"
    assert gaps(below, DecisionValue.ADMIT_IOP) == ("override_reason_missing", standing)
    assert gaps(below, DecisionValue.ADMIT_IOP, " ") == ("override_reason_missing", standing)
    assert gaps(below, DecisionValue.ADMIT_IOP, "Step-down from inpatient") == (standing,)
    assert (
        gaps(below, DecisionValue.ADMIT_IOP, "Step-down from inpatient", {"symptom_severity"}) == ()
    )
    assert gaps(below, DecisionValue.DECLINE_BY_PERSON) == ()


@pytest.mark.parametrize("known", [True, None])
def test_no_reason_overrides_an_acute_alert(
    known: bool | None,  # noqa: FBT001 - a column of the table
) -> None:
    acute = replace(COMPLETE, has_acute_alert=known)
    assert gaps(acute, DecisionValue.ADMIT_IOP, "He says he is fine") == (
        "not_overridable:no_acute_alert",
    )
    assert "not_overridable" not in "".join(gaps(acute, DecisionValue.EMERGENCY, "Sent"))


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_suggestion_has_a_decision_that_follows_it(verdict: Verdict) -> None:
    assert any(agrees(verdict, decision) for decision in DecisionValue)
    assert agrees(verdict, DecisionValue.DECLINE_BY_PERSON) is None


def test_an_intake_is_decided_once_and_deferring_asks_for_more() -> None:
    waiting = IntakeState.AWAITING_DECISION
    deferred = INTAKE_MACHINE.advance(waiting, DecisionValue.DEFER_MORE_INFO.action)
    assert deferred is IntakeState.ASSESSMENT
    decided = INTAKE_MACHINE.advance(waiting, DecisionValue.ADMIT_IOP.action)
    assert decided is IntakeState.DECIDED
    assert INTAKE_MACHINE.actions(decided) == frozenset()
    with pytest.raises(IllegalTransition) as refused:
        INTAKE_MACHINE.advance(decided, IntakeAction.DECIDE)
    assert (refused.value.state, refused.value.action) == (decided, IntakeAction.DECIDE)


def test_nothing_is_decided_before_it_was_assessed() -> None:
    for state in set(IntakeState) - {IntakeState.AWAITING_DECISION}:
        assert IntakeAction.DECIDE not in INTAKE_MACHINE.actions(state)


@given(st.lists(st.sampled_from(list(IntakeAction)), max_size=30))
def test_an_intake_goes_only_where_it_may_and_an_end_is_an_end(
    actions: list[IntakeAction],
) -> None:
    state = IntakeState.REFERRED
    for action in actions:
        possible = possible_moves(state)
        assert set(possible) == INTAKE_MACHINE.actions(state)
        if action in possible:
            state = INTAKE_MACHINE.advance(state, action)
            assert state is possible[action]
        else:
            with pytest.raises(IllegalTransition):
                INTAKE_MACHINE.advance(state, action)
    ended = {IntakeState.DECIDED, IntakeState.DECLINED, IntakeState.WITHDRAWN}
    assert (state in ended) == (not possible_moves(state)) == (state not in UNDER_WAY)


@pytest.mark.parametrize("state", sorted(UNDER_WAY))
def test_whoever_waits_may_withdraw_and_may_be_put_before_a_clinician(state: IntakeState) -> None:
    assert {IntakeAction.WITHDRAW, IntakeAction.PRESENT} <= set(possible_moves(state))


@pytest.mark.parametrize("key", sorted(shipped_admission_policies()))
def test_every_policy_that_ships_is_whole(key: str) -> None:
    policy = shipped_admission_policies()[key]
    raw = json.loads((resources.files("app") / "rules" / f"{key}.json").read_text("utf-8"))

    assert load_admission_policy(raw, shipped(), policy.level_of_care) == policy
    assert instruments_of(policy) <= shipped().keys()


levels = st.sampled_from(list(LevelOfCare))
cares = st.lists(
    st.builds(PriorCare, levels, st.none() | st.dates(date(2026, 1, 1), date(2026, 12, 31)))
)


@given(cares, levels, st.dates(date(2026, 1, 1), date(2026, 12, 31)))
def test_a_step_down_is_known_only_by_its_day(
    prior: list[PriorCare], program: LevelOfCare, today: date
) -> None:
    found = has_stepped_down(prior, program, today)
    recent = [
        care
        for care in prior
        if care.level.rank > program.rank
        and care.ended_on is not None
        and 0 <= (today - care.ended_on).days <= 14
    ]
    assert (found is True) == bool(recent)
    if found is False:
        assert all(c.ended_on is not None for c in prior if c.level.rank > program.rank)
    assert has_stepped_down(None, program, today) is None


def test_the_level_that_is_suggested_is_the_highest_that_a_criterion_points_to() -> None:
    both = replace(
        COMPLETE,
        attestations={**COMPLETE.attestations, "can_benefit": False, "withdrawal_risk": True},
    )
    assert recommend(POLICY, both).suggested_level is LevelOfCare.INPATIENT
    one = with_attestation("can_benefit", False)
    assert recommend(POLICY, one).suggested_level is LevelOfCare.PARTIAL_HOSPITALIZATION
    assert recommend(POLICY, COMPLETE).suggested_level is LevelOfCare.INTENSIVE_OUTPATIENT
    assert recommend(POLICY, IntakeInputs()).suggested_level is None


def test_what_is_missing_is_what_is_required_and_unknown() -> None:
    found = recommend(POLICY, with_answer("headphones", None))
    assert found.missing == ()
    asked = recommend(POLICY, with_answer("backup_phone", None))
    assert [each.code for each in asked.missing] == ["backup_phone"]


def test_exclusions_are_those_that_are_known() -> None:
    found = recommend(POLICY, with_attestation("violence_risk", True))
    assert [(each.code, each.is_overridable) for each in found.exclusions] == [
        ("violence_risk", False)
    ]
    assert recommend(POLICY, with_attestation("violence_risk", None)).exclusions == ()
