"""The two web applications of the trace store: spans come in by one, queries are answered by the other."""

import json
import threading
import time
from http import HTTPStatus

from flask import Flask, Response, request
from google.rpc.code_pb2 import INTERNAL, INVALID_ARGUMENT  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from prometheus_client.exposition import choose_encoder
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from workshop.tracestore import jaeger, otlp, query
from workshop.tracestore.metrics import create_registry
from workshop.tracestore.store import TraceStore

# A full batch of an OpenTelemetry SDK, 512 spans, has half a megabyte. While it is read, a hostile body takes
# up to a hundred times its size: two bytes are an empty span. OpenTelemetry's own receivers take 20 MiB.
MAX_BODY_BYTES = 4 * 2**20
_MILLISECOND = 1_000_000
_DAY = 24 * 3600 * 10**9


def create_otlp_app(store: TraceStore) -> Flask:
    """Return the application that takes OTLP/HTTP traces in, at `POST /v1/traces`."""
    app = Flask(__name__)
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY_BYTES, PROVIDE_AUTOMATIC_OPTIONS=False)
    # One body at a time, for the memory that it may take. Python would do no two at once anyway.
    reading = threading.Lock()

    @app.post("/v1/traces")
    def export() -> Response:
        media_type = request.mimetype
        if media_type not in (otlp.PROTOBUF, otlp.JSON):
            raise UnsupportedMediaType(
                f"the content type {media_type!r} is not known: {otlp.PROTOBUF} and {otlp.JSON} are accepted"
            )
        try:
            encoding = request.headers.get("Content-Encoding", "")
            body = otlp.decompress(request.get_data(cache=False), encoding, MAX_BODY_BYTES)
            with reading:
                batch = otlp.check(otlp.decode(body, media_type))
        except otlp.InvalidRequestError as error:
            raise BadRequest(str(error)) from None
        except otlp.TooLargeError:
            raise RequestEntityTooLarge from None
        store.add(batch)
        reply = ExportTraceServiceResponse()
        if batch.rejected:
            reply.partial_success.rejected_spans = batch.rejected
            reply.partial_success.error_message = (
                f"rejected: {batch.rejected}; first: {batch.first_rejection}"
            )
        return Response(otlp.encode(reply, media_type), content_type=media_type)

    @app.errorhandler(HTTPException)
    def otlp_error(error: HTTPException) -> Response:
        code, message = _code_and_message(error)
        if request.mimetype not in (otlp.PROTOBUF, otlp.JSON):
            return _response(error, f"{message}\n", "text/plain; charset=utf-8")
        status = Status(code=INVALID_ARGUMENT if code < 500 else INTERNAL, message=message)
        return _response(error, otlp.encode(status, request.mimetype), request.mimetype)

    return app


def create_query_app(store: TraceStore) -> Flask:
    """Return the application that answers a part of Jaeger's HTTP query API, and `GET /metrics`."""
    app = Flask(__name__)
    app.config.update(PROVIDE_AUTOMATIC_OPTIONS=False)
    registry = create_registry(store)

    @app.get("/api/services")
    def services() -> Response:
        return _names(store.services())

    @app.get("/api/services/<path:service>/operations")
    def operation_names(service: str) -> Response:
        return _names(sorted({name for name, _ in store.operations(service)}))

    @app.get("/api/operations")
    def operations() -> Response:
        service = request.args.get("service")
        if not service:
            raise query.ParameterError("parameter 'service' is required")
        found = store.operations(service, request.args.get("spanKind", ""))
        return _json(
            jaeger.answer([{"name": name, "spanKind": kind} for name, kind in found], total=len(found))
        )

    @app.get("/api/traces")
    def search() -> Response:
        wanted = query.parse_search(request.args, time.time_ns())
        if not 0 < wanted.limit <= store.max_spans:
            return _error(500, "search depth must be greater than 0 and less than max traces")
        return _json(jaeger.answer([jaeger.trace(spans) for spans in store.search(wanted)]))

    @app.get("/api/traces/<trace_id>")
    def trace(trace_id: str) -> Response:
        spans = store.trace(query.parse_trace_id(trace_id))
        if not spans:
            return _error(404, "trace not found")
        return _json(jaeger.answer([jaeger.trace(spans)]))

    @app.get("/api/dependencies")
    def dependencies() -> Response:
        end = query.parse_time(request.args, "endTs", _MILLISECOND, default=time.time_ns())
        lookback = query.parse_time(request.args, "lookback", _MILLISECOND, default=_DAY)
        if lookback < 0:
            return _error(500, "end time must be greater than start time")
        links = store.dependencies(query.clamped(end - lookback), end)
        return _json(
            jaeger.answer(
                [{"parent": link.parent, "child": link.child, "callCount": link.calls} for link in links]
            )
        )

    @app.get("/metrics")
    def metrics() -> Response:
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except TypeError:  # it compares the parts of a version, such as version=abc, with numbers
            encode, content_type = choose_encoder("")
        return Response(encode(registry), content_type=content_type)

    @app.errorhandler(query.ParameterError)
    def parameter_error(error: query.ParameterError) -> Response:
        return _error(400, str(error))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        return _response(error, json.dumps(jaeger.error(*_code_and_message(error))), "application/json")

    return app


def _names(names: list[str]) -> Response:
    """Return a list of names; Jaeger says null, not an empty list, if there is none."""
    return _json(jaeger.answer(names or None, total=len(names)))


def _error(code: int, message: str) -> Response:
    return _json(jaeger.error(code, message), code)


def _json(document: jaeger.Json, code: int = 200) -> Response:
    return Response(json.dumps(document, separators=(",", ":")), code, content_type="application/json")


def _code_and_message(error: HTTPException) -> tuple[int, str]:
    code = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    text = error.description or HTTPStatus(code).phrase
    match error:
        case NotFound():
            text = f"{request.path} is not served here"
        case MethodNotAllowed():
            accepted = ", ".join(sorted(error.valid_methods or []))
            text = f"the method {request.method} is not accepted here; accepted: {accepted}"
        case RequestEntityTooLarge():
            text = f"the body is too large: at most {MAX_BODY_BYTES} bytes are accepted, decompressed too"
    return code, text


def _response(error: HTTPException, body: str | bytes, content_type: str) -> Response:
    """Return the answer to an error, with the headers that belong to it, such as Allow."""
    response = Response(body, error.code, content_type=content_type)
    response.headers.extend((n, v) for n, v in error.get_headers() if n != "Content-Type")
    return response
