"""The worker's books: the loops and coins that it made, and which of them are in Redis.

Nothing in the books is lost and nothing is counted twice, whenever Redis goes away: also if it goes away
after it took a command and before the worker saw the answer.
"""

import uuid
from itertools import chain

from redis import Redis

# Adds to KEYS[1] what is new since this worker's last call, and remembers the worker's total in KEYS[2].
# ARGV: the worker's total now; the total that it knows to be in Redis; seconds to remember it.
# Redis runs a script as one step. So a call that is repeated, because its answer got lost, adds nothing.
# If KEYS[2] is gone (somebody emptied Redis), only what is in hand is added.
ADD_LOOPS = """
local known = tonumber(redis.call('GET', KEYS[2]) or ARGV[2])
redis.call('INCRBY', KEYS[1], ARGV[1] - known)
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[3])
"""
REMEMBER_SECONDS = 24 * 60 * 60


class Ledger:
    """Counts loops, holds coins, and writes both to Redis.

    `loops` is the number of loops since the start, `coins` the coins not yet in the wallet (hash → bytes).
    """

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.loops = 0
        self.coins: dict[str, bytes] = {}
        self._stored_loops = 0
        self._key = f"worker:{uuid.uuid4()}:loops"
        self._add_loops = redis.register_script(ADD_LOOPS)

    @property
    def in_hand(self) -> int:
        """The loops that are not known to be in Redis."""
        return self.loops - self._stored_loops

    def store_loops(self) -> None:
        """Add the loops in hand to `hashes`; raises `RedisError`, and may then be called again."""
        loops = self.loops
        self._add_loops(keys=["hashes", self._key], args=[loops, self._stored_loops, REMEMBER_SECONDS])
        self._stored_loops = loops

    def store_coins(self) -> None:
        """Put the coins in hand into `wallet`; raises `RedisError`, and may then be called again."""
        self.redis.hset("wallet", items=list(chain.from_iterable(self.coins.items())))
        self.coins.clear()
