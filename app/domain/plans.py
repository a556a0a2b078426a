"""Individual treatment plans: their states."""

from enum import StrEnum, unique


@unique
class PlanState(StrEnum):
    """Where a version of a plan stands."""

    DRAFT = "draft"
    PROPOSED = "proposed"
    ACTIVE = "active"
    SUPERSEDED = "superseded"
    REVOKED = "revoked"
    COMPLETED = "completed"
