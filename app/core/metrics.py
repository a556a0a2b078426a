"""What this process counts (REL-17): rates, delays, depths; no ids, and nothing of a person.

Every metric is defined here and nowhere else, with labels from `LABELS`. Their values are
constants of the code: a route's template, a method, a class of status.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

REGISTRY: Final = CollectorRegistry()
LABELS: Final = frozenset({"route", "method", "status", "reason", "outcome", "kind", "job"})
_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


def _known(labels: Sequence[str]) -> Sequence[str]:
    if unknown := set(labels) - LABELS:
        raise ValueError(f"a metric has labels that are not allowed: {sorted(unknown)}")
    return labels


def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    """Define something that only grows. Raises ValueError for a label that is not allowed."""
    return Counter(f"stepwell_{name}", text, _known(labels), registry=REGISTRY)


def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
    """Define something that rises and falls. Raises ValueError for a label that is not allowed."""
    return Gauge(f"stepwell_{name}", text, _known(labels), registry=REGISTRY)


def seconds(name: str, text: str, labels: Sequence[str] = ()) -> Histogram:
    """Define a duration. Raises ValueError for a label that is not allowed."""
    return Histogram(
        f"stepwell_{name}_seconds", text, _known(labels), buckets=_SECONDS, registry=REGISTRY
    )


# Its `_count` is the number of requests.
REQUESTS: Final = seconds("http_request", "Requests answered", ("route", "method", "status"))
IN_FLIGHT: Final = gauge("http_in_flight", "Requests being served now")
REFUSED: Final = counter("http_refused", "Requests refused by the edge", ("reason",))
ACCESS_REFUSED: Final = counter("access_refused", "Refused authorizations", ("reason",))

POOL_IN_USE: Final = gauge("pool_in_use", "Database connections in use")
LOOP_LAG: Final = seconds("loop_lag", "How late the event loop came back")

SOCKETS: Final = gauge("sockets", "WebSockets that are open")
RESUMES: Final = counter("socket_resumes", "Subscriptions that caught up", ("outcome",))

OUTBOX_DEPTH: Final = gauge("outbox_depth", "Events that wait for their position")
OUTBOX_AGE: Final = gauge("outbox_age_seconds", "Age of the oldest event that waits")
DELIVERIES_AGE: Final = gauge(
    "webhook_age_seconds", "How long a delivery has been due that nobody has begun"
)
WEBHOOK_ATTEMPTS: Final = counter("webhook_attempts", "Webhook deliveries tried", ("outcome",))
SEAL_LAG: Final = gauge("audit_seal_lag_seconds", "Age of the oldest audit row without a seal")
# Nothing seals yet, and 0 would say that everything is sealed.
SEAL_LAG.set(math.nan)

JOBS: Final = counter("job_runs", "Runs of background jobs", ("job", "outcome"))
JOB_SECONDS: Final = seconds("job", "How long one run of a background job took", ("job",))
JOB_DONE_AT: Final = gauge(
    "job_last_success_timestamp_seconds", "When a job last succeeded, in Unix time", ("job",)
)
CHECKS: Final = gauge("check", "What /readyz found: 0 is well, 1 degraded, 2 failed", ("kind",))

LOG_FIELDS_DROPPED: Final = counter("log_fields_dropped", "Log fields that are not allowed")


_REFUSALS: Final = {401: "unauthenticated", 403: "forbidden"}


class Requests:
    """The duration histogram's children, kept at hand: looking one up costs more than observing."""

    def __init__(self) -> None:
        self._children: dict[tuple[str, str, int], Callable[[float], None]] = {}

    def observe(self, route: str, method: str, status: int, duration: float) -> None:
        """Count one answered request, under its class of status: `2xx`."""
        if status in _REFUSALS:
            ACCESS_REFUSED.labels(_REFUSALS[status]).inc()
        key = (route, method, status // 100)
        child = self._children.get(key)
        if child is None:
            child = REQUESTS.labels(route, method, f"{key[2]}xx").observe
            self._children[key] = child
        child(duration)


def defined() -> Sequence[MetricWrapperBase]:
    """Every metric of this module."""
    return [value for value in globals().values() if isinstance(value, MetricWrapperBase)]


def render() -> bytes:
    """The metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
