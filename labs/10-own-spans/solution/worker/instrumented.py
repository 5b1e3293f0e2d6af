"""The worker's telemetry: one trace and one set of measurements per loop.

A loop is the root span of its trace. Its children are the requests to rng and hasher and the writes to Redis.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from opentelemetry import trace
from prometheus_client import Counter, Gauge, Histogram
from redis import RedisError
from requests import HTTPError, RequestException
from telemetry import database, faults, http_client
from telemetry.metrics import DURATION_BUCKETS, exemplar

from worker.worker import Settings, Worker

LOOP_DURATION = Histogram(
    "dockercoins_worker_loop_duration_seconds",
    "Time of a whole loop that was finished.",
    buckets=DURATION_BUCKETS,
)
PHASE_DURATION = Histogram(
    "dockercoins_worker_phase_duration_seconds",
    "Time of one part of a loop, finished or failed; those of a finished loop add up to it.",
    ["phase"],
    buckets=DURATION_BUCKETS,
)
LOOPS = Counter("dockercoins_worker_loops", "Loops finished.")
COINS = Counter("dockercoins_worker_coins", "Coins found.")
ERRORS = Counter("dockercoins_worker_errors", "Loops and Redis writes that failed.", ["phase", "error_type"])
IN_HAND = Gauge("dockercoins_worker_loops_in_hand", "Loops finished that are not known to be in Redis.")

tracer = trace.get_tracer("worker")


class InstrumentedWorker(Worker):
    """A worker that tells what it does."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        http_client.instrument(self.rng, peer="rng")
        http_client.instrument(self.hasher, peer="hasher")
        IN_HAND.set_function(lambda: self.ledger.in_hand)

    def loop(self) -> None:
        """Do one unit of work, as a trace."""
        with tracer.start_as_current_span("loop") as span:
            started = perf_counter()
            super().loop()
            LOOP_DURATION.observe(perf_counter() - started, exemplar(span))

    def sleep(self) -> None:
        """Wait a little."""
        with phase("sleep"), tracer.start_as_current_span("sleep"):
            super().sleep()

    def random_bytes(self) -> bytes:
        """Return random bytes from rng; if they are fewer than 32, the loop has an error."""
        with phase("rng"):
            data = super().random_bytes()
        if len(data) != 32:
            span = trace.get_current_span()
            span.set_attribute("error.type", "short_answer")
            span.set_status(trace.StatusCode.ERROR, f"{len(data)} bytes instead of 32")
        return data

    def hash(self, data: bytes) -> str:
        """Return the SHA-256 of `data` in hex, from hasher."""
        with phase("hasher"):
            return super().hash(data)

    def count(self, digest: str, data: bytes) -> None:
        """Count a finished loop, and its coin if it made one."""
        coin = digest.startswith("0")
        span = trace.get_current_span()
        span.set_attribute("dockercoins.coin", coin)
        span.set_attribute("dockercoins.hash.value", digest)
        span.set_attribute("dockercoins.hash.first_digit", digest[:1])
        if coin:
            span.add_event("dockercoins.coin.found", {"dockercoins.hash.value": digest})
        super().count(digest, data)
        LOOPS.inc()
        COINS.inc(coin)

    def store_coins(self) -> None:
        """Write the coins in hand to the wallet."""
        with phase("redis"), database.operation(self.ledger.redis, "HSET"):
            super().store_coins()

    def store_loops(self) -> None:
        """Add the loops in hand to the counter."""
        with phase("redis"), database.operation(self.ledger.redis, "EVALSHA"):
            super().store_loops()


def create_worker(settings: Settings) -> InstrumentedWorker:
    """Return an instrumented worker; where faults can be switched on, one that has them."""
    flags = faults.flags()
    if flags is None:
        return InstrumentedWorker(settings)
    from worker.faults import FaultyWorker

    return FaultyWorker(settings, flags)


def error_type(error: Exception) -> str:
    """Return the status code of an answer that is not 2xx, else the exception's name."""
    if isinstance(error, HTTPError) and error.response is not None:
        return str(error.response.status_code)
    return type(error).__name__


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Measure one part of a loop, and count what goes wrong in it."""
    started = perf_counter()
    try:
        yield
    except (RequestException, RedisError) as error:
        ERRORS.labels(name, error_type(error)).inc()
        raise
    finally:
        PHASE_DURATION.labels(name).observe(perf_counter() - started, exemplar(trace.get_current_span()))
