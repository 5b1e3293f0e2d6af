"""Hand-made OTLP JSON, for what no SDK would send."""

import base64
import secrets
import time
from collections.abc import Mapping
from typing import Any

MILLISECOND = 1_000_000
SECOND = 1_000_000_000


def any_value(value: object) -> dict[str, Any]:
    """Return a value in OTLP JSON; None is a value that is not set."""
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case bytes():
            return {"bytesValue": base64.b64encode(value).decode()}
        case list():
            return {"arrayValue": {"values": [any_value(item) for item in value]}}
        case dict():
            return {"kvlistValue": {"values": attributes(value)}}
        case _:
            return {"stringValue": value}


def attributes(values: Mapping[str, object]) -> list[dict[str, Any]]:
    return [{"key": key, "value": any_value(value)} for key, value in values.items()]


def new_trace_id() -> str:
    return secrets.token_hex(16)


def new_span_id() -> str:
    return secrets.token_hex(8)


def span(
    name: str = "operation",
    *,
    trace_id: str | None = None,
    parent: Mapping[str, Any] | None = None,
    start: int | None = None,
    duration: int = MILLISECOND,
    tags: Mapping[str, object] | None = None,
    **fields: object,
) -> dict[str, Any]:
    """Return a span; it starts ten seconds ago if `start` does not say otherwise, in nanoseconds.

    With a `parent` it is of the same trace. `fields` are other fields of OTLP JSON.
    """
    start = time.time_ns() - 10 * SECOND if start is None else start
    result = {
        "traceId": trace_id or (parent["traceId"] if parent else new_trace_id()),
        "spanId": new_span_id(),
        "name": name,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + duration),
        "attributes": attributes(tags or {}),
        **fields,
    }
    if parent:
        result["parentSpanId"] = parent["spanId"]
    return result


def resource_spans(
    service: object,
    *spans: Mapping[str, Any],
    resource: Mapping[str, object] | None = None,
    scope: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return spans of one service."""
    return {
        "resource": {"attributes": attributes({"service.name": service, **(resource or {})})},
        "scopeSpans": [{"scope": scope or {}, "spans": list(spans)}],
    }


def request(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return an export request of what `resource_spans` made."""
    return {"resourceSpans": list(parts)}
