"""What can go wrong in webui, each as a flag. webui itself knows nothing of it."""

import time
from collections.abc import Iterator

from flask import Flask
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from telemetry.flags import Flags

STUCK_SECONDS = 10


def install(app: Flask, flags: Flags) -> None:
    """Let the fault act on every scrape."""
    REGISTRY.register(StuckCollector(flags))


class StuckCollector(Collector):
    """Gives no metrics, and holds up those that others give."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags

    def describe(self) -> Iterator[Metric]:
        """Tell the names of its metrics: it has none."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Wait, far longer than Prometheus does."""
        deadline = time.monotonic() + STUCK_SECONDS
        while self._flags.on("webui-stuck-scrape") and time.monotonic() < deadline:
            time.sleep(0.1)
        return iter(())
