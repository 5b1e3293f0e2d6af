"""What becomes of spans on their way to the trace backend, and what the Collector makes of them."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards.panels import (
    FRACTION,
    NEEDS_COLLECTOR,
    REQUESTS_PER_SECOND,
    SECONDS,
    SPANS_PER_SECOND,
    Panel,
    Query,
    Row,
    dashboard,
    graph,
    quantile,
    service_variable,
    sum_rate,
)

CALLS = "traces_span_metrics_calls_total"
SPAN_DURATION = "traces_span_metrics_duration_seconds"
SERVER = "http_server_request_duration_seconds"
OF_SERVERS = 'service_name=~"$service", span_kind="SPAN_KIND_SERVER"'
OF_LOOPS = 'service_name="worker", span_name="loop"'
COLLECTOR = 'job="otel-collector"'
# Beside lines that every lab has.
LINES_BY_COLLECTOR = "The lines from spans are made by the Collector: without it there are none."


def build() -> Dashboard:
    """Return the dashboard "Traces and collector"."""
    return dashboard(
        "traces",
        "Traces and collector",
        "Spans on their way from the services to the trace backend, and the metrics that the Collector "
        "makes of them, beside those that the services make themselves.",
        Row("Spans on their way", [_way(), _dropped(), _queues(), _sampling()]),
        Row("Span metrics beside the services' own", [_rates(), _durations()]),
        Row("Service graph", [_edges(), _edge_durations(), _failed_edges()]),
        variables=[service_variable(f"label_values({SERVER}_count, job)", "Whose spans to show.")],
    )


def _way() -> Panel:
    received = sum_rate("otelcol_receiver_accepted_spans_total", COLLECTOR)
    stored = sum_rate("dockercoins_tracestore_spans_received_total")
    return graph(
        "Spans from step to step",
        "Spans a second that services make, that arrive, and that go on to Jaeger. Healthy: all lines lie "
        "on each other, some seconds apart. Where one is lower, spans are lost; but with TAIL_SAMPLING=on "
        "only some traces go on to Jaeger. Without a Collector that line is missing.",
        SPANS_PER_SECOND,
        Query(sum_rate("otel_sdk_processor_span_processed_total"), "finished in services"),
        Query(sum_rate("otel_sdk_exporter_span_exported_total", 'error_type=""'), "exported by services"),
        Query(f"{received} or {stored}", "received by Collector or trace store"),
        Query(sum_rate("otelcol_exporter_sent_spans_total", COLLECTOR), "sent on to Jaeger"),
    )


def _dropped() -> Panel:
    return graph(
        "Spans dropped",
        "Spans a second that are lost for good, by where and why. Healthy: 0. It rises when the Collector "
        "is away for more than half a minute.",
        SPANS_PER_SECOND,
        Query("job_reason:spans_dropped:rate1m", "{{job}}: {{reason}}"),
    )


def _queues() -> Panel:
    return graph(
        "Queues",
        "How full the queues of finished spans are, in the services and in the Collector, if there is one. "
        "Healthy: a few per cent. A queue that is full drops spans.",
        FRACTION,
        Query(
            "max by (job) (otel_sdk_processor_span_queue_size / otel_sdk_processor_span_queue_capacity)",
            "{{job}}",
        ),
        Query(
            "max by (job) (otelcol_exporter_queue_size / otelcol_exporter_queue_capacity)",
            "{{job}}",
        ),
    )


def _sampling() -> Panel:
    return graph(
        "Sampling: loops with a trace",
        "Share of the loops whose trace is recorded. Healthy: 100 %; with OTEL_TRACES_SAMPLER_ARG=0.1, and "
        "the sampler that reads it, 10 %.",
        FRACTION,
        Query(
            f"{sum_rate(CALLS, OF_LOOPS)} / {sum_rate('dockercoins_worker_loops_total')}",
            "traced loops / all loops",
        ),
        empty=NEEDS_COLLECTOR,
    )


def _rates() -> Panel:
    return graph(
        "Requests: from spans, and counted",
        "Requests a second that the Collector counts in server spans, beside those that the services count "
        "themselves. Healthy: the same. With sampling the spans tell only their share: this is why rates "
        f"should not come from sampled traces. {LINES_BY_COLLECTOR}",
        REQUESTS_PER_SECOND,
        Query(sum_rate(CALLS, OF_SERVERS, by="service_name"), "{{service_name}}, from spans"),
        Query(sum_rate(f"{SERVER}_count", 'job=~"$service"', by="job"), "{{job}}, counted"),
    )


def _durations() -> Panel:
    return graph(
        "Duration: from spans, and measured",
        "95 % of the requests stay below, by server spans and by the services' own histograms. Healthy: "
        f"nearly the same: both measure inside the service, so neither sees the line. {LINES_BY_COLLECTOR}",
        SECONDS,
        Query(
            quantile(0.95, SPAN_DURATION, OF_SERVERS, by="service_name"),
            "{{service_name}} p95, from spans",
            exemplars=True,
        ),
        Query(quantile(0.95, SERVER, 'job=~"$service"', by="job"), "{{job}} p95, measured"),
    )


def _edges() -> Panel:
    return graph(
        "Who calls whom",
        "Calls a second from service to service, from pairs of client and server spans. Healthy: worker to "
        "rng and worker to hasher are the same.",
        REQUESTS_PER_SECOND,
        Query(
            sum_rate("traces_service_graph_request_total", by="client, server"),
            "{{client}} to {{server}}",
        ),
        width=8,
        empty=NEEDS_COLLECTOR,
    )


def _edge_durations() -> Panel:
    def p95(side: str) -> str:
        metric = f"traces_service_graph_request_{side}_seconds"
        return quantile(0.95, metric, 'client="worker"', by="client, server")

    return graph(
        "Duration of calls, both sides",
        "95 % of the calls stay below, at the client and at the server. Healthy: the same, but for rng "
        "with ten workers: 0.8 s at the client, 0.1 s at the server. Redis sends no spans.",
        SECONDS,
        Query(p95("client"), "{{client}} to {{server}}, client"),
        Query(p95("server"), "{{client}} to {{server}}, server"),
        width=8,
        empty=NEEDS_COLLECTOR,
    )


def _failed_edges() -> Panel:
    failed = sum_rate("traces_service_graph_request_failed_total", by="client, server")
    calls = sum_rate("traces_service_graph_request_total", by="client, server")
    return graph(
        "Calls that fail",
        "Calls a second from service to service with an error in one of their spans. Healthy: 0.",
        REQUESTS_PER_SECOND,
        # The Collector has no series of failed calls before the first one.
        Query(f"{failed} or 0 * {calls}", "{{client}} to {{server}}"),
        width=8,
        empty=NEEDS_COLLECTOR,
    )
