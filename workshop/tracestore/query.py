"""The parameters of Jaeger's HTTP query API."""

import json
import re
from decimal import Decimal

from werkzeug.datastructures import MultiDict

from workshop.tracestore.store import Search

_DEFAULT_LIMIT = 100
# Each is a condition in the store's SQL, of which SQLite takes no more than a thousand.
_MAX_TAGS = 100
_TWO_DAYS = 48 * 3600 * 10**9
_INT64 = range(-(2**63), 2**63)
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # the micro sign
    "μs": 10**3,  # the Greek letter mu, which Go takes too
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION_PART = re.compile(rf"([0-9]+\.?[0-9]*|\.[0-9]+)({'|'.join(_UNITS)})")
_DURATION = re.compile(rf"([+-]?)(0|(?:{_DURATION_PART.pattern})+)")

Parameters = MultiDict[str, str]


class ParameterError(Exception):
    """A parameter is not usable; the text is one clear line."""


def parse_search(parameters: Parameters, now: int) -> Search:
    """Return the search that the parameters of `/api/traces` describe.

    `now` is the default of the end, in nanoseconds since the Unix epoch; that of the start is two days
    before. Raises `ParameterError`.
    """
    search = Search(
        service=parameters.get("service", ""),
        operation=parameters.get("operation", ""),
        tags=_parse_tags(parameters),
        start=parse_time(parameters, "start", 1_000, default=now - _TWO_DAYS),
        end=parse_time(parameters, "end", 1_000, default=now),
        min_duration=_parse_duration(parameters, "minDuration"),
        max_duration=_parse_duration(parameters, "maxDuration"),
        limit=_parse_integer(parameters, "limit", 32, default=_DEFAULT_LIMIT),
    )
    if not search.service:
        raise ParameterError("parameter 'service' is required")
    if search.min_duration and search.max_duration and search.max_duration < search.min_duration:
        raise ParameterError("'maxDuration' should be greater than 'minDuration'")
    return search


def parse_time(parameters: Parameters, name: str, unit: int, default: int) -> int:
    """Return a time or a span of time in nanoseconds; the parameter counts units of `unit` nanoseconds.

    What lies beyond the 64 bits of a time is brought back to their edge. Raises `ParameterError`.
    """
    if not parameters.get(name):
        return default
    return clamped(_parse_integer(parameters, name, 64, default=0) * unit)


def clamped(nanoseconds: int) -> int:
    """Return a time brought back to the edge of the 64 bits that the store has for it, if it lies beyond."""
    return max(_INT64.start, min(nanoseconds, _INT64.stop - 1))


def parse_trace_id(text: str) -> bytes:
    """Return the 16 bytes of a trace ID; leading zeros may be missing. Raises `ParameterError`."""
    if not re.fullmatch("[0-9a-fA-F]{1,32}", text):
        raise ParameterError(f"the trace ID {text[:80]!r} is not made of 1 to 32 hexadecimal digits")
    return bytes.fromhex(text.zfill(32))


def _parse_integer(parameters: Parameters, name: str, bits: int, default: int) -> int:
    text = parameters.get(name)
    if not text:
        return default
    if not re.fullmatch("[+-]?[0-9]{1,19}", text) or not -(2 ** (bits - 1)) <= int(text) < 2 ** (bits - 1):
        raise ParameterError(
            f"unable to parse param '{name}': {text[:80]!r} is not a whole number of {bits} bits"
        )
    return int(text)


def _parse_duration(parameters: Parameters, name: str) -> int:
    """Return a Go duration (https://pkg.go.dev/time#ParseDuration) in nanoseconds; 0 if there is none."""
    text = parameters.get(name)
    if not text:
        return 0
    match = _DURATION.fullmatch(text[:80])
    if not match or len(text) > 80:
        raise ParameterError(
            f"unable to parse param '{name}': {text[:80]!r} is not a duration such as 400ms, 1.2s or 1m30s"
        )
    amount = sum(int(Decimal(number) * _UNITS[unit]) for number, unit in _DURATION_PART.findall(match[2]))
    if amount not in _INT64:
        raise ParameterError(f"unable to parse param '{name}': {text!r} is longer than 292 years")
    return -amount if match[1] == "-" else amount


def _parse_tags(parameters: Parameters) -> dict[str, str]:
    """Return the tags of `tag=key:value` parameters and of `tags={"key":"value"}` parameters, which win."""
    tags = {}
    for tag in parameters.getlist("tag"):
        key, colon, value = tag.partition(":")
        if not colon:
            raise ParameterError(f"malformed 'tag' parameter, expecting key:value, received: {tag[:80]}")
        tags[key] = value
    for text in parameters.getlist("tags"):
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ParameterError(f"malformed 'tags' parameter, cannot unmarshal JSON: {error}") from None
        if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
            raise ParameterError(
                "malformed 'tags' parameter, cannot unmarshal JSON: an object whose values are all strings is"
                ' accepted, such as {"http.response.status_code":"500"}'
            )
        tags |= content
    if len(tags) > _MAX_TAGS:
        raise ParameterError(f"{len(tags)} tags are too many to search for: up to {_MAX_TAGS} are accepted")
    return tags
