"""Spans as the lab makes them, in OTLP export requests, and their way to a trace backend."""

import random
import secrets
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support import taken_from

BATCH = 512  # as the batch span processor of the OpenTelemetry SDK
SENDERS = 3  # rng, hasher and the worker
MILLISECOND = 1_000_000
# What a receiver says that wants the same request once more, a little later:
# https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
RETRYABLE = (429, 502, 503, 504)
RETRY_SECONDS = 0.1


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
        (2, "rng", 1, "GET /<int:size>", Span.SPAN_KIND_SERVER, 100 + random.expovariate(1)),
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
    """Give export requests for that many spans, a multiple of 5; each is of one service, as its exporter's.

    The loops are those of the last time, a new one every 5 ms.
    """
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


def send(url: str, bodies: list[bytes]) -> int:
    """Send requests as fast as they are taken, by `SENDERS` at once; return how often one was refused.

    A request that is refused for now is sent again, as an exporter does. Raises `requests.RequestException`
    for one that is refused for good.
    """
    waiting = deque(bodies)

    def sender(_: int) -> int:
        refused = 0
        with requests.Session() as session:
            for body in taken_from(waiting):
                while (answer := post(session, url, body)).status_code in RETRYABLE:
                    refused += 1
                    time.sleep(RETRY_SECONDS)
                answer.raise_for_status()
        return refused

    with ThreadPoolExecutor(SENDERS) as pool:
        return sum(pool.map(sender, range(SENDERS)))


def post(session: requests.Session, url: str, body: bytes) -> requests.Response:
    """Send one export request."""
    return session.post(url, body, headers={"Content-Type": "application/x-protobuf"}, timeout=30)
