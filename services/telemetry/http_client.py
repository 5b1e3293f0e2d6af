"""A client span and the RED metrics (rate, errors, duration) for each request of a `requests` session.

The span's context travels in the W3C header `traceparent`, so the server's span becomes its child.
https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client
https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#http-client
"""

from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import requests
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from prometheus_client import Histogram
from requests.adapters import HTTPAdapter

from telemetry.metrics import DURATION_BUCKETS, exemplar

DURATION = Histogram(
    "http_client_request_duration_seconds",
    "Time from sending a request to its answer, as the client sees it: network, waiting in line, and work.",
    ["service_peer_name", "http_request_method", "http_response_status_code", "error_type"],
    buckets=DURATION_BUCKETS,
)

tracer = trace.get_tracer("telemetry.http_client")


def instrument(session: requests.Session, peer: str) -> None:
    """Measure and trace every request of `session`, which talks to the service named `peer`."""
    session.mount("http://", InstrumentedAdapter(peer))


class InstrumentedAdapter(HTTPAdapter):
    """The part of a session that sends one request, with a span and a measurement around it."""

    def __init__(self, peer: str) -> None:
        super().__init__()
        self._peer = peer

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send `request` and return its response; errors are recorded and passed on."""
        method = request.method or "_OTHER"
        url = urlsplit(request.url or "")
        with tracer.start_as_current_span(
            method,
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": method,
                "server.address": url.hostname or "",
                "server.port": url.port or 80,
                "service.peer.name": self._peer,
                "url.full": request.url or "",
            },
            record_exception=False,  # error.type and the status say it; who catches the exception may log it
            set_status_on_exception=False,
        ) as span:
            request.headers.pop("traceparent", None)  # of the last time, if it is sent again
            propagate.inject(request.headers)
            status_code, error_type = "", ""
            started = perf_counter()
            try:
                response = super().send(request, *args, **kwargs)
                status_code = str(response.status_code)
                span.set_attribute("http.response.status_code", response.status_code)
                if size := response.headers.get("Content-Length"):
                    span.set_attribute("http.response.body.size", int(size))
                if response.status_code >= 400:
                    error_type = status_code
            except requests.RequestException as error:
                error_type = type(error).__name__
                raise
            finally:
                duration = perf_counter() - started
                DURATION.labels(self._peer, method, status_code, error_type).observe(duration, exemplar(span))
                if error_type:
                    span.set_attribute("error.type", error_type)
                    span.set_status(Status(StatusCode.ERROR))
            return response
