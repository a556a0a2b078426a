"""Metrics count, and name nobody (REL-17)."""

import pytest

from app.core import metrics


def test_rel_17_every_label_is_allowed() -> None:
    assert len(metrics.defined()) > 10
    for metric in metrics.defined():
        assert set(metric._labelnames) <= metrics.LABELS  # noqa: SLF001  # not shown otherwise


@pytest.mark.parametrize("define", [metrics.counter, metrics.gauge, metrics.seconds])
def test_rel_17_a_label_that_is_not_allowed_is_refused(define: object) -> None:
    with pytest.raises(ValueError, match="participant_id"):
        define("x", "x", ("route", "participant_id"))  # type: ignore[operator]  # one of three functions


def test_rel_17_what_operators_watch_is_there() -> None:
    text = metrics.render().decode()
    for name in (
        "http_request_seconds",
        "http_in_flight",
        "pool_in_use",
        "loop_lag_seconds",
        "sockets",
        "socket_resumes_total",
        "outbox_depth",
        "outbox_age_seconds",
        "webhook_attempts_total",
        "audit_seal_lag_seconds",
        "access_refused_total",
    ):
        assert f"# HELP stepwell_{name}" in text, name


def test_requests_are_kept_by_class_of_status() -> None:
    requests = metrics.Requests()
    for status in (200, 201, 404):
        requests.observe("/v1/kilns/{kiln_id}", "GET", status, 0.003)

    def sample(name: str, **labels: str) -> float | None:
        labels = {"route": "/v1/kilns/{kiln_id}", "method": "GET", **labels}
        return metrics.REGISTRY.get_sample_value(f"stepwell_http_request_seconds_{name}", labels)

    assert sample("count", status="2xx") == 2
    assert sample("count", status="4xx") == 1
    assert sample("bucket", status="2xx", le="0.002") == 0
    assert sample("bucket", status="2xx", le="0.005") == 2
