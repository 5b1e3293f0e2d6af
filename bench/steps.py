"""What is in the parts: what each step of telemetry takes of one loop, measured in one process.

A loop has five spans: itself, a request to rng and one to hasher, and the two that answer. Each step is
repeated many times, alone, and the least of several rounds counts. In the running services the same steps
take several times as long, for between two of them other code runs. So these numbers say which steps matter,
and not what they cost in a running service: `parts` says that.
"""

import os
import sys
from collections.abc import Callable
from time import process_time
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

from bench.report import Report
from workshop.lab import ROOT
from workshop.tracestore import otlp
from workshop.tracestore.store import TraceStore

sys.path.insert(0, str(ROOT / "services"))

import telemetry.http_client as client
from telemetry import resource, traces
from telemetry.metrics import exemplar

SPANS, CALLS = 5, 2
# Of rng and hasher, at both ends; of sleep, rng, hasher and the loop.
MEASUREMENTS = 8
BATCH = 512
HEADERS = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
ATTRIBUTES = {
    "http.request.method": "GET",
    "server.address": "127.0.0.1",
    "server.port": 8001,
    "service.peer.name": "rng",
    "url.full": "http://127.0.0.1:8001/32",
}
ROUNDS = 5


class Kept(SpanExporter):
    """The spans that were exported last."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Any) -> SpanExportResult:
        """Keep them."""
        self.spans = (self.spans + list(spans))[-BATCH:]
        return SpanExportResult.SUCCESS


def microseconds(step: Callable[[], Any], count: int) -> float:
    """Return the CPU time of a step in microseconds: the least of several rounds."""

    def once() -> float:
        started = process_time()
        for _ in range(count):
            step()
        return (process_time() - started) / count

    return 1e6 * min(once() for _ in range(ROUNDS))


def batches(count: int) -> list[bytes]:
    """Return so many export requests of a full batch each, with traces of five spans."""
    kept = Kept()
    provider = TracerProvider(resource=resource.describe("worker"))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("bench")

    def batch() -> bytes:
        for _ in range(BATCH // SPANS + 1):
            with tracer.start_as_current_span("loop"):
                for _ in range(SPANS - 1):
                    tracer.start_span("GET", kind=SpanKind.CLIENT, attributes=ATTRIBUTES).end()
        return bytes(encode_spans(kept.spans).SerializeToString())

    return [batch() for _ in range(count)]


def of_the_store(count: int) -> tuple[float, float]:
    """Return what a span takes in the trace store: to be decoded and checked, and to be put in; µs each.

    The store is full after a quarter of the batches, so a span goes for each one that comes.
    """
    bodies = batches(count)
    store = TraceStore(max_spans=BATCH * count // 4)
    started = process_time()
    checked = [otlp.check(otlp.decode(body, otlp.PROTOBUF)) for body in bodies]
    decoded = process_time()
    for batch in checked:
        store.add(batch)
    ended = process_time()
    return tuple(1e6 * seconds / (BATCH * count) for seconds in (decoded - started, ended - decoded))


def run(*, short: bool) -> Report:
    """Run the benchmark."""
    count = 1000 if short else 20_000
    os.environ.pop("OTEL_TRACES_SAMPLER", None)
    kept = Kept()
    provider = TracerProvider(resource=resource.describe("worker"))
    provider.add_span_processor(traces.BoundedSpanProcessor(kept))
    tracer = provider.get_tracer("bench")

    def span() -> None:
        tracer.start_span("GET", kind=SpanKind.CLIENT, attributes=ATTRIBUTES).end()

    def current_span() -> None:
        with tracer.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=ATTRIBUTES):
            pass

    open_span = tracer.start_span("GET", attributes=ATTRIBUTES)

    def measure() -> None:
        client.DURATION.labels("rng", "GET", "200", "").observe(0.1, exemplar(open_span))

    def inject() -> None:
        propagate.inject({}, trace.set_span_in_context(open_span))

    of_span = microseconds(span, count)
    of_current = microseconds(current_span, count) - of_span
    provider.force_flush()
    spans = kept.spans
    of_encoding = microseconds(lambda: encode_spans(spans).SerializeToString(), count // 200) / len(spans)
    provider.shutdown()
    of_decoding, of_storing = of_the_store(8 if short else 80)
    steps = [
        ("start a span, end it, queue it", "services", SPANS, of_span),
        ("make it the current one", "services", SPANS, of_current),
        ("encode it for OTLP", "services", SPANS, of_encoding),
        ("write the context into a header", "worker", CALLS, microseconds(inject, count)),
        (
            "read it from a header",
            "rng, hasher",
            CALLS,
            microseconds(lambda: propagate.extract(HEADERS), count),
        ),
        ("observe a duration, with exemplar", "services", MEASUREMENTS, microseconds(measure, count)),
        ("decode and check a span", "trace store", SPANS, of_decoding),
        ("store it, and evict another", "trace store", SPANS, of_storing),
    ]
    whole = sum(times * each for _, _, times, each in steps)
    rows = [
        {"step": step, "where": where, "times": times, "each": each, "all": times * each}
        for step, where, times, each in steps
    ]
    return Report(
        name="steps",
        title="The steps of telemetry in one loop",
        how=f"CPU time, the least of {ROUNDS} rounds.",
        columns={
            "step": ("step", "{}"),
            "where": ("where", "{}"),
            "times": ("times in a loop", "{}"),
            "each": ("µs each", "{:.1f}"),
            "all": ("µs in a loop", "{:.0f}"),
        },
        rows=[*rows, {"step": "all of them", "all": whole}],
    )


def draw(report: Report, axes: Any) -> None:
    """Draw a bar for what each step takes of a loop."""
    rows = [row for row in report.rows if "each" in row][::-1]
    bars = axes.barh([row["step"] for row in rows], [row["all"] for row in rows], color="#3b6ea5")
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_xlabel("µs of CPU time in a loop")
