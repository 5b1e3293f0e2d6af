"""A server span and the RED metrics (rate, errors, duration) for each request that a Flask app answers.

https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span
https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#http-server
"""

from importlib import import_module
from time import perf_counter

from flask import Flask, Response, request
from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import Gauge, Histogram

from telemetry import faults
from telemetry.metrics import DURATION_BUCKETS, exemplar

DURATION = Histogram(
    "http_server_request_duration_seconds",
    "Time that the service worked on a request. Time that the request waited in line is not part of it.",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=DURATION_BUCKETS,
)
ACTIVE = Gauge(
    "http_server_active_requests",
    "Requests that the service is working on now. Those that wait in line are not part of it.",
)
KNOWN_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}

tracer = trace.get_tracer("telemetry.http_server")


def address_and_port(host: str) -> tuple[str, int]:
    """Return the two parts of a `Host` header; one without a usable port means that of HTTP, 80."""
    address, _, port = host.rpartition(":")
    if not (port.isascii() and port.isdigit()):  # no port, or the end of an IPv6 address: [::1]
        address, port = (host if port else address), "80"
    return address.strip("[]"), int(port)


def instrument(app: Flask) -> None:
    """Measure and trace every request to `app`, the refused ones included."""
    dispatch = app.full_dispatch_request

    def measured_dispatch() -> Response:
        # Anything but the route and the known methods is the client's choice: as a label or
        # a span name, it would make as many time series as there are ways to be wrong.
        method = request.method if request.method in KNOWN_METHODS else "_OTHER"
        route = request.url_rule.rule if request.url_rule else ""
        address, port = address_and_port(request.host)
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "url.path": request.path,
            "url.scheme": request.scheme,
            "server.address": address,
            "server.port": port,
        }
        if route:
            attributes["http.route"] = route
        span = tracer.start_span(
            f"{method} {route}".rstrip().replace("_OTHER", "HTTP"),
            context=propagate.extract(request.headers),
            kind=SpanKind.SERVER,
            attributes=attributes,
        )
        token = context.attach(trace.set_span_in_context(span))
        ACTIVE.inc()
        status_code = 500  # what Flask answers when an exception passes through here
        started = perf_counter()
        try:
            response = dispatch()
            status_code = response.status_code
            return response
        finally:
            duration = perf_counter() - started
            DURATION.labels(method, route, status_code).observe(duration, exemplar(span))
            span.set_attribute("http.response.status_code", status_code)
            if status_code >= 500:  # a 4xx is the client's error, not the server's
                span.set_attribute("error.type", str(status_code))
                span.set_status(StatusCode.ERROR)
            ACTIVE.dec()
            context.detach(token)
            span.end()

    app.full_dispatch_request = measured_dispatch  # type: ignore[method-assign]

    if flags := faults.flags():
        import_module(f"{app.name}.faults").install(app, flags)
