"""The Redis client of worker and webui."""

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# Seconds, to connect and for each answer. Mining goes on meanwhile, and a page says soon that Redis is away.
TIMEOUT = 1


def connect(url: str) -> Redis:
    """Return a Redis client that gives up within `TIMEOUT` and never repeats a command by itself."""
    return Redis.from_url(
        url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0)
    )
