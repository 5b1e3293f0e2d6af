"""OTLP attribute values as Python values and as text."""

import base64
import json
from decimal import Decimal

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

# What Go's encoding/json escapes beside the necessary, so that its output can stand in an HTML page.
_HTML_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def as_text(value: AnyValue) -> str:
    """Return the text that stands for a value in a tag search.

    The convention is `Value.AsString` of the OpenTelemetry Collector, as Jaeger uses it: numbers as in
    JSON, `true` and `false`, bytes in base64, lists and maps as compact JSON with sorted keys.
    """
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "int_value":
            return str(value.int_value)
        case "double_value":
            return _number_text(value.double_value)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "array_value" | "kvlist_value":
            return _json_text(value)
        case _:
            return ""


def _number_text(number: float) -> str:
    """Return a number as ECMAScript writes it: an exponent only below 1e-6 and from 1e21 on."""
    text = repr(number)
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        return format(Decimal(text), "f").removesuffix(".0")
    return text.replace("e-0", "e-")


def _json_text(value: AnyValue) -> str:
    try:
        text = json.dumps(
            _as_json(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
        )
    except ValueError:  # NaN or infinity inside; the Collector's text is then empty too
        return ""
    return text.translate(_HTML_ESCAPES)


def _as_json(value: AnyValue) -> object:
    match value.WhichOneof("value"):
        case "array_value":
            return [_as_json(item) for item in value.array_value.values]
        case "kvlist_value":
            return {item.key: _as_json(item.value) for item in value.kvlist_value.values}
        case "double_value" if value.double_value.is_integer() and abs(value.double_value) < 1e21:
            return int(value.double_value)
        case "double_value":
            return value.double_value
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case None:
            return None
        case _:
            return as_text(value)
