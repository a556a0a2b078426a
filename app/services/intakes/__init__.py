"""Intakes: from a referral to a decision.

The software suggests and explains itself criterion by criterion; a licensed human decides, and
both are kept. Unknown is never taken for met, and nobody is admitted by silence.
"""

from app.services.intakes.deciding import (
    CriterionNotOverridable,
    LicenseNotActive,
    OverridesNeeded,
    RecommendationNeeded,
    RecommendationSuperseded,
    decide,
)
from app.services.intakes.facts import put_facts, read_facts
from app.services.intakes.moving import list_transitions, move_intake
from app.services.intakes.reading import IntakeClosed, list_intakes, read_intake
from app.services.intakes.recommending import present_recommendation, recommend

__all__ = [
    "CriterionNotOverridable",
    "IntakeClosed",
    "LicenseNotActive",
    "OverridesNeeded",
    "RecommendationNeeded",
    "RecommendationSuperseded",
    "decide",
    "list_intakes",
    "list_transitions",
    "move_intake",
    "present_recommendation",
    "put_facts",
    "read_facts",
    "read_intake",
    "recommend",
]
