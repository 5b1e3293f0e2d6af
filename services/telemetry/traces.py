"""OpenTelemetry traces: the tracer provider, a bounded queue of finished spans, their export by OTLP/HTTP.

The exporter and the sampler take the settings of every OpenTelemetry SDK, for example `OTEL_TRACES_SAMPLER`
or `OTEL_EXPORTER_OTLP_ENDPOINT`. `OTEL_SDK_DISABLED=true` leaves the metrics and makes no spans.
"""

import atexit
import os
import threading
from collections.abc import Callable, Sequence

from common.settings import read_url
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import Counter, Gauge

# The names are those of the SDK's own metrics in the semantic conventions:
# https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/
PROCESSED = Counter(
    "otel_sdk_processor_span_processed",
    "Spans that left the queue towards the exporter (error_type empty), or found it full and were dropped.",
    ["error_type"],
)
EXPORTED = Counter(
    "otel_sdk_exporter_span_exported",
    "Spans that the collector took (error_type empty), or that were lost after the last retry.",
    ["error_type"],
)
QUEUE_SIZE = Gauge("otel_sdk_processor_span_queue_size", "Finished spans that wait for their export.")
QUEUE_CAPACITY = Gauge(
    "otel_sdk_processor_span_queue_capacity", "Finished spans that may wait; more are dropped."
)

# Spans. At ten loops a second a worker makes about 60 spans a second, so this bridges half a minute.
CAPACITY = 2048
BATCH = 512
# A trace can be looked up about this long after it ended.
SCHEDULE_DELAY_MILLISECONDS = 1000
# Of one batch, with all its retries.
EXPORT_TIMEOUT_SECONDS = 5
# What the end of a service waits for its last spans. A collector that hangs must not hold it up.
FLUSH_TIMEOUT_SECONDS = 1


class CountingExporter(SpanExporter):
    """Pass spans on to `exporter`; count those that it delivered and those that were lost.

    `on_batch` is called with the size of each batch before it is sent.
    """

    def __init__(self, exporter: SpanExporter, on_batch: Callable[[int], None]) -> None:
        self._exporter = exporter
        self._on_batch = on_batch
        self._delivered = EXPORTED.labels(error_type="")
        self._lost = EXPORTED.labels(error_type="export_failed")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send one batch; wait for the answer, or for the last retry to fail."""
        self._on_batch(len(spans))
        result = self._exporter.export(spans)
        outcome = self._delivered if result is SpanExportResult.SUCCESS else self._lost
        outcome.inc(len(spans))
        return result

    def shutdown(self) -> None:
        """Close the connection to the collector."""
        self._exporter.shutdown()


class BoundedSpanProcessor(BatchSpanProcessor):
    """A batch span processor that counts the spans that it drops when its queue is full.

    No more than `capacity` spans wait here for their export. The SDK's own queue is as large, so it never
    overflows.
    """

    def __init__(self, exporter: SpanExporter, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._waiting = 0
        self._lock = threading.Lock()
        self._taken = PROCESSED.labels(error_type="")
        self._dropped = PROCESSED.labels(error_type="queue_full")
        QUEUE_CAPACITY.set(capacity)
        QUEUE_SIZE.set_function(lambda: self._waiting)
        super().__init__(
            CountingExporter(exporter, on_batch=self._take),
            max_queue_size=capacity,
            max_export_batch_size=min(BATCH, capacity),
            schedule_delay_millis=SCHEDULE_DELAY_MILLISECONDS,
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a finished span for its export, or drop it if `capacity` spans wait already."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        with self._lock:
            room = self._waiting < self._capacity
            self._waiting += room
        if room:
            super().on_end(span)
        else:
            self._dropped.inc()

    def _take(self, count: int) -> None:
        with self._lock:
            self._waiting -= count
        self._taken.inc(count)


def start(resource: Resource) -> None:
    """Record spans and send them to the collector at `OTEL_EXPORTER_OTLP_ENDPOINT`.

    Its default is the container `otel-collector`. A collector that is away costs nothing but the spans.
    """
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = read_url(
        "OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel-collector:4318"
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BoundedSpanProcessor(OTLPSpanExporter(timeout=EXPORT_TIMEOUT_SECONDS)))
    trace.set_tracer_provider(provider)
    atexit.register(_flush, provider)


def _flush(provider: TracerProvider) -> None:
    flush = threading.Thread(target=provider.shutdown, daemon=True)
    flush.start()
    flush.join(FLUSH_TIMEOUT_SECONDS)
