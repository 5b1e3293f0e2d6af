"""The JSON of Jaeger's HTTP query API: the envelope of every answer, and traces.

The shapes: https://github.com/jaegertracing/jaeger, internal/uimodel.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from workshop.tracestore import clock_skew
from workshop.tracestore.otlp import WARNINGS_ATTRIBUTE, kind_name
from workshop.tracestore.store import StoredSpan
from workshop.tracestore.values import as_text

Json = dict[str, Any]

_MAX_SAFE_INTEGER = 2**53 - 1  # beyond it JavaScript cannot tell integers apart, so they go as text
_TYPE_ORDER = {"string": 0, "bool": 1, "int64": 2, "float64": 3, "binary": 4}
_STATUS_CODES = {Status.STATUS_CODE_OK: "OK", Status.STATUS_CODE_ERROR: "ERROR"}


def answer(data: object, total: int = 0) -> Json:
    """Return the envelope of an answer; Jaeger gives `total` for services and operations only."""
    return {"data": data, "total": total, "limit": 0, "offset": 0, "errors": None}


def error(code: int, message: str) -> Json:
    """Return the envelope of an error."""
    return {"data": None, "total": 0, "limit": 0, "offset": 0, "errors": [{"code": code, "msg": message}]}


def trace(stored_spans: Sequence[StoredSpan]) -> Json:
    """Return one trace; `stored_spans` are its spans, at least one."""
    process_ids: dict[bytes, str] = {}
    spans: list[Json] = []
    intervals: list[clock_skew.Interval] = []
    for stored in stored_spans:
        process_id = process_ids.setdefault(stored.resource, f"p{len(process_ids) + 1}")
        span = Span.FromString(stored.payload)
        scope = InstrumentationScope.FromString(stored.scope)
        rendered = _span(span, scope, process_id)
        spans.append(rendered)
        intervals.append(
            clock_skew.Interval(
                span_id=span.span_id,
                parent_id=_parent_id(rendered),
                start=span.start_time_unix_nano,
                duration=span.end_time_unix_nano - span.start_time_unix_nano,
            )
        )
    for rendered, remark in zip(spans, clock_skew.remarks(intervals), strict=True):
        if remark:
            rendered["warnings"] = [*(rendered["warnings"] or []), remark]
    return {
        "traceID": spans[0]["traceID"],
        "spans": spans,
        "processes": {id_: _process(Resource.FromString(resource)) for resource, id_ in process_ids.items()},
        "warnings": None,
    }


def _span(span: Span, scope: InstrumentationScope, process_id: str) -> Json:
    warnings = [
        text
        for attribute in span.attributes
        if attribute.key == WARNINGS_ATTRIBUTE
        for text in _warnings(attribute.value)
    ]
    references = _references(span)
    valid = [reference for reference in references if reference["traceID"].strip("0")]
    warnings += ["Invalid span reference removed"] * (len(references) - len(valid))
    trace_id = _trace_id(span.trace_id)
    _put_parent_first(valid, trace_id)
    return {
        "traceID": trace_id,
        "spanID": span.span_id.hex(),
        "operationName": span.name,
        "references": valid,
        "startTime": span.start_time_unix_nano // 1000,
        "duration": (span.end_time_unix_nano - span.start_time_unix_nano) // 1000,
        "tags": _span_tags(span, scope),
        "logs": [_log(event) for event in span.events],
        "processID": process_id,
        "warnings": warnings or None,
    }


def _warnings(value: AnyValue) -> list[str]:
    if value.WhichOneof("value") == "array_value":
        return [item.string_value for item in value.array_value.values]
    return [as_text(value)]


def _trace_id(trace_id: bytes) -> str:
    """Return a trace ID in 32 hexadecimal digits, or in 16 if the first half is zero."""
    return trace_id.removeprefix(bytes(8)).hex()


def _references(span: Span) -> list[Json]:
    """Return the parent, then the links; a link to the parent only changes the type of that reference."""
    kinds: dict[tuple[bytes, bytes], str] = {}
    if any(span.parent_span_id):
        kinds[span.trace_id, span.parent_span_id] = "CHILD_OF"
    for link in span.links:
        kinds[link.trace_id, link.span_id] = _link_kind(link)
    return [
        {"refType": kind, "traceID": _trace_id(trace_id), "spanID": span_id.hex()}
        for (trace_id, span_id), kind in kinds.items()
    ]


def _link_kind(link: Span.Link) -> str:
    for attribute in link.attributes:
        if attribute.key == "opentracing.ref_type":
            return "CHILD_OF" if attribute.value.string_value == "child_of" else "FOLLOWS_FROM"
    return "FOLLOWS_FROM"


def _put_parent_first(references: list[Json], trace_id: str) -> None:
    """Swap the reference that Jaeger takes for the parent to the front, if there is one.

    It is one to a span of this trace: the first CHILD_OF, else the first of all.
    """
    own = [index for index, reference in enumerate(references) if reference["traceID"] == trace_id]
    children = [index for index in own if references[index]["refType"] == "CHILD_OF"]
    for index in (children or own)[:1]:
        references[0], references[index] = references[index], references[0]


def _parent_id(span: Json) -> bytes | None:
    for reference in span["references"][:1]:
        if reference["traceID"] == span["traceID"]:
            return bytes.fromhex(reference["spanID"])
    return None


def _span_tags(span: Span, scope: InstrumentationScope) -> list[Json]:
    tags = [_tag(attribute) for attribute in span.attributes if attribute.key != WARNINGS_ATTRIBUTE]
    for key, text in (
        ("otel.scope.name", scope.name),
        ("otel.scope.version", scope.version),
        ("span.kind", kind_name(span)),
        ("otel.status_code", _STATUS_CODES.get(span.status.code, "")),
        ("otel.status_description", span.status.message),
        ("w3c.tracestate", span.trace_state),
    ):
        if text:
            tags.append({"key": key, "type": "string", "value": text})
    if span.status.code == Status.STATUS_CODE_ERROR:
        tags.append({"key": "error", "type": "bool", "value": True})
    return _sorted(tags)


def _log(event: Span.Event) -> Json:
    fields = [_tag(attribute) for attribute in event.attributes]
    if event.name and not any(field["key"] == "event" for field in fields):
        fields.append({"key": "event", "type": "string", "value": event.name})
    fields = _sorted(fields)
    fields.sort(key=lambda field: (field["key"], field["type"]) != ("event", "string"))
    return {"timestamp": event.time_unix_nano // 1000, "fields": fields}


def _process(resource: Resource) -> Json:
    services = [a.value.string_value for a in resource.attributes if a.key == "service.name"]
    tags = [_tag(attribute) for attribute in resource.attributes if attribute.key != "service.name"]
    return {"serviceName": services[0], "tags": _sorted(tags)}


def _tag(attribute: KeyValue) -> Json:
    kind: str = "string"
    content: object = as_text(attribute.value)
    match attribute.value.WhichOneof("value"):
        case "bool_value":
            kind, content = "bool", attribute.value.bool_value
        case "int_value":
            kind = "int64"
            if abs(attribute.value.int_value) <= _MAX_SAFE_INTEGER:
                content = attribute.value.int_value
        case "double_value":
            kind = "float64"
            if math.isfinite(attribute.value.double_value):
                content = attribute.value.double_value
        case "bytes_value":
            kind = "binary"
    return {"key": attribute.key, "type": kind, "value": content}


def _sorted(tags: Iterable[Json]) -> list[Json]:
    """Return tags sorted by key, and for the same key by type and value."""
    return sorted(tags, key=lambda tag: (tag["key"], _TYPE_ORDER[tag["type"]], str(tag["value"])))
