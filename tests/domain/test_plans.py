"""A plan says what it must before it is signed, and a signature names what was signed."""

import hashlib
import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.plans import (
    EDITABLE,
    PLAN_MACHINE,
    Diagnosis,
    Gap,
    Goal,
    Intervention,
    Measure,
    Objective,
    Per,
    PlanAction,
    PlanContent,
    PlanContext,
    PlanProblem,
    PlanState,
    Signature,
    Signer,
    age_band_on,
    content_digest,
    default_plan_policy,
    gaps,
    missing_signers,
    required_signers,
)
from app.domain.roles import AgeBand, LevelOfCare
from app.domain.transitions import IllegalTransition

POLICY = default_plan_policy()
REVIEW = date(2026, 9, 15)

OBJECTIVE = Objective(
    id=UUID(int=2),
    text="PHQ-9 total below 10",
    measure=Measure("instrument", "phq-9.total", "<", Decimal(10)),
    target_on=REVIEW + timedelta(days=60),
)
INTERVENTION = Intervention(
    id=UUID(int=3),
    modality="group_therapy",
    description="Skills group",
    minutes=90,
    count=3,
    per=Per.WEEK,
    weeks=8,
    responsible_id=UUID(int=4),
)
PROBLEM = PlanProblem(UUID(int=5), "Low mood since spring")
GOAL = Goal(UUID(int=1), PROBLEM.id, "I want my evenings back", (OBJECTIVE,), (INTERVENTION,))
PLAN = PlanContent(
    level_of_care=LevelOfCare.INTENSIVE_OUTPATIENT,
    hours_per_week=Decimal(9),
    diagnoses=(Diagnosis("F33.1", "Major depressive disorder, recurrent, moderate"),),
    problems=(PROBLEM,),
    goals=(GOAL,),
    safety_plan=None,
    discharge_criteria="Two weeks in the mild range",
    review_on=REVIEW,
)
CONTEXT = PlanContext(
    age_band=AgeBand.ADULT,
    has_recent_safety_alert=False,
    needs_physician=False,
)


def found(content: PlanContent, context: PlanContext = CONTEXT) -> list[Gap]:
    return gaps(POLICY, content, context)


def with_goal(**changed: object) -> PlanContent:
    return replace(PLAN, goals=(replace(GOAL, **changed),))  # type: ignore[arg-type]  # a shorthand


def with_objective(**changed: object) -> PlanContent:
    return with_goal(objectives=(replace(OBJECTIVE, **changed),))  # type: ignore[arg-type]  # a shorthand


def with_intervention(**changed: object) -> PlanContent:
    return with_goal(interventions=(replace(INTERVENTION, **changed),))  # type: ignore[arg-type]  # a shorthand


def test_a_whole_plan_has_no_gaps() -> None:
    assert found(PLAN) == []


@pytest.mark.parametrize(
    ("content", "code", "place"),
    [
        (replace(PLAN, diagnoses=()), "diagnosis_missing", "/diagnoses"),
        (
            replace(PLAN, problems=(PROBLEM, replace(PROBLEM, statement=" "))),
            "problem_statement_missing",
            "/problems/1/statement",
        ),
        (replace(PLAN, goals=()), "goal_missing", "/goals"),
        (with_goal(problem_id=None), "problem_unknown", "/goals/0/problem_id"),
        (with_goal(problem_id=UUID(int=9)), "problem_unknown", "/goals/0/problem_id"),
        (replace(PLAN, hours_per_week=Decimal("8.75")), "too_few_hours", "/hours_per_week"),
        (
            replace(PLAN, discharge_criteria=" "),
            "discharge_criteria_missing",
            "/discharge_criteria",
        ),
        (replace(PLAN, review_on=None), "review_date_missing", "/review_on"),
        (with_goal(statement=""), "goal_statement_missing", "/goals/0/statement"),
        (with_goal(objectives=()), "objective_missing", "/goals/0/objectives"),
        (with_goal(interventions=()), "intervention_missing", "/goals/0/interventions"),
        (with_objective(text=""), "objective_text_missing", "/goals/0/objectives/0/text"),
        (with_objective(measure=None), "measure_missing", "/goals/0/objectives/0/measure"),
        (with_objective(target_on=None), "target_date_missing", "/goals/0/objectives/0/target_on"),
        (
            with_objective(target_on=REVIEW + timedelta(days=61)),
            "target_date_too_late",
            "/goals/0/objectives/0/target_on",
        ),
        (with_intervention(modality=""), "modality_missing", "/goals/0/interventions/0/modality"),
        (with_intervention(minutes=None), "amount_missing", "/goals/0/interventions/0/minutes"),
        (with_intervention(minutes=0), "amount_missing", "/goals/0/interventions/0/minutes"),
        (with_intervention(count=None), "frequency_missing", "/goals/0/interventions/0/count"),
        (with_intervention(per=None), "frequency_missing", "/goals/0/interventions/0/count"),
        (with_intervention(weeks=None), "duration_missing", "/goals/0/interventions/0/weeks"),
        (
            with_intervention(responsible_id=None),
            "responsible_missing",
            "/goals/0/interventions/0/responsible_id",
        ),
    ],
)
def test_each_thing_a_plan_lacks_is_named_with_its_place(
    content: PlanContent, code: str, place: str
) -> None:
    assert found(content) == [Gap(code, place)]


def test_adolescents_and_other_levels_have_their_own_hours() -> None:
    six = replace(PLAN, hours_per_week=Decimal(6))
    assert found(six, replace(CONTEXT, age_band=AgeBand.ADOLESCENT)) == []
    assert found(replace(six, level_of_care=LevelOfCare.OUTPATIENT)) == []
    php = replace(PLAN, level_of_care=LevelOfCare.PARTIAL_HOSPITALIZATION)
    assert found(php) == [Gap("too_few_hours", "/hours_per_week")]


def test_a_recent_safety_alert_asks_for_a_safety_plan() -> None:
    alerted = replace(CONTEXT, has_recent_safety_alert=True)
    assert found(PLAN, alerted) == [Gap("safety_plan_missing", "/safety_plan")]
    assert found(replace(PLAN, safety_plan=" "), alerted) == [
        Gap("safety_plan_missing", "/safety_plan")
    ]
    assert found(replace(PLAN, safety_plan="Calls the line."), alerted) == []


def test_a_plan_without_problems_has_goals_that_answer_none() -> None:
    assert found(replace(PLAN, problems=())) == [
        Gap("problem_missing", "/problems"),
        Gap("problem_unknown", "/goals/0/problem_id"),
    ]


@pytest.mark.parametrize(
    ("born_on", "band"),
    [
        (date(2008, 9, 15), AgeBand.ADULT),
        (date(2008, 9, 16), AgeBand.ADOLESCENT),
        (date(2008, 8, 31), AgeBand.ADULT),
        (None, AgeBand.ADULT),
    ],
)
def test_somebody_is_of_age_from_their_eighteenth_birthday_on(
    born_on: date | None, band: AgeBand
) -> None:
    assert age_band_on(born_on, REVIEW) is band


def test_a_signed_plan_is_never_edited_and_ends_in_one_of_three_ways() -> None:
    assert {PlanState.DRAFT} == EDITABLE
    state = PLAN_MACHINE.advance(PlanState.DRAFT, PlanAction.PROPOSE)
    assert PLAN_MACHINE.advance(state, PlanAction.WITHDRAW) is PlanState.DRAFT
    state = PLAN_MACHINE.advance(state, PlanAction.ACTIVATE)
    ends = {PLAN_MACHINE.advance(state, action) for action in PLAN_MACHINE.actions(state)}
    assert ends == {PlanState.SUPERSEDED, PlanState.REVOKED, PlanState.COMPLETED}
    assert all(PLAN_MACHINE.actions(end) == frozenset() for end in ends)


def test_a_draft_is_not_activated_unseen() -> None:
    with pytest.raises(IllegalTransition):
        PLAN_MACHINE.advance(PlanState.DRAFT, PlanAction.ACTIVATE)


DIGEST = content_digest(PLAN)


def signed(*signers: Signer, digest: bytes = DIGEST) -> list[Signature]:
    return [Signature(signer, digest) for signer in signers]


def test_participant_and_clinician_sign_and_for_some_payers_a_physician() -> None:
    both = {Signer.PARTICIPANT, Signer.LICENSED_CLINICIAN}
    assert required_signers(CONTEXT) == both
    assert required_signers(replace(CONTEXT, needs_physician=True)) == both | {Signer.PHYSICIAN}
    assert missing_signers(CONTEXT, signed(*both), DIGEST) == frozenset()
    assert missing_signers(CONTEXT, signed(Signer.PARTICIPANT), DIGEST) == {
        Signer.LICENSED_CLINICIAN
    }


def test_a_signature_under_other_content_is_none() -> None:
    other = content_digest(replace(PLAN, discharge_criteria="Other"))
    everyone = signed(Signer.PARTICIPANT, Signer.LICENSED_CLINICIAN, digest=other)
    assert missing_signers(CONTEXT, everyone, DIGEST) == required_signers(CONTEXT)


@pytest.mark.parametrize(("reason", "stands"), [("Wants to think", True), ("  ", False)])
def test_a_written_reason_stands_for_a_participant_who_declines(
    reason: str,
    stands: bool,  # noqa: FBT001 - a column of the table
) -> None:
    missing = missing_signers(
        CONTEXT, signed(Signer.LICENSED_CLINICIAN), DIGEST, participant_declined_because=reason
    )
    assert (missing == frozenset()) is stands


def test_the_digest_is_sha_256_of_canonical_json() -> None:
    content = {"b": [1, True, None], "a": "é"}
    assert (
        content_digest(content) == hashlib.sha256('{"a":"é","b":[1,true,null]}'.encode()).digest()
    )


def test_equal_plans_have_equal_digests_and_any_change_another() -> None:
    assert content_digest(replace(PLAN, hours_per_week=Decimal("9.00"))) == DIGEST
    changed = [
        replace(PLAN, hours_per_week=Decimal("9.5")),
        with_goal(statement="I want my evenings back."),
        with_objective(target_on=REVIEW),
        with_intervention(responsible_id=UUID(int=5)),
        replace(PLAN, goals=(GOAL, GOAL)),
    ]
    digests = {content_digest(each) for each in changed}
    assert len(digests | {DIGEST}) == len(changed) + 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=12,
)
documents = st.dictionaries(st.text(st.characters(codec="utf-8")), json_values, min_size=1)


@given(documents)
def test_the_digest_survives_storage_and_the_order_of_keys(document: dict[str, object]) -> None:
    backwards = dict(reversed(list(document.items())))
    stored = json.loads(json.dumps(document))
    assert content_digest(backwards) == content_digest(document) == content_digest(stored)  # type: ignore[arg-type]  # JSON by its strategy


@pytest.mark.parametrize("value", [0.5, float("nan"), Decimal("NaN"), {1: "x"}, {"x"}, b"x"])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        content_digest({"value": value})  # type: ignore[dict-item]  # the point of the test
