"""The search form: what it takes, and the parameters of Jaeger's API that it becomes."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from workshop.console.traces.model import Trace

T = TypeVar("T")

LOOKBACKS = {"5m": 300, "15m": 900, "1h": 3_600, "3h": 10_800}  # seconds
LIMITS = ("20", "50", "100", "200", "500", "1000")
FIELDS = ("service", "operation", "tags", "min", "max", "lookback", "limit", "errors", "sort")
DEFAULTS = {"lookback": "1h", "limit": "100", "sort": "newest"}
# Among how many of the newest traces those with an error are looked for.
ERRORS_AMONG = 1_000
SORT_KEYS: Mapping[str, Callable[[Trace], int]] = {
    "newest": lambda trace: trace.start,
    "longest": lambda trace: trace.duration,
    "most spans": lambda trace: len(trace.spans),
}
SORTS = tuple(SORT_KEYS)

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(us|µs|ms|s|m)")
_MICROSECONDS = {"us": 1, "µs": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000}
_LOGFMT = re.compile(r'\s*([^\s="{}]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s"]*))(?=\s|$)')
# What Jaeger shows as tags, but computes from other parts of a span. It cannot search for these, or (for
# `error`, in 2.13) finds those that lack it.
_NOT_SEARCHABLE = {
    "error": 'tick "only with errors", or search for error.type',
    "otel.status_code": 'tick "only with errors", or search for error.type',
    "span.kind": "choose an operation",
}


class FieldError(ValueError):
    """What was entered is not usable; the text is one line."""


@dataclass(frozen=True)
class Query:
    """A search that can be asked for; durations in microseconds, 0 for none."""

    service: str
    operation: str
    tags: Mapping[str, str]
    min_duration: int
    max_duration: int
    lookback: int
    limit: int
    only_errors: bool
    sort: str

    def parameters(self, now: float) -> dict[str, str | int]:
        """Return the parameters of `/api/traces` beside the service; `now` in seconds since the epoch.

        Start and end are given because Jaeger ignores `lookback`.
        """
        parameters: dict[str, str | int] = {
            "start": int((now - self.lookback) * 1_000_000),
            "end": int(now * 1_000_000),
            # Jaeger cannot search for the status of a span: those with errors are sorted out afterwards.
            "limit": max(self.limit, ERRORS_AMONG) if self.only_errors else self.limit,
        }
        if self.operation:
            parameters["operation"] = self.operation
        if self.tags:
            parameters["tags"] = json.dumps(self.tags)
        if self.min_duration:
            parameters["minDuration"] = f"{self.min_duration}us"
        if self.max_duration:
            parameters["maxDuration"] = f"{self.max_duration}us"
        return parameters

    def select(self, traces: Sequence[Trace]) -> list[Trace]:
        """Return the traces to show of those that were found, sorted."""
        wanted = [trace for trace in traces if trace.errors or not self.only_errors]
        newest = sorted(wanted, key=SORT_KEYS["newest"], reverse=True)[: self.limit]
        return sorted(newest, key=SORT_KEYS[self.sort], reverse=True)


def parse(fields: Mapping[str, str]) -> tuple[Query | None, dict[str, str]]:
    """Return the search of the form's fields, or None and what is wrong with which field."""
    errors: dict[str, str] = {}

    def read(name: str, convert: Callable[[str], T], default: T) -> T:
        try:
            return convert(fields.get(name, "").strip() or DEFAULTS.get(name, ""))
        except FieldError as error:
            errors[name] = str(error)
            return default

    query = Query(
        service=fields.get("service", ""),
        operation=fields.get("operation", ""),
        tags=read("tags", parse_tags, {}),
        min_duration=read("min", parse_duration, 0),
        max_duration=read("max", parse_duration, 0),
        lookback=LOOKBACKS[read("lookback", one_of(LOOKBACKS), "1h")],
        limit=int(read("limit", one_of(LIMITS), "1")),
        only_errors=read("errors", one_of(("", "on")), "") == "on",
        sort=read("sort", one_of(SORTS), "newest"),
    )
    if query.max_duration and query.max_duration < query.min_duration:
        errors["max"] = "the longest duration is below the shortest"
    return (None if errors else query), errors


def one_of(choices: Sequence[str] | Mapping[str, object]) -> Callable[[str], str]:
    """Return a function that takes one of `choices` and raises `FieldError` for anything else."""

    def choose(text: str) -> str:
        if text not in choices:
            accepted = ", ".join(choice for choice in choices if choice)
            raise FieldError(f"{text[:80]!r} is not accepted; accepted: {accepted}")
        return text

    return choose


def parse_duration(text: str) -> int:
    """Return a duration in microseconds; 0 for an empty text. Raises `FieldError`."""
    if not text:
        return 0
    match = _DURATION.fullmatch(text)
    if not match:
        raise FieldError(f"{text[:80]!r} is no duration; accepted: 100ms, 1.5s, 250us, 2m")
    return int(Decimal(match[1]) * _MICROSECONDS[match[2]])


def parse_tags(text: str) -> dict[str, str]:
    """Return tags written as `key=value key2="value 2"` (logfmt) or as a JSON object. Raises `FieldError`."""
    tags = _json_tags(text) if text.startswith("{") else _logfmt_tags(text)
    for key in tags:
        if key in _NOT_SEARCHABLE:
            raise FieldError(f"Jaeger cannot search for {key}: {_NOT_SEARCHABLE[key]}")
    return tags


def logfmt(key: str, value: str) -> str:
    """Return a tag as `parse_tags` takes it."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def _json_tags(text: str) -> dict[str, str]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FieldError(f"this is no JSON: {error}") from None
    if not all(isinstance(value, str) for value in content.values()):
        raise FieldError('the values must be texts, such as {"http.response.status_code": "500"}')
    return dict(content)


def _logfmt_tags(text: str) -> dict[str, str]:
    tags = {}
    position = 0
    while position < len(text.rstrip()):
        match = _LOGFMT.match(text, position)
        if not match:
            rest = text[position:].strip()[:80]
            raise FieldError(f'cannot read {rest!r}; accepted: key=value key2="value 2", or a JSON object')
        tags[match[1]] = match[3] if match[2] is None else _unquoted(match[2])
        position = match.end()
    return tags


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError as error:
        raise FieldError(f"cannot read the quoted text {text[:80]!r}: {error}") from None
