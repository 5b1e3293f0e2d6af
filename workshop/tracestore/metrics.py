"""The metrics of the trace store itself, for Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from workshop.tracestore.store import TraceStore

_PREFIX = "dockercoins_tracestore"


class StoreCollector(Collector):
    """Reads the counts of a store at each scrape."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Give the metrics of the store."""
        counts = self._store.counts()
        for name, text, count in (
            ("received", "Spans that came in, rejected ones and copies included.", counts.received),
            ("rejected", "Spans that came in and were not valid.", counts.rejected),
            ("evicted", "Spans that went to make room for newer traces.", counts.evicted),
        ):
            yield CounterMetricFamily(f"{_PREFIX}_spans_{name}", text, value=count)
        yield GaugeMetricFamily(f"{_PREFIX}_spans_stored", "Spans in the store.", value=counts.spans)
        yield GaugeMetricFamily(f"{_PREFIX}_traces_stored", "Traces in the store.", value=counts.traces)


def create_registry(store: TraceStore) -> CollectorRegistry:
    """Return a registry of the metrics of a store and of this process."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(store))
    ProcessCollector(registry=registry)
    return registry
