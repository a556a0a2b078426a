"""When a series of sessions takes place.

A series is local wall time, an IANA zone, an RRULE and its exceptions; `expand`
gives its occurrences as instants. What is accepted is a strict part of RFC 5545,
sections 3.3.10 and 3.8.5.
"""

from app.domain.recurrence.rule import InvalidRecurrence
from app.domain.recurrence.series import (
    DEFAULT_LIMITS,
    Limits,
    Occurrence,
    Series,
    expand,
    validate,
)

__all__ = [
    "DEFAULT_LIMITS",
    "InvalidRecurrence",
    "Limits",
    "Occurrence",
    "Series",
    "expand",
    "validate",
]
