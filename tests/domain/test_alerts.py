"""The clocks of section 5.2, and an end that only people bring."""

from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.alerts import (
    ALERT_MACHINE,
    CLOCK_RUNS,
    AlertAction,
    AlertPolicy,
    AlertState,
    Disposition,
    DispositionDecision,
    Responder,
    Tier,
    default_alert_policy,
    disposition_gaps,
    due,
    may_close,
    starts_clock_anew,
)
from app.domain.policies import InvalidPolicy, load_policy
from app.domain.roles import RiskLevel
from app.domain.transitions import IllegalTransition

POLICY = default_alert_policy()
ZONE = ZoneInfo("America/New_York")
OPENED = datetime(2026, 9, 1, 18, tzinfo=UTC)  # 14:00 in New York


def minutes(count: int) -> timedelta:
    return timedelta(minutes=count)


def test_an_acute_alert_is_acknowledged_in_five_and_answered_in_fifteen_minutes() -> None:
    clock = due(POLICY, Tier.ACUTE, OPENED, zone=ZONE)
    assert clock.acknowledge_by == OPENED + minutes(5)
    assert clock.contact_by == OPENED + minutes(15)
    assert [(each.at - OPENED, each.to) for each in clock.escalations] == [
        (minutes(5), Responder.SUPERVISOR),
        (minutes(10), Responder.MEDICAL_DIRECTOR),
        (minutes(15), Responder.ALL_ON_CALL),
    ]


def test_an_acute_clock_never_waits_for_staffed_hours() -> None:
    tomorrow = OPENED + timedelta(days=1)
    assert due(POLICY, Tier.ACUTE, OPENED, zone=ZONE, staffed_from=tomorrow) == due(
        POLICY, Tier.ACUTE, OPENED, zone=ZONE
    )


def test_an_urgent_alert_is_answered_before_the_local_day_ends() -> None:
    clock = due(POLICY, Tier.URGENT, OPENED, zone=ZONE)
    assert clock.acknowledge_by == OPENED + minutes(60)
    assert clock.contact_by == datetime(2026, 9, 2, 4, tzinfo=UTC)
    assert [(each.at - OPENED, each.to) for each in clock.escalations] == [
        (minutes(60), Responder.ON_CALL),
        (minutes(120), Responder.SUPERVISOR),
    ]


def test_an_urgent_clock_outside_staffed_hours_begins_with_the_next_one() -> None:
    opened = datetime(2026, 9, 2, 2, tzinfo=UTC)
    staffed_from = datetime(2026, 9, 2, 13, tzinfo=UTC)
    clock = due(POLICY, Tier.URGENT, opened, zone=ZONE, staffed_from=staffed_from)
    assert clock.acknowledge_by == staffed_from + minutes(60)
    assert clock.contact_by == datetime(2026, 9, 3, 4, tzinfo=UTC)
    assert clock.escalations[0].at == staffed_from + minutes(60)


def test_contact_never_falls_due_before_the_acknowledgment() -> None:
    before_midnight = datetime(2026, 9, 2, 3, 50, tzinfo=UTC)
    clock = due(POLICY, Tier.URGENT, before_midnight, zone=ZONE)
    assert clock.contact_by == clock.acknowledge_by


def test_the_day_with_a_clock_change_ends_at_its_own_midnight() -> None:
    opened = datetime(2026, 11, 1, 12, tzinfo=UTC)
    clock = due(POLICY, Tier.URGENT, opened, zone=ZONE)
    assert clock.contact_by == datetime(2026, 11, 2, 5, tzinfo=UTC)


def test_a_watch_alert_is_acknowledged_in_a_day_and_answered_in_three() -> None:
    clock = due(POLICY, Tier.WATCH, OPENED, zone=ZONE)
    assert clock.acknowledge_by == OPENED + timedelta(hours=24)
    assert clock.contact_by == OPENED + timedelta(hours=72)
    assert [each.at - OPENED for each in clock.escalations] == [timedelta(hours=48)]


@given(
    st.sampled_from(Tier),
    st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - Hypothesis adds the zone
    st.sampled_from(["UTC", "America/New_York", "Pacific/Apia", "Asia/Kathmandu"]),
    st.one_of(st.none(), st.timedeltas(timedelta(days=-1), timedelta(days=4))),
)
def test_no_clock_runs_out_before_it_begins(
    tier: Tier, opened_at: datetime, zone: str, wait: timedelta | None
) -> None:
    staffed_from = None if wait is None else opened_at + wait
    clock = due(POLICY, tier, opened_at, zone=ZoneInfo(zone), staffed_from=staffed_from)
    assert opened_at < clock.acknowledge_by <= clock.contact_by
    at = [each.at for each in clock.escalations]
    assert at == sorted(at)
    assert at[0] > opened_at


def test_every_tier_has_a_clock_someone_to_notify_and_someone_to_escalate_to() -> None:
    assert set(POLICY.tiers) == set(Tier)
    assert all(clock.notify and clock.escalate for clock in POLICY.tiers.values())


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"effective_to": "2025-01-01"}, "effective_to"),
        ({"version": "one"}, "version"),
        ({"colour": "red"}, "colour"),
        ({"tiers": {"acute": {}}}, "tiers"),
    ],
)
def test_a_policy_that_contradicts_its_format_is_refused(
    wrong: dict[str, object], place: str
) -> None:
    raw: dict[str, object] = {
        "key": "x",
        "version": "1.0.0",
        "effective_from": "2026-01-01",
        "effective_to": None,
        "source": "test",
        "tiers": {},
    }
    assert load_policy(AlertPolicy, raw).applies_on(date(2099, 1, 1))
    with pytest.raises(InvalidPolicy) as refused:
        load_policy(AlertPolicy, raw | wrong)
    assert refused.value.place.startswith(place)


def test_a_policy_holds_from_its_first_to_its_last_day() -> None:
    raw: dict[str, object] = {
        "key": "x",
        "version": "1.0.0",
        "effective_from": "2026-01-01",
        "effective_to": "2026-12-31",
        "source": "test",
        "tiers": {},
    }
    policy = load_policy(AlertPolicy, raw)
    days = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 12, 31), date(2027, 1, 1)]
    assert [policy.applies_on(day) for day in days] == [False, True, True, False]


def test_an_alert_runs_its_course() -> None:
    state = AlertState.OPEN
    for action in (
        AlertAction.ACKNOWLEDGE,
        AlertAction.ASSESS,
        AlertAction.DISPOSITION,
        AlertAction.CLOSE,
    ):
        state = ALERT_MACHINE.advance(state, action)
    assert state is AlertState.CLOSED


def test_no_alert_ends_without_someone_who_looked() -> None:
    ends = {AlertState.CLOSED, AlertState.FALSE_POSITIVE}
    for action in ALERT_MACHINE.actions(AlertState.OPEN):
        assert ALERT_MACHINE.advance(AlertState.OPEN, action) not in ends
    with pytest.raises(IllegalTransition):
        ALERT_MACHINE.advance(AlertState.OPEN, AlertAction.DISMISS)


@pytest.mark.parametrize("state", [AlertState.ACKNOWLEDGED, AlertState.ASSESSING])
def test_a_new_hit_starts_the_clock_of_what_somebody_has_in_hand(state: AlertState) -> None:
    assert ALERT_MACHINE.advance(state, AlertAction.REOPEN) is AlertState.OPEN
    assert starts_clock_anew(state, Tier.URGENT, Tier.URGENT)
    assert starts_clock_anew(state, Tier.URGENT, Tier.ACUTE)
    assert not starts_clock_anew(state, Tier.URGENT, Tier.WATCH)


def test_a_new_hit_on_an_unseen_alert_starts_its_clock_only_if_it_is_more_urgent() -> None:
    more_urgent = {
        (tier, hit)
        for tier, hit in product(Tier, Tier)
        if starts_clock_anew(AlertState.OPEN, tier, hit)
    }
    assert more_urgent == {
        (Tier.WATCH, Tier.URGENT),
        (Tier.WATCH, Tier.ACUTE),
        (Tier.URGENT, Tier.ACUTE),
    }


def test_a_new_hit_reopens_what_was_ended() -> None:
    for state in (AlertState.DISPOSITIONED, AlertState.CLOSED, AlertState.FALSE_POSITIVE):
        assert ALERT_MACHINE.advance(state, AlertAction.REOPEN) is AlertState.OPEN


def test_a_clock_runs_until_someone_has_answered() -> None:
    ended = set(AlertState) - CLOCK_RUNS
    assert ended == {
        AlertState.DISPOSITIONED,
        AlertState.CLOSED,
        AlertState.FALSE_POSITIVE,
        AlertState.DUPLICATE,
    }


def test_every_pair_of_state_and_verb_moves_or_is_refused() -> None:
    for state, action in product(AlertState, AlertAction):
        if action in ALERT_MACHINE.actions(state):
            assert ALERT_MACHINE.advance(state, action) is not state
        else:
            with pytest.raises(IllegalTransition):
                ALERT_MACHINE.advance(state, action)


COMPLETE = Disposition(
    assessment="Structured interview",
    risk=RiskLevel.LOW,
    rationale="No plan, no intent",
    protective_factors="Family at home",
    is_means_safety_discussed=False,
    is_safety_plan_reviewed=True,
    decision=DispositionDecision.INCREASE_CONTACT,
    told="Supervisor",
    next_check_due_at=OPENED,
)


def test_a_disposition_says_everything_and_a_recorded_no_is_an_answer() -> None:
    assert disposition_gaps(COMPLETE) == ()
    empty = Disposition(None, None, None, None, None, None, None, None, None)
    assert len(disposition_gaps(empty)) == 9


def test_an_unknown_risk_is_no_formulation() -> None:
    unknown = Disposition(
        assessment="x",
        risk=RiskLevel.UNKNOWN,
        rationale="",
        protective_factors="x",
        is_means_safety_discussed=True,
        is_safety_plan_reviewed=True,
        decision=DispositionDecision.CONTINUE,
        told="x",
        next_check_due_at=OPENED,
    )
    assert disposition_gaps(unknown) == ("risk", "rationale")


@pytest.mark.parametrize(
    ("risk", "alone"),
    [
        (RiskLevel.NONE, True),
        (RiskLevel.LOW, True),
        (RiskLevel.MODERATE, True),
        (RiskLevel.HIGH, False),
        (RiskLevel.IMMINENT, False),
        (RiskLevel.UNKNOWN, False),
    ],
)
def test_high_and_imminent_risk_take_two_people(
    risk: RiskLevel,
    alone: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert may_close(risk, is_supervisor_signed=False) is alone
    assert may_close(risk, is_supervisor_signed=True)
