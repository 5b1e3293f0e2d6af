"""How long the embedded trace store takes for an answer when it is full, with 100,000 spans of 20,000 loops.

Each query of Jaeger's API that the lab uses is sent again and again. Some of the searches look through all
spans and find nothing: those are the slowest. Half of the answers came within the time under p50, 95 % within
that under p95.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import requests

from bench import exports
from bench.report import Report, Row, at_most
from bench.running import EMBEDDED, trace_backend
from bench.spans import KEPT

SEARCH = "traces"
Query = tuple[str, str, dict[str, str]]


def queries(spans: int) -> Iterator[Query]:
    """Give the name, the path and the parameters of each query to measure."""
    before = str(int((time.time() - 7200) * 1e6))
    oldest = str(int((time.time() - spans / 1000) * 1e6))
    yield "services", "services", {}
    yield "operations", "services/worker/operations", {}
    yield "service, limit 100", SEARCH, {"service": "rng", "limit": "100"}
    for what, service, parameters in (
        ("service", "rng", {}),
        ("service and operation", "worker", {"operation": "POST"}),
        ("common tag", "rng", {"tags": json.dumps({"http.response.status_code": "200"})}),
        ("rare tag", "rng", {"tags": json.dumps({"http.response.status_code": "500"})}),
        ("tag that no span has", "rng", {"tags": json.dumps({"no": "such"})}),
        ("errors that none has", "worker", {"tags": json.dumps({"error": "true"})}),
        ("rare duration", "worker", {"operation": "GET", "minDuration": "900ms"}),
        ("duration that none has", "worker", {"minDuration": "1h"}),
        ("the oldest traces", "rng", {"start": before, "end": oldest}),
        ("time that none has", "rng", {"start": "0", "end": before}),
    ):
        yield what, SEARCH, {"service": service, "limit": "20", **parameters}
    yield "dependencies", "dependencies", {}


def latencies(call: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Return median and 95th percentile of the time that a call takes, in milliseconds."""
    milliseconds = []
    for _ in range(repeat):
        before = time.perf_counter()
        call()
        milliseconds.append(1000 * (time.perf_counter() - before))
    return statistics.median(milliseconds), statistics.quantiles(milliseconds, n=20)[-1]


def run(*, short: bool) -> Report:
    """Run the benchmark."""
    spans, repeat = (KEPT // 10, 20) if short else (KEPT, 100)
    rows: list[Row] = []
    with trace_backend(EMBEDDED) as backend, requests.Session() as session:
        exports.send(f"{backend.url('OTLP_PORT')}/v1/traces", list(exports.requests_of(spans)))
        for what, path, parameters in queries(spans):

            def ask(path: str = path, parameters: dict[str, str] = parameters) -> requests.Response:
                answer = session.get(
                    f"{backend.url('JAEGER_PORT')}/api/{path}", params=parameters, timeout=30
                )
                answer.raise_for_status()
                return answer

            found = len(ask().json()["data"])
            p50, p95 = latencies(ask, repeat)
            rows.append({"query": what, "search": path == SEARCH, "found": found, "p50": p50, "p95": p95})
    return Report(
        name="searches",
        title="Searches in the embedded trace store",
        how=f"{spans:,} spans are stored. Each query was sent {repeat} times, over one connection. The limit "
        "is 20 traces where no other is named.",
        columns={
            "query": ("query", "{}"),
            "found": ("found", "{}"),
            "p50": ("p50, ms", "{:.1f}"),
            "p95": ("p95, ms", "{:.1f}"),
        },
        rows=rows,
        goals=[
            at_most("p95 of the slowest search, ms", max(row["p95"] for row in rows if row["search"]), 100)
        ],
    )


def draw(report: Report, axes: Any) -> None:
    """Draw two bars for each query: p50 over p95."""
    rows = report.rows[::-1]
    names = [row["query"] for row in rows]
    axes.barh(names, [row["p95"] for row in rows], color="#b8cbe0", label="p95")
    axes.barh(names, [row["p50"] for row in rows], color="#3b6ea5", label="p50")
    axes.set_xlabel("milliseconds")
    axes.legend(frameon=False)
