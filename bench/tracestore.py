"""Benchmark of the embedded trace store: spans taken in a second, search latency and memory when it is full.

    python bench/tracestore.py [--spans 100000] [--repeat 100]

It starts a store of its own on free ports, fills it twice over by OTLP/HTTP, and searches it.
"""

import argparse
import json
import random
import re
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

ROOT = Path(__file__).resolve().parents[1]
BATCH = 512  # as the batch span processor of the OpenTelemetry SDK
MILLISECOND = 1_000_000


def attributes(**values: str | int) -> list[KeyValue]:
    """Return OTLP attributes; in the names `__` stands for a dot."""
    return [
        KeyValue(
            key=name.replace("__", "."),
            value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value),
        )
        for name, value in values.items()
    ]


def trace(number: int, start: int) -> Iterator[tuple[str, Span]]:
    """Give the spans of one loop of the worker, five with some eight attributes, each with its service."""
    trace_id = secrets.token_bytes(16)
    ids = [secrets.token_bytes(8) for _ in range(5)]
    for index, service, parent, name, kind, milliseconds in (
        (0, "worker", None, "loop", Span.SPAN_KIND_INTERNAL, 300),
        (1, "worker", 0, "GET", Span.SPAN_KIND_CLIENT, random.expovariate(1 / 120)),
        (2, "rng", 1, "GET /<int:how_many>", Span.SPAN_KIND_SERVER, 100 + random.expovariate(1)),
        (3, "worker", 0, "POST", Span.SPAN_KIND_CLIENT, 105),
        (4, "hasher", 3, "POST /", Span.SPAN_KIND_SERVER, 101),
    ):
        yield (
            service,
            Span(
                trace_id=trace_id,
                span_id=ids[index],
                parent_span_id=b"" if parent is None else ids[parent],
                name=name,
                kind=kind,
                flags=0x101,
                start_time_unix_nano=start + index * MILLISECOND,
                end_time_unix_nano=start + int((index + milliseconds) * MILLISECOND),
                attributes=attributes(
                    http__request__method="GET",
                    url__full="http://rng:80/32",
                    server__address="rng",
                    server__port=80,
                    http__response__status_code=500 if number % 10_000 == 0 else 200,
                    network__protocol__version="1.1",
                    user_agent__original="python-requests/2.34.2",
                    dockercoins__loop=number,
                ),
            ),
        )


def requests_of(spans: int) -> Iterator[bytes]:
    """Give export requests for that many spans; each is of one service, as from its exporter."""
    waiting: dict[str, list[Span]] = {"worker": [], "rng": [], "hasher": []}
    start = time.time_ns() - spans * MILLISECOND
    for number in range(spans // 5):
        for service, span in trace(number, start + number * 5 * MILLISECOND):
            waiting[service].append(span)
        for service, ready in waiting.items():
            if len(ready) >= BATCH or number == spans // 5 - 1:
                request = ExportTraceServiceRequest()
                resource_spans = request.resource_spans.add()
                resource_spans.resource.attributes.extend(
                    attributes(service__name=service, service__namespace="dockercoins", service__version="1")
                )
                resource_spans.scope_spans.add(spans=ready).scope.name = f"dockercoins.{service}"
                yield request.SerializeToString()
                ready.clear()


def rss(process: psutil.Process) -> str:
    """Return the resident memory of a process in MB."""
    return f"{process.memory_info().rss / 1e6:.0f} MB"


def latencies(call: Callable[[], object], repeat: int) -> str:
    """Return median and 95th percentile of the time that a call takes."""
    seconds = []
    for _ in range(repeat):
        before = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - before)
    p95 = statistics.quantiles(seconds, n=20)[-1]
    return f"p50 {statistics.median(seconds) * 1000:6.1f} ms   p95 {p95 * 1000:6.1f} ms"


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spans", type=int, default=100_000, help="how many the store holds (%(default)s)")
    parser.add_argument("--repeat", type=int, default=100, help="how often each query is sent (%(default)s)")
    options = parser.parse_args()
    command = [sys.executable, "-m", "workshop.tracestore", "--otlp-port=0", "--query-port=0"]
    command.append(f"--max-spans={options.spans}")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as store:
        try:
            announcement = store.stdout.readline() if store.stdout else ""
            otlp, query = re.findall(r"http://[^ ,]+", announcement)
            measure(psutil.Process(store.pid), otlp, query, options.spans, options.repeat)
        finally:
            store.terminate()


def queries(spans: int) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Give the name, the path and the parameters of each query to measure."""
    before = str(int((time.time() - 7200) * 1e6))
    oldest = str(int((time.time() - spans / 1000) * 1e6))
    yield "services", "services", {}
    yield "operations", "services/worker/operations", {}
    yield "service, limit 100", "traces", {"service": "rng", "limit": "100"}
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
        yield what, "traces", {"service": service, "limit": "20", **parameters}
    yield "dependencies", "dependencies", {}


def measure(process: psutil.Process, otlp: str, query: str, spans: int, repeat: int) -> None:
    """Fill the store and search it."""
    session = requests.Session()
    session.get(f"{query}/services").raise_for_status()
    print(f"RSS when empty: {rss(process)}")
    for what in ("filling", "with eviction"):
        bodies = list(requests_of(spans))
        before = time.perf_counter()
        for body in bodies:
            reply = session.post(otlp, body, headers={"Content-Type": "application/x-protobuf"})
            reply.raise_for_status()
        seconds = time.perf_counter() - before
        size = sum(map(len, bodies)) / spans
        print(f"{what}: {spans / seconds:,.0f} spans/s of {size:.0f} bytes; RSS {rss(process)}")
    for what, path, parameters in queries(spans):
        found = len(session.get(f"{query}/{path}", params=parameters).json()["data"])

        def call(path: str = path, parameters: dict[str, str] = parameters) -> None:
            session.get(f"{query}/{path}", params=parameters).raise_for_status()

        print(f"{what:24} {found:4} found   {latencies(call, repeat)}")
    print(f"RSS at the end: {rss(process)}")


if __name__ == "__main__":
    main()
