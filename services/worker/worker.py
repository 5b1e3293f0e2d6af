"""worker: mines DockerCoins, in an endless loop.

Each loop waits a little, takes random bytes from rng and has them hashed by hasher. A hash that starts with
`0` is a coin, which goes to the Redis hash `wallet`. Once a second the loops done are added to the Redis
counter `hashes`.

This file is the worker without telemetry; `instrumented.py` adds it.
"""

import logging
import random
import signal
import threading
from dataclasses import dataclass
from time import monotonic
from types import FrameType

import requests
from common.redis_client import connect
from common.settings import read_number, read_url, run_service, telemetry_wanted
from redis import RedisError
from requests import Request

from worker.ledger import Ledger

log = logging.getLogger("worker")

# Seconds to connect, and seconds to wait for an answer: fifty workers queue for five seconds in front of rng.
HTTP_TIMEOUT = (2, 10)
FLUSH_INTERVAL = 1
MAX_BACKOFF = 10
# After SIGTERM: what the loop under way may still take. All together it must end within five seconds: two
# writes to Redis may take a second each (`common.redis_client.TIMEOUT`), and the last spans another one.
LAST_LOOP_TIMEOUT = 1.5


class GaveUpError(Exception):
    """The last loop took too long."""


@dataclass(frozen=True)
class Settings:
    """What the worker takes from its environment; `delay` in seconds."""

    delay: float
    rng_url: str
    hasher_url: str
    redis_url: str

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the settings; raises `SettingError` for one that is not usable."""
        return cls(
            delay=read_number("WORKER_DELAY", 0.1, minimum=0, maximum=60, unit="seconds"),
            rng_url=read_url("RNG_URL", "http://rng", schemes=("http",)),
            hasher_url=read_url("HASHER_URL", "http://hasher", schemes=("http",)),
            redis_url=read_url("REDIS_URL", "redis://redis", schemes=("redis",)),
        )


def backoff(failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row: longer each time, and at random.

    The random part keeps many workers from coming back all at the same moment ("full jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    return random.uniform(0, min(MAX_BACKOFF, 0.1 * 2 ** min(failures, 10)))  # noqa: S311 - not a secret


def checked(response: requests.Response) -> requests.Response:
    """Return `response` if its status is 2xx; raise `requests.HTTPError` for any other."""
    if not 200 <= response.status_code < 300:
        raise requests.HTTPError(f"{response.url} answered {response.status_code}", response=response)
    return response


class Worker:
    """Mines until it is told to stop.

    Each step of a loop is a method of its own, so that it can be measured from outside.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.rng = requests.Session()
        self.hasher = requests.Session()
        for session in (self.rng, self.hasher):
            session.trust_env = False  # looking for proxies in the environment costs more than the request
        # To prepare a request takes longer than to send it, so the same ones are sent again and again.
        self.rng_request = self.rng.prepare_request(Request("GET", f"{settings.rng_url}/32"))
        self.hasher_request = self.hasher.prepare_request(
            Request("POST", f"{settings.hasher_url}/", {"Content-Type": "application/octet-stream"})
        )
        self.ledger = Ledger(connect(settings.redis_url))
        self.stopping = threading.Event()
        self.next_flush = monotonic() + FLUSH_INTERVAL
        self.redis_failures = 0
        self.in_loop = False

    def run(self) -> None:
        """Mine until `stop`; then write what is not yet in Redis.

        Raises `RedisError` if that last write fails, so that the loops in it are lost.
        """
        failures = 0
        while not self.stopping.is_set():
            try:
                self.in_loop = True
                failures = self.try_loop(failures)
                self.in_loop = False
            except GaveUpError:  # wherever the alarm went off, also while a failure was dealt with
                self.in_loop = False
                log.warning("gave up the last loop after %s s", LAST_LOOP_TIMEOUT)
        # Should the alarm of `stop` go off when Python no longer handles signals, it would kill the process.
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        self.flush()

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """Finish the loop under way, and no other: the handler of SIGTERM and SIGINT."""
        self.stopping.set()
        signal.setitimer(signal.ITIMER_REAL, LAST_LOOP_TIMEOUT)

    def give_up(self, signum: int, frame: FrameType | None) -> None:
        """Abandon the loop under way: the handler of SIGALRM, which `stop` asks for."""
        if self.in_loop:
            raise GaveUpError

    def try_loop(self, failures: int) -> int:
        """Do one unit of work, and pause if it fails; return the failures in a row, `failures` before it."""
        try:
            self.loop()
        except requests.RequestException as error:
            failures += 1
            pause = backoff(failures)
            log.warning("%s; next loop in %.1f s", error, pause)
            self.stopping.wait(pause)
            return failures
        return 0

    def loop(self) -> None:
        """Do one unit of work.

        Raises `requests.RequestException` if rng or hasher fails; then the loop does not count.
        """
        self.sleep()
        data = self.random_bytes()
        digest = self.hash(data)
        self.count(digest, data)
        if monotonic() >= self.next_flush:
            self.try_to_flush()

    def sleep(self) -> None:
        """Wait a little."""
        self.stopping.wait(self.settings.delay)

    def random_bytes(self) -> bytes:
        """Return 32 random bytes from rng."""
        return checked(self.rng.send(self.rng_request, timeout=HTTP_TIMEOUT, allow_redirects=False)).content

    def hash(self, data: bytes) -> str:
        """Return the SHA-256 of `data` in hex, from hasher."""
        self.hasher_request.prepare_body(data, files=None)
        return checked(
            self.hasher.send(self.hasher_request, timeout=HTTP_TIMEOUT, allow_redirects=False)
        ).text

    def count(self, digest: str, data: bytes) -> None:
        """Count a finished loop; if its hash is a coin, put that into the wallet."""
        self.ledger.loops += 1
        if digest.startswith("0"):
            log.info("Coin found: %s...", digest[:8])
            self.ledger.coins[digest] = data
            if not self.redis_failures:  # else the next flush that succeeds takes the coin along
                self.try_to_store_coins()

    def try_to_store_coins(self) -> None:
        """Write the coins in hand to Redis; while that fails they stay in hand."""
        try:
            self.store_coins()
        except RedisError as error:
            self.put_off(error)

    def try_to_flush(self) -> None:
        """Write the loops and coins in hand to Redis; while that fails they accumulate."""
        try:
            self.flush()
            self.redis_failures = 0
            self.next_flush = monotonic() + FLUSH_INTERVAL
        except RedisError as error:
            self.put_off(error)

    def put_off(self, error: RedisError) -> None:
        """Leave Redis alone for a while after an error; mining goes on."""
        self.redis_failures += 1
        pause = backoff(self.redis_failures)
        self.next_flush = monotonic() + pause
        log.warning("Redis: %s; %d loops in hand, next try in %.1f s", error, self.ledger.in_hand, pause)

    def flush(self) -> None:
        """Write the loops and the coins in hand to Redis; raises `RedisError`."""
        if self.ledger.coins:
            self.store_coins()
        if self.ledger.in_hand:
            log.info("%d units of work done, updating hash counter", self.ledger.in_hand)
            self.store_loops()

    def store_coins(self) -> None:
        """Write the coins in hand to the wallet; raises `RedisError`."""
        self.ledger.store_coins()

    def store_loops(self) -> None:
        """Add the loops in hand to the counter; raises `RedisError`."""
        self.ledger.store_loops()


def main() -> int:
    """Mine until SIGTERM; return 1 if loops are lost because Redis is away at the end."""
    settings = Settings.from_environment()
    if telemetry_wanted():
        import telemetry

        from worker.instrumented import create_worker

        telemetry.start("worker")
        worker: Worker = create_worker(settings)
    else:
        logging.basicConfig(level=logging.INFO)
        worker = Worker(settings)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, worker.stop)
    signal.signal(signal.SIGALRM, worker.give_up)
    try:
        worker.run()
    except RedisError as error:
        log.error(
            "Redis: %s; lost: %d loops, %d coins", error, worker.ledger.in_hand, len(worker.ledger.coins)
        )
        return 1
    log.info("stopped after %d loops", worker.ledger.loops)
    return 0


if __name__ == "__main__":
    run_service(main)
