"""rng, hasher or worker, with parts that can be taken out and put back while it runs.

    python bench/switched.py flags rng
    python bench/switched.py telemetry worker

SIGUSR1 takes out one part more, SIGUSR2 puts all of them back. Of `flags` there is one part: what the fault
flags add to a request or a loop. Of `telemetry` there are four, of which each needs those behind it: the
export of spans, the spans, the measurements, and the code around each call that makes both.
"""

import importlib
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk import trace
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from prometheus_client import Gauge, Histogram
from requests.adapters import HTTPAdapter

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "services"))

from common.settings import run_service  # noqa: E402
from telemetry import http_client, http_server  # noqa: E402

Switch = Callable[[], None]


@dataclass(frozen=True)
class Part:
    """What can be taken out, and put back."""

    take_out: Switch
    put_back: Switch


def replaced(*places: tuple[Any, str, Any]) -> Part:
    """Return the part in these places: an object, the name of an attribute, and what that is without."""
    found = [(where, name, getattr(where, name)) for where, name, _ in places]

    def put(values: Any) -> Switch:
        def switch() -> None:
            for where, name, value in values:
                setattr(where, name, value)

        return switch

    return Part(put(places), put(found))


def on_signals(parts: list[Part]) -> None:
    """Let the two signals take out these parts, one after another, and put them back."""
    out: list[Part] = []

    def next_out(*_: object) -> None:
        if len(out) < len(parts):
            out.append(parts[len(out)])
            out[-1].take_out()

    def all_back(*_: object) -> None:
        while out:
            out.pop().put_back()

    signal.signal(signal.SIGUSR1, next_out)
    signal.signal(signal.SIGUSR2, all_back)


def flags_of_web_service(name: str) -> None:
    """Let the signals change what Flask calls for each request, and the clock of the spans."""
    faults = importlib.import_module(f"{name}.faults")
    install = faults.install

    def switchable(app: Flask, flags: object) -> None:
        hooks = ((app, "dispatch_request"), (app, "full_dispatch_request"), (trace, "time_ns"))
        without = [(where, name, getattr(where, name)) for where, name in hooks]
        install(app, flags)
        on_signals([replaced(*without)])

    faults.install = switchable


def flags_of_worker() -> None:
    """Let the signals change the class of the worker and that of its ledger, between two loops."""
    from worker import faults

    classes = with_flags = faults.FaultyWorker, faults.FaultyLedger
    without = faults.InstrumentedWorker, faults.Ledger
    loop = faults.InstrumentedWorker.loop

    def switch(to: tuple[type, type]) -> None:
        nonlocal classes
        classes = to

    def switchable(self: faults.FaultyWorker) -> None:
        self.__class__, self.ledger.__class__ = classes
        loop(self)

    faults.InstrumentedWorker.loop = switchable
    on_signals([Part(lambda: switch(without), lambda: switch(with_flags))])


def telemetry_parts(*wrappers: tuple[Any, str, Any]) -> list[Part]:
    """Return the parts of telemetry, of which the last one is the code around the calls of a service.

    The counters stay: they tell how many loops there were.
    """
    return [
        replaced((OTLPSpanExporter, "export", lambda self, spans: SpanExportResult.SUCCESS)),
        replaced(
            (ParentBased, "should_sample", lambda self, *of, **span: ALWAYS_OFF.should_sample(*of, **span))
        ),
        replaced(
            (Histogram, "observe", lambda self, amount, exemplar: None),
            (Gauge, "inc", lambda self: None),
            (Gauge, "dec", lambda self: None),
        ),
        replaced(*wrappers),
    ]


def telemetry_of_web_service() -> None:
    """Let the signals change what Flask calls for each request, and what that calls."""
    instrument = http_server.instrument

    def switchable(app: Flask) -> None:
        without = (app, "full_dispatch_request", app.full_dispatch_request)
        instrument(app)
        on_signals(telemetry_parts(without))

    http_server.instrument = switchable


def telemetry_of_worker() -> None:
    """Let the signals change what the worker calls in a loop."""
    from worker.instrumented import LOOPS, InstrumentedWorker
    from worker.worker import Worker

    def count(self: Worker, digest: str, data: bytes) -> None:
        Worker.count(self, digest, data)
        LOOPS.inc()

    steps = ("loop", "sleep", "random_bytes", "hash", "store_coins", "store_loops")
    on_signals(
        telemetry_parts(
            (http_client.InstrumentedAdapter, "send", HTTPAdapter.send),
            (InstrumentedWorker, "count", count),
            *((InstrumentedWorker, step, getattr(Worker, step)) for step in steps),
        )
    )


if __name__ == "__main__":
    what, service = sys.argv[1:]
    if what == "flags":
        flags_of_worker() if service == "worker" else flags_of_web_service(service)
    else:
        telemetry_of_worker() if service == "worker" else telemetry_of_web_service()
    run_service(importlib.import_module(f"{service}.{service}").main)
