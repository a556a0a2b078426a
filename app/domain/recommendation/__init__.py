"""What the admission policy suggests, on three axes and with every reason.

Severity, commitment and virtual ability are each judged by criteria; the table
of the clinical reference, section 2.7, turns the three into a suggestion. An
acute alert always wins. Anything unknown that the policy requires leads to
`defer_more_info`, so that no silence ever admits anyone. It is decision
support: a licensed human decides (`intake`), and both are kept.
"""

from app.domain.recommendation.axes import Axes, IntakeInputs, ScoreInput
from app.domain.recommendation.policy import (
    READINESS,
    AdmissionPolicy,
    Commitment,
    Severity,
    VirtualAbility,
    default_admission_policy,
    instruments_of,
    load_admission_policy,
    shipped_admission_policies,
)
from app.domain.recommendation.verdict import Recommendation, Verdict, recommend, suggest

__all__ = [
    "READINESS",
    "AdmissionPolicy",
    "Axes",
    "Commitment",
    "IntakeInputs",
    "Recommendation",
    "ScoreInput",
    "Severity",
    "Verdict",
    "VirtualAbility",
    "default_admission_policy",
    "instruments_of",
    "load_admission_policy",
    "recommend",
    "shipped_admission_policies",
    "suggest",
]
