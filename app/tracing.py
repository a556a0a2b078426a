"""Traces that say where the time went, and nothing of anybody (PHI-20); needs the extra `otel`.

The framework's own spans name the path that was asked for, its query, the caller's idea of this
host, and whatever state a caller's trace carries: ids of participants, and all that a client may
put there. Of each span, what leaves the process is an allow-list of attributes, and ids of traces.
"""

import os
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import SpanContext, Status
from typing_extensions import override

from app.settings import Misconfigured

ATTRIBUTES: Final = frozenset(
    {
        "error.type",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "network.protocol.name",
        "network.protocol.version",
        "url.scheme",
    }
)
"""What a span may hold: constants of the code and of HTTP. So is its name, a method and a route."""

_BY_PROTOCOL: Final = {"otlp": "otlp_proto_http"}


def provider() -> TracerProvider:
    """Where the SDK's own variables send spans (`OTEL_TRACES_EXPORTER`, `OTEL_EXPORTER_…`).

    Raises Misconfigured for an exporter that is not installed.
    """
    name = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    found = entry_points(group="opentelemetry_traces_exporter", name=_BY_PROTOCOL.get(name, name))
    if not found:
        raise Misconfigured(
            ["OTEL_TRACES_EXPORTER names no exporter that is installed: otlp needs the extra otel."]
        )
    (exporter, *_) = found
    made = TracerProvider()
    made.add_span_processor(BatchSpanProcessor(Discreet(exporter.load()())))
    return made


class Discreet(SpanExporter):
    """Hands spans on with nothing in them that is not on the list."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export what may leave of each span."""
        return self._exporter.export([_without_anybody(span) for span in spans])

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _without_anybody(span: ReadableSpan) -> ReadableSpan:
    """A span without the texts of exceptions, links, states of foreign traces and the like."""
    attributes = span.attributes or {}
    return ReadableSpan(
        span.name,
        context=_bare(span.context),
        parent=_bare(span.parent),
        resource=span.resource,
        attributes={key: value for key, value in attributes.items() if key in ATTRIBUTES},
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
    )


def _bare(context: SpanContext | None) -> SpanContext | None:
    if context is None:
        return None
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)
