"""webui's telemetry: its reads for a request, traced, and the counters of DockerCoins as metrics."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from telemetry import database

from webui.counters import Counters, CountersError


class InstrumentedCounters(Counters):
    """Counters that measure and trace each read."""

    def get_hashes(self) -> str:
        """Return the text in `hashes`."""
        with database.operation(self.redis, "GET"):
            return super().get_hashes()

    def count_coins(self) -> int:
        """Return the number of coins in `wallet`."""
        with database.operation(self.redis, "HLEN"):
            return super().count_coins()


class CountersCollector(Collector):
    """The counters in Redis as metrics, read at each scrape; absent where they cannot be read."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """Read the counters, once."""
        up = GaugeMetricFamily("dockercoins_redis_up", "1 if webui can read the counters in Redis, else 0.")
        try:
            reading = self._counters.read()
        except CountersError:
            up.add_metric([], 0)
        else:
            up.add_metric([], 1)
            yield CounterMetricFamily(
                "dockercoins_hashes", "Loops that the workers have added to Redis.", reading.hashes
            )
            yield GaugeMetricFamily("dockercoins_coins", "Coins in the wallet in Redis.", reading.coins)
        yield up
