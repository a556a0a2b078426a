"""Individual treatment plans: drafted, proposed, agreed to by both sides, and never changed then.

Participant and licensed clinician sign the digest of what they read; the second signature puts
the plan into force and the one before it out of force, in one transaction. A trigger keeps the
content of what anybody has signed (design, invariant 9).
"""

from app.services.plans.drafting import (
    PlanIncomplete,
    PlanNotDraft,
    PlanNotRevisable,
    PlanUnderWay,
    draft_plan,
    propose_plan,
    revise_plan,
    update_plan,
)
from app.services.plans.reading import EnrollmentEnded, PlanSigned, list_plans, read_plan
from app.services.plans.signing import (
    AlreadySigned,
    ContentDiffers,
    PlanNotProposed,
    sign_plan,
)

__all__ = [
    "AlreadySigned",
    "ContentDiffers",
    "EnrollmentEnded",
    "PlanIncomplete",
    "PlanNotDraft",
    "PlanNotProposed",
    "PlanNotRevisable",
    "PlanSigned",
    "PlanUnderWay",
    "draft_plan",
    "list_plans",
    "propose_plan",
    "read_plan",
    "revise_plan",
    "sign_plan",
    "update_plan",
]
