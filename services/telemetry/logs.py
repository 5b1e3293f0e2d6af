"""Logs as JSON lines on standard output, each with the IDs of the trace and span that it was written in.

The field names are those of the OpenTelemetry log data model, in the form that it gives for JSON:
https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/
"""

import json
import logging
import sys
from datetime import UTC, datetime

from common.settings import read_choice
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from prometheus_client import Counter

LEVELS = ("INFO", "DEBUG", "WARNING", "ERROR")

RECORDS = Counter("dockercoins_log_records", "Log lines written.", ["severity"])


class JsonFormatter(logging.Formatter):
    """Format a log record as one line of JSON."""

    def __init__(self, resource: Resource) -> None:
        super().__init__()
        self._service = {name: resource.attributes[name] for name in ("service.name", "service.namespace")}

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON; `extra={"dockercoins": {...}}` adds fields of the caller's own."""
        line: dict[str, object] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "body": record.getMessage(),
            **self._service,
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = trace.format_trace_id(span.trace_id)
            line["span_id"] = trace.format_span_id(span.span_id)
        line.update(getattr(record, "dockercoins", {}))
        if record.exc_info:
            line["exception.stacktrace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def count(record: logging.LogRecord) -> bool:
    """Count a log line; every one is written."""
    RECORDS.labels(record.levelname).inc()
    return True


def start(resource: Resource) -> None:
    """Write the logs of this process as JSON lines, from `LOG_LEVEL` (default INFO) upwards."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(resource))
    handler.addFilter(count)
    for severity in LEVELS:
        RECORDS.labels(severity)  # from 0 on, so that the first line is a change
    logging.basicConfig(level=read_choice("LOG_LEVEL", LEVELS), handlers=[handler], force=True)
    # The exporter would log every batch that it cannot deliver, for as long as the collector is away.
    # otel_sdk_exporter_span_exported_total counts them instead.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
