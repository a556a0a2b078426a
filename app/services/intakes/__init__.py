"""Intakes: from a referral to a decision.

The software suggests and explains itself criterion by criterion; a licensed human decides, and
both are kept. Unknown is never taken for met, and nobody is admitted by silence.
"""

from app.services.intakes.deciding import (
    CriterionNotOverridable,
    OverridesNeeded,
    RecommendationNeeded,
    RecommendationSuperseded,
    decide,
)
from app.services.intakes.moving import list_transitions, move_intake
from app.services.intakes.reading import list_intakes, read_intake
from app.services.intakes.recommending import IntakeClosed, recommend

__all__ = [
    "CriterionNotOverridable",
    "IntakeClosed",
    "OverridesNeeded",
    "RecommendationNeeded",
    "RecommendationSuperseded",
    "decide",
    "list_intakes",
    "list_transitions",
    "move_intake",
    "read_intake",
    "recommend",
]
