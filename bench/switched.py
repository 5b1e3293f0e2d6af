"""rng, hasher or worker, with fault flags that can be taken out and put back while it runs.

    python bench/switched.py rng

SIGUSR1 takes out what the flags add to a request or a loop, SIGUSR2 puts it back.
"""

import importlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from flask import Flask
from opentelemetry.sdk import trace

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "services"))

from common.settings import run_service  # noqa: E402
from telemetry.flags import Flags  # noqa: E402

Switch = Callable[[], None]


def on_signals(without: Switch, with_flags: Switch) -> None:
    """Let the two signals do these."""
    signal.signal(signal.SIGUSR1, lambda *_: without())
    signal.signal(signal.SIGUSR2, lambda *_: with_flags())


def make_web_service_switchable(name: str) -> None:
    """Let the signals change what Flask calls for each request, and the clock of the spans."""
    faults = importlib.import_module(f"{name}.faults")
    install = faults.install

    def hooks(app: Flask) -> Switch:
        found = app.dispatch_request, app.full_dispatch_request, trace.time_ns

        def switch() -> None:
            app.dispatch_request, app.full_dispatch_request, trace.time_ns = found  # type: ignore[method-assign]

        return switch

    def switchable(app: Flask, flags: Flags) -> None:
        without = hooks(app)
        install(app, flags)
        on_signals(without, hooks(app))

    faults.install = switchable


def make_worker_switchable() -> None:
    """Let the signals change the class of the worker and that of its ledger, between two loops."""
    from worker import faults

    worker_class, ledger_class = faults.FaultyWorker, faults.FaultyLedger
    loop = faults.InstrumentedWorker.loop

    def without() -> None:
        nonlocal worker_class, ledger_class
        worker_class, ledger_class = faults.InstrumentedWorker, faults.Ledger

    def with_flags() -> None:
        nonlocal worker_class, ledger_class
        worker_class, ledger_class = faults.FaultyWorker, faults.FaultyLedger

    def switchable(self: faults.FaultyWorker) -> None:
        self.__class__, self.ledger.__class__ = worker_class, ledger_class
        loop(self)

    faults.InstrumentedWorker.loop = switchable
    on_signals(without, with_flags)


if __name__ == "__main__":
    (service,) = sys.argv[1:]
    if service == "worker":
        make_worker_switchable()
    else:
        make_web_service_switchable(service)
    run_service(importlib.import_module(f"{service}.{service}").main)
