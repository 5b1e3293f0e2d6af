"""The counters of DockerCoins in Redis: `hashes`, the loops that the workers did, and `wallet`, the coins."""

import re
import time
from dataclasses import dataclass
from typing import cast

from redis import Redis, RedisError

# What Redis itself can count to is below 10^19.
COUNT = re.compile("[0-9]{1,19}")


class CountersError(Exception):
    """The counters cannot be read. The text says why: Redis is away, or what it holds is no count."""


@dataclass(frozen=True)
class Reading:
    """What the counters were at one time; `time` in seconds since 1970."""

    time: float
    hashes: int
    coins: int


class Counters:
    """Reads the counters.

    Each read is a method of its own, so that it can be measured from outside.
    """

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def read(self) -> Reading:
        """Return the counters now; raises `CountersError`."""
        try:
            hashes = self.get_hashes()
            now = time.time()
            coins = self.count_coins()
        except RedisError as error:
            raise CountersError(f"Redis: {error}") from error
        if not COUNT.fullmatch(hashes):
            raise CountersError(f"Redis: hashes is {hashes[:40]!r}, where a count is expected")
        return Reading(now, int(hashes), coins)

    def get_hashes(self) -> str:
        """Return the text in `hashes`, `0` if no loop was counted yet; raises `RedisError`."""
        hashes = cast("bytes | None", self.redis.get("hashes"))
        return (hashes or b"0").decode(errors="replace")

    def count_coins(self) -> int:
        """Return the number of coins in `wallet`; raises `RedisError`."""
        return self.redis.hlen("wallet")
