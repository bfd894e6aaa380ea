"""Spans of requests for an OpenTelemetry collector, where one is configured."""

from __future__ import annotations

import time
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cervella_rag import __version__


class Tracing:
    """Tells a collector of every request: route, status and time, and no words.

    Args:
        url: Where the collector takes traces, `http://127.0.0.1:4318/v1/traces`.
    """

    def __init__(self, url: str) -> None:
        resource = Resource.create({"service.name": "cervella", "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=5)))
        self._tracer = self._provider.get_tracer("cervella_rag")

    def request(self, fields: Mapping[str, str | int], seconds: float, headers: Mapping[str, str]) -> None:
        """Tell of a request that just ended; a caller's own trace goes on in it."""
        end = time.time_ns()
        span = self._tracer.start_span(
            f"{fields['method']} {fields['route']}",
            context=TraceContextTextMapPropagator().extract(headers),
            kind=SpanKind.SERVER,
            start_time=end - int(seconds * 1e9),
            attributes={
                "http.request.method": fields["method"],
                "http.route": fields["route"],
                "http.response.status_code": fields["status"],
                "cervella.key": fields["key"],
            },
        )
        if int(fields["status"]) >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def close(self) -> None:
        """Send what was not sent yet."""
        self._provider.shutdown()
