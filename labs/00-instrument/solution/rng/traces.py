"""The spans of rng, which it sends away by OTLP/HTTP."""

from flask import Flask, Response, g, request
from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from rng.resource import RESOURCE

tracer = trace.get_tracer("rng")


def instrument(app: Flask) -> None:
    """Make a span of each request, and send it to OTEL_EXPORTER_OTLP_ENDPOINT."""
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=1000))
    trace.set_tracer_provider(provider)
    app.before_request(begin)
    app.after_request(finish)
    app.teardown_request(end)


def begin() -> None:
    """Start a span as a child of the caller's, and make it the current one."""
    address, _, port = request.host.partition(":")
    attributes = {
        "http.request.method": request.method,
        "url.path": request.path,
        "url.scheme": request.scheme,
        "server.address": address,
        "server.port": int(port or 80),
    }
    name = request.method
    if request.url_rule:
        attributes["http.route"] = request.url_rule.rule
        name = f"{request.method} {request.url_rule.rule}"
    caller = propagate.extract(request.headers)
    g.span = tracer.start_span(name, context=caller, kind=SpanKind.SERVER, attributes=attributes)
    g.token = context.attach(trace.set_span_in_context(g.span))


def finish(response: Response) -> Response:
    """Note how the request was answered; only from 500 upwards it is the server that failed."""
    g.span.set_attribute("http.response.status_code", response.status_code)
    if response.status_code >= 500:
        g.span.set_attribute("error.type", str(response.status_code))
        g.span.set_status(StatusCode.ERROR)
    return response


def end(_: BaseException | None) -> None:
    """End the span."""
    context.detach(g.token)
    g.span.end()


def exemplar() -> dict[str, str] | None:
    """Return what leads from a measurement to the current span, if that is recorded."""
    span = trace.get_current_span().get_span_context()
    if not span.trace_flags.sampled:
        return None
    return {
        "trace_id": trace.format_trace_id(span.trace_id),
        "span_id": trace.format_span_id(span.span_id),
    }
