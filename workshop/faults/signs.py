"""Measures the signs of faults, by the public APIs of Prometheus and Jaeger."""

import math
import time
from collections.abc import Iterator
from statistics import fmean, median
from typing import Any

from workshop.clients import BackendAwayError, Jaeger, Prometheus
from workshop.faults.catalogue import Sign

# Seconds. A span arrives about one second after its end.
WINDOW = 10
DELAY = 1
# Traces: ten loops a second, in the window.
LIMIT = 200


def measure(sign: Sign, prometheus: Prometheus, jaeger: Jaeger) -> float | None:
    """Return the value of a sign now; None if it cannot be measured."""
    try:
        if sign.answers:
            return prometheus.scalar("vector(1)")
        if sign.jaeger:
            return _of_spans(jaeger, **sign.jaeger)
        value = prometheus.scalar(sign.prometheus)
    except BackendAwayError:
        return 0 if sign.answers else None
    return None if value is None or math.isnan(value) else value


def _of_spans(jaeger: Jaeger, service: str, measure: str, operation: str = "") -> float | None:
    end = time.time() - DELAY
    window = {"start": int((end - WINDOW) * 1e6), "end": int(end * 1e6)}
    search = window | ({"operation": operation} if operation else {})
    values: list[Any] = []
    for trace in jaeger.traces(service, limit=LIMIT, **search):
        spans = {span["spanID"]: span for span in trace["spans"]}
        for span in spans.values():
            if trace["processes"][span["processID"]]["serviceName"] != service:
                continue
            if not operation or span["operationName"] == operation:
                values += _values(measure, span, spans)
    if not values:
        return None
    if measure == "names":
        return len(set(values)) / len(values)
    return median(values) if measure == "skew" else fmean(values)


def _values(measure: str, span: dict[str, Any], spans: dict[str, dict[str, Any]]) -> Iterator[Any]:
    """Give what one span contributes to a measure."""
    parents = [reference["spanID"] for reference in span["references"] if reference["refType"] == "CHILD_OF"]
    if measure == "roots":
        yield not parents
    elif measure == "names":
        yield span["operationName"]
    elif measure == "skew":
        yield from ((span["startTime"] - spans[id_]["startTime"]) / 1e6 for id_ in parents if id_ in spans)
    else:
        yield from (float(tag["value"]) for tag in span["tags"] if tag["key"] == measure)
