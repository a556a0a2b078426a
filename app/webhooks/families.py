"""The types of events, by what they are about: what an endpoint can ask for, and is described."""

from collections.abc import Mapping
from typing import Final

# Everything that is sent, by its subject; a test looks for it in the code. Of what happens to the
# endpoints themselves only the question whether they are there is sent, and what they ask for.
FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "account": ("activated", "password_changed"),
    "alert": (
        "opened",
        "raised_again",
        "escalated",
        "acknowledged",
        "assessed",
        "dispositioned",
        "closed",
    ),
    "assessment": ("assigned", "answered", "submitted", "corrected", "expired"),
    "attendance": ("stated",),
    "booking": ("created", "canceled"),
    "care_team": ("joined", "left"),
    "clock": ("moved",),
    "connectivity_test": ("finished",),
    "endpoint": ("verification", "tested"),
    "enrollment": ("started", "authorized", "ended"),
    "group": (
        "created",
        "member_joined",
        "member_left",
        "facilitator_joined",
        "facilitator_left",
    ),
    "instrument": ("loaded", "adapted", "switched_on", "switched_off"),
    "intake": ("moved", "updated", "recommended", "decided", "deferred"),
    "organization": ("created",),
    "participant": ("invited", "updated"),
    "plan": (
        "drafted",
        "updated",
        "proposed",
        "signed",
        "activated",
        "superseded",
        "revoked",
    ),
    "program": ("opened", "updated", "policy_loaded"),
    "referral": ("created",),
    "room": ("member_removed",),
    "series": ("created", "ended"),
    "session": ("scheduled", "started", "ended", "conflicted", "canceled"),
    "sign_in": ("created", "ended"),
    "staff": ("created", "invited", "updated", "disabled", "authorized"),
    "track": ("opened",),
}


def is_known(pattern: str) -> bool:
    """Whether a type such as `plan.signed`, `plan.*` or `*` can ever match an event."""
    subject, _, verb = pattern.partition(".")
    return pattern == "*" or (subject in FAMILIES and verb in {"*", *FAMILIES[subject]})
