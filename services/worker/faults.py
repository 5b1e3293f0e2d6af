"""What can go wrong in the worker, each as a flag. The worker itself knows nothing of it."""

import logging
import time
from contextlib import suppress

import requests
from opentelemetry import propagate
from opentelemetry.propagators.composite import CompositePropagator
from prometheus_client import REGISTRY, Histogram
from redis import Redis
from telemetry.flags import Flags
from telemetry.metrics import DURATION_BUCKETS

from worker.instrumented import InstrumentedWorker, phase
from worker.ledger import Ledger
from worker.worker import HTTP_TIMEOUT, Settings

log = logging.getLogger("worker")

IMPATIENT_TIMEOUT = (2, 0.05)
RETRIES = 4
SLOW_WRITE_SECONDS = 0.4
LOG_LINES = 20
LABEL_VALUES = 100

# Registered only while its fault is on.
DURATION_BY_HASH = Histogram(
    "dockercoins_worker_hash_duration_seconds",
    "Time that hasher took for a hash, by that hash.",
    ["hash"],
    buckets=DURATION_BUCKETS,
    registry=None,
)


class FaultyWorker(InstrumentedWorker):
    """A worker in which the faults that are switched on act, inside of the spans and measurements."""

    def __init__(self, settings: Settings, flags: Flags) -> None:
        super().__init__(settings)
        self.flags = flags
        self.ledger = FaultyLedger(self.ledger.redis, flags)
        self.propagator = propagate.get_global_textmap()
        self.labels_exploded = False

    def sleep(self) -> None:
        """Wait a little: the first step of a loop."""
        forgets = self.flags.on("worker-no-propagation")
        propagate.set_global_textmap(CompositePropagator([]) if forgets else self.propagator)
        if self.flags.on("worker-log-flood"):
            for number in range(LOG_LINES):
                log.info("still here: step %d of %d", number + 1, LOG_LINES)
        super().sleep()

    def hash(self, data: bytes) -> str:
        """Return the SHA-256 of `data` in hex, or what hasher answers instead."""
        if self.flags.on("worker-retries"):
            self.post_impatiently(data)
        started = time.perf_counter()
        digest = self.post_wrongly(data) if self.flags.on("worker-ignores-errors") else super().hash(data)
        self.label(digest, time.perf_counter() - started)
        return digest

    def post_impatiently(self, data: bytes) -> None:
        """Give up on hasher before it can answer, and try again at once."""
        for _ in range(RETRIES):
            with suppress(requests.Timeout):
                self.hasher.post(f"{self.settings.hasher_url}/", data, timeout=IMPATIENT_TIMEOUT)

    def post_wrongly(self, data: bytes) -> str:
        """Post to a path that hasher does not have, and take any answer for a hash."""
        with phase("hasher"):
            return self.hasher.post(f"{self.settings.hasher_url}/hash", data, timeout=HTTP_TIMEOUT).text

    def label(self, digest: str, seconds: float) -> None:
        """Make a time series of its own for each hash; what must have an end here ends at `LABEL_VALUES`."""
        exploding = self.flags.on("worker-labels")
        if exploding != self.labels_exploded:
            self.labels_exploded = exploding
            DURATION_BY_HASH.clear()
            (REGISTRY.register if exploding else REGISTRY.unregister)(DURATION_BY_HASH)
        if exploding:
            DURATION_BY_HASH.labels(hash(digest) % LABEL_VALUES).observe(seconds)


class FaultyLedger(Ledger):
    """A ledger whose writes may be slow."""

    def __init__(self, redis: Redis, flags: Flags) -> None:
        super().__init__(redis)
        self._flags = flags

    def store_loops(self) -> None:
        """Add the loops in hand to `hashes`."""
        self._wait()
        super().store_loops()

    def store_coins(self) -> None:
        """Put the coins in hand into `wallet`."""
        self._wait()
        super().store_coins()

    def _wait(self) -> None:
        if self._flags.on("redis-slow-writes"):
            time.sleep(SLOW_WRITE_SECONDS)
