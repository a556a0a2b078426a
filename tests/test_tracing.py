"""Traces name routes, methods and statuses, and nobody: not by an id, not by a word (PHI-20)."""

import importlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, StatusCode, TraceState

from app import launch, tracing
from app.core.embedded import EmbeddedServer
from app.main import create_app
from app.runtime import Runtime
from app.settings import Misconfigured, Settings
from app.tracing import ATTRIBUTES, Discreet
from tests.factories import Make
from tests.processes import api_processes

CANARY: Final = "canary-7f3a"
TRACE: Final = f"{0xABCDEF:032x}"


class Traces:
    """An application whose spans are kept as an exporter gets them."""

    def __init__(self, runtime: Runtime) -> None:
        self._exported = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(Discreet(self._exported)))
        self.app: FastAPI = create_app(runtime, self.provider)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exported.get_finished_spans())

    @property
    def text(self) -> str:
        return "\n".join(span.to_json() for span in self.spans)


@pytest.fixture
async def traces(runtime: Runtime, make: Make) -> AsyncIterator[Traces]:
    traces = Traces(runtime)
    make.app = traces.app
    yield traces
    traces.provider.shutdown()


def kept(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


async def test_phi_20_a_span_names_a_route_and_nobody(traces: Traces, make: Make) -> None:
    clinician = await make.staff()
    participant = await make.participant(team=[clinician])
    path = f"/v1/participants/{participant.participant_id}"

    found = await clinician.get(path)

    (span,) = traces.spans
    assert found.status_code == HTTPStatus.OK
    assert span.name == "GET /v1/participants/{participant_id}"
    assert kept(span) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/v1/participants/{participant_id}",
        "network.protocol.version": "1.1",
        "url.scheme": "http",
    }
    assert str(participant.participant_id) not in traces.text


async def test_phi_20_nothing_that_a_client_sends_is_in_a_trace(traces: Traces, make: Make) -> None:
    clinician = await make.staff()
    transport = ASGITransport(app=traces.app, raise_app_exceptions=False)
    headers = {
        "Authorization": f"Bearer {clinician.token}",
        "User-Agent": CANARY,
        "X-Request-Id": CANARY,
        "baggage": f"name={CANARY}",
        "traceparent": f"00-{TRACE}-{1:016x}-01",
        "tracestate": f"vendor={CANARY}",
    }
    async with AsyncClient(
        transport=transport, base_url="http://testserver", headers=headers
    ) as client:
        await client.get(f"/v1/participants?limit={CANARY}")
        await client.get(f"/{CANARY}?{CANARY}={CANARY}")
        await client.get(f"/v1/participants/{CANARY}")
        await client.post("/v1/referrals", json={"participant": {"given_name": CANARY}})
        await client.request(CANARY.upper(), f"/v1/me?q={CANARY}")
        await client.get("/v1/me", headers={"Host": f"{CANARY}.example"})

    assert len(traces.spans) == 6
    assert CANARY not in traces.text.casefold()
    for span in traces.spans:
        assert kept(span).keys() <= ATTRIBUTES
        assert not span.events
        # A proxy's trace goes on; what a client says of it does not.
        assert f"{span.context.trace_id:032x}" == TRACE


async def test_phi_20_an_error_is_its_class(
    traces: Traces, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinician = await make.staff()

    async def fail(*_: object) -> None:
        raise LookupError(CANARY)

    monkeypatch.setattr("app.services.programs.list_programs", fail)
    answer = await clinician.get("/v1/programs")

    (span,) = traces.spans
    assert answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert not span.status.is_ok
    assert span.status.description is None
    assert CANARY not in traces.text


def test_phi_20_what_other_instruments_put_into_a_span_does_not_leave() -> None:
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Discreet(exported)))
    state = TraceState([("vendor", CANARY)])
    linked = SpanContext(1, 2, is_remote=True, trace_state=state)
    tracer = provider.get_tracer("another")
    link, statement = Link(linked), {"db.statement": CANARY}
    with tracer.start_as_current_span("query", links=[link], attributes=statement) as span:
        span.add_event(CANARY)
        span.record_exception(LookupError(CANARY))
        span.set_status(StatusCode.ERROR, CANARY)

    (kept_span,) = exported.get_finished_spans()
    assert CANARY not in kept_span.to_json()
    assert (kept_span.attributes, kept_span.events, kept_span.links) == ({}, (), ())
    assert provider.force_flush()
    provider.shutdown()


async def test_a_process_sends_its_spans_where_it_is_told(
    server: EmbeddedServer,
    settings: Settings,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    clinician = await make.staff()
    participant = await make.participant(team=[clinician])
    async with api_processes(server, settings, tracing="true") as (process,):
        async with process.client(clinician.token) as client:
            await client.get(f"/v1/participants/{participant.participant_id}")
            await client.get(f"/v1/programs?{CANARY}=1")
        await process.stop()

    said = "\n".join(process.lines)
    assert '"http.route": "/v1/participants/{participant_id}"' in said
    assert '"url.path"' not in said
    assert str(participant.participant_id) not in said
    assert CANARY not in said


@pytest.mark.parametrize("name", ["otlp", "pigeon"])
def test_an_exporter_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", name)
    with pytest.raises(Misconfigured, match="OTEL_TRACES_EXPORTER names no exporter"):
        tracing.provider()


def test_an_extra_that_is_not_there_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(Misconfigured, match="STEPWELL_TRACING needs the extra otel"):
        launch._traced_app(  # noqa: SLF001  # what `serve` does first
            settings.model_copy(update={"tracing": True}),
            "postgresql+asyncpg://stepwell_api@/stepwell",
        )


def test_without_the_setting_nothing_is_traced(app: FastAPI) -> None:
    assert not app._native_telemetry.enabled()  # noqa: SLF001  # FastAPI shows it nowhere else
