"""Prometheus metrics: the registry, the buckets, exemplars, and the port that they are read from.

Names follow the OpenTelemetry semantic conventions as Prometheus writes them: `http.server.request.duration`
in seconds becomes `http_server_request_duration_seconds`, `http.request.method` becomes
`http_request_method`. https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

import platform

from common import VERSION
from common.settings import read_count, read_host
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from prometheus_client import (
    REGISTRY,
    Gauge,
    disable_created_metrics,
    start_http_server,
)

# Each counter and histogram would also say when it was created, in time series that nobody reads here.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Seconds. The conventions' own buckets jump from 0.1 to 0.25 and from 0.75 to 1, which would blur the very
# numbers that this lab knows in advance: 0.1 s of work in rng and hasher, 0.8 s seen by ten workers,
# 1 s a loop.
DURATION_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075),
    *(0.1, 0.105, 0.11, 0.125, 0.15, 0.2, 0.25),
    *(0.3, 0.325, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9),
    *(1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 5.0, 10.0),
)  # fmt: skip


def exemplar(span: trace.Span) -> dict[str, str] | None:
    """Return the exemplar that links a measurement to the trace of `span`, if that is recorded."""
    context = span.get_span_context()
    if not context.trace_flags.sampled:
        return None
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }


def start(resource: Resource) -> None:
    """Serve `/metrics` on `METRICS_PORT` (default 9100), from a thread of its own.

    A port apart from the service's own can still be read when all the threads of the service are busy.
    Raises `OSError` if the port is taken.
    """
    attributes = {
        name.replace(".", "_"): str(value)
        for name, value in sorted(resource.attributes.items())
        if name.startswith(("service.", "host."))
    }
    Gauge("target_info", "The resource that the metrics of this target are about.", attributes).labels(
        **attributes
    ).set(1)
    Gauge("dockercoins_build_info", "Version of the service.", ["version", "python_version"]).labels(
        version=VERSION, python_version=platform.python_version()
    ).set(1)
    start_http_server(read_count("METRICS_PORT", 9100, 1, 65535, "a port"), read_host(), REGISTRY)
