"""OTLP/HTTP as a receiver sees it: decode a request, check its spans, encode the reply.

The protocol: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import base64
import binascii
import json
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from workshop.tracestore.store import Batch, Origin, SpanRow, fingerprint
from workshop.tracestore.values import as_text

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

# Where Jaeger keeps what it has to say about a span: an attribute that is a list of texts.
WARNINGS_ATTRIBUTE = "@jaeger@warnings"

_MAX_TIME = 2**63 - 1  # nanoseconds since 1970: the year 2262, the last that SQLite and Jaeger can hold
_NANOSECONDS = 1_000_000_000
# By this number zlib.decompressobj knows the format.
_WINDOW_BITS = {"gzip": zlib.MAX_WBITS + 16, "deflate": zlib.MAX_WBITS}
_KINDS = {
    Span.SPAN_KIND_INTERNAL: "internal",
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_PRODUCER: "producer",
    Span.SPAN_KIND_CONSUMER: "consumer",
}


class InvalidRequestError(Exception):
    """The request cannot be read; the text is one clear line."""


class TooLargeError(Exception):
    """The body is larger than accepted."""


def kind_name(span: Span) -> str:
    """Return the kind of a span as Jaeger writes it (`server`), or "" if it is unspecified."""
    return _KINDS.get(span.kind, "")


def decompress(body: bytes, content_encoding: str, limit: int) -> bytes:
    """Return the body without its content encoding: `gzip`, `deflate` or none ("").

    Never holds more than `limit` bytes, whatever the body would grow to. Raises `TooLargeError` if that is
    too little, `InvalidRequestError` if the body is not what the encoding says.
    """
    if not content_encoding:
        return body
    if content_encoding not in _WINDOW_BITS:
        accepted = ", ".join(_WINDOW_BITS)
        raise InvalidRequestError(
            f"the content encoding {content_encoding!r} is not known: {accepted} or none is accepted"
        )
    stream = zlib.decompressobj(_WINDOW_BITS[content_encoding])
    try:
        data = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidRequestError(f"the body is not valid {content_encoding}: {error}") from None
    if len(data) > limit:
        raise TooLargeError
    if not stream.eof or stream.unused_data:
        raise InvalidRequestError(f"the body is not valid {content_encoding}: it ends too early or too late")
    return data


def decode(body: bytes, media_type: str) -> ExportTraceServiceRequest:
    """Return the request in a body of media type `PROTOBUF` or `JSON`; raises `InvalidRequestError`."""
    request = ExportTraceServiceRequest()
    try:
        if media_type == PROTOBUF:
            request.ParseFromString(body)
        else:
            document = json.loads(body, object_hook=_with_base64_ids)
            if not isinstance(document, dict):
                raise InvalidRequestError("the body is not a JSON object")
            json.dumps(document, ensure_ascii=False).encode()  # ParseDict breaks at half a surrogate pair
            json_format.ParseDict(document, request, ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, ValueError, RecursionError) as error:
        name = "OTLP protobuf" if media_type == PROTOBUF else "OTLP JSON"
        # Of "Failed to parse resourceSpans field: Failed to parse ...", the last says it all.
        message = " ".join(str(error).rpartition("Failed to parse ")[2].rstrip(".")[:200].split())
        raise InvalidRequestError(f"the body is not valid {name}: {message}") from None
    return request


def _with_base64_ids(fields: dict[str, object]) -> dict[str, object]:
    """Turn IDs from hexadecimal, which OTLP JSON has, to base64, which JSON has for bytes in protobuf."""
    for name in ("traceId", "spanId", "parentSpanId"):
        if isinstance(text := fields.get(name), str):
            try:
                fields[name] = base64.b64encode(binascii.unhexlify(text)).decode()
            except ValueError:
                raise ValueError(f"{name} {text[:40]!r} is not hexadecimal") from None
    return fields


def encode(message: Message, media_type: str) -> bytes:
    """Return a reply in the encoding of its request, `PROTOBUF` or `JSON`."""
    if media_type == PROTOBUF:
        return message.SerializeToString()
    return json_format.MessageToJson(message, indent=None).encode()


def check(request: ExportTraceServiceRequest) -> Batch:
    """Return the valid spans of a request, made ready to store, and how many others are rejected.

    What Jaeger mends when spans come in is mended here: a service name that is missing or not usable, and
    an end that is not after the start.
    """
    batch = Batch()
    for resource_spans in request.resource_spans:
        if not any(scope_spans.spans for scope_spans in resource_spans.scope_spans):
            continue
        resource = resource_spans.resource
        service = _mended_service_name(resource)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            origin = Origin(
                service=service,
                tags=fingerprint([*_tags(resource.attributes), *_tags(scope.attributes)]),
                resource=resource.SerializeToString(),
                scope=scope.SerializeToString(),
            )
            spans = []
            for span in scope_spans.spans:
                if fault := _fault(span):
                    batch.rejected += 1
                    batch.first_rejection = (
                        batch.first_rejection or f"span {span.name[:80]!r} of {service[:80]!r} {fault}"
                    )
                else:
                    _mend_duration(span)
                    spans.append(_row(span))
            if spans:
                batch.groups.append((origin, spans))
    return batch


def _fault(span: Span) -> str:
    """Return why a span cannot be stored, or ""."""
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return f"has the trace ID {span.trace_id[:20].hex()!r}: 16 bytes are needed, not all zero"
    if len(span.span_id) != 8 or not any(span.span_id):
        return f"has the span ID {span.span_id[:20].hex()!r}: 8 bytes are needed, not all zero"
    if len(span.parent_span_id) not in (0, 8):
        return f"has the parent span ID {span.parent_span_id[:20].hex()!r}: 8 bytes are needed, or none"
    if any(len(link.trace_id) != 16 or len(link.span_id) != 8 for link in span.links):
        return "has a link whose IDs are not of 16 and 8 bytes"
    if max(span.start_time_unix_nano, span.end_time_unix_nano) >= _MAX_TIME:
        return "starts or ends after the year 2262"
    return ""


def _mended_service_name(resource: Resource) -> str:
    for attribute in resource.attributes:
        if attribute.key == "service.name":
            if attribute.value.WhichOneof("value") != "string_value":
                attribute.value.string_value = "service-name-wrong-type"
            elif not attribute.value.string_value:
                attribute.value.string_value = "empty-service-name"
            return attribute.value.string_value
    resource.attributes.add(key="service.name", value=AnyValue(string_value="missing-service-name"))
    return "missing-service-name"


def _mend_duration(span: Span) -> None:
    if span.start_time_unix_nano < span.end_time_unix_nano:
        return
    end = span.start_time_unix_nano + 1
    warning = (
        "Negative duration detected, sanitizing end timestamp. Original end timestamp: "
        f"{_go_time(span.end_time_unix_nano)}, adjusted to: {_go_time(end)}"
    )
    span.end_time_unix_nano = end
    span.attributes.add(
        key=WARNINGS_ATTRIBUTE,
        value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=warning)])),
    )


def _go_time(nanoseconds: int) -> str:
    """Return a Unix time as Go's `time.Time.String` writes it in UTC."""
    seconds, fraction = divmod(nanoseconds, _NANOSECONDS)
    decimals = f".{fraction:09d}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}{decimals} +0000 UTC"


def _row(span: Span) -> SpanRow:
    tags = [
        *_tags(span.attributes),
        *(tag for event in span.events for tag in _tags(event.attributes)),
        ("error", "true" if span.status.code == Status.STATUS_CODE_ERROR else "false"),
    ]
    return SpanRow(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_span_id if any(span.parent_span_id) else None,
        operation=span.name,
        kind=kind_name(span),
        start=span.start_time_unix_nano,
        duration=span.end_time_unix_nano - span.start_time_unix_nano,
        tags=fingerprint(tags),
        payload=span.SerializeToString(),
    )


def _tags(attributes: Iterable[KeyValue]) -> Iterator[tuple[str, str]]:
    """Give the attributes that a search looks at; for `error` it looks at the status of the span instead."""
    return ((a.key, as_text(a.value)) for a in attributes if a.key != "error")
