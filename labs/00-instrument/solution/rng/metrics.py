"""The metrics of rng, for Prometheus to read."""

from time import perf_counter

from common.settings import read_count, read_host
from flask import Flask, Response, g, request
from prometheus_client import Gauge, Histogram, disable_created_metrics, start_http_server

# Else each counter and histogram has one more series, which says when it was made.
disable_created_metrics()

DURATION = Histogram(
    "http_server_request_duration_seconds",
    "Time that the service worked on a request.",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=(
        *(0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.105, 0.11, 0.125, 0.15, 0.2, 0.25),
        *(0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 2.5, 5.0, 10.0),
    ),
)
ACTIVE = Gauge("http_server_active_requests", "Requests that the service is working on now.")


def instrument(app: Flask) -> None:
    """Measure each request; serve what is measured on the port METRICS_PORT, from a thread of its own."""
    app.before_request(begin)
    app.after_request(finish)
    app.teardown_request(end)
    start_http_server(read_count("METRICS_PORT", 9100, 1, 65535, "a port"), read_host())


def begin() -> None:
    """Start the clock."""
    g.started = perf_counter()
    ACTIVE.inc()


def finish(response: Response) -> Response:
    """Measure a request that has its answer; the exemplar leads to its trace."""
    from rng.traces import exemplar

    route = request.url_rule.rule if request.url_rule else ""
    duration = DURATION.labels(request.method, route, response.status_code)
    duration.observe(perf_counter() - g.started, exemplar())
    return response


def end(_: BaseException | None) -> None:
    """Let the request go, whatever came of it."""
    ACTIVE.dec()
