"""worker as the first draft of a workshop would have it: a new connection for each call."""

import sys
from time import monotonic

import requests
from redis import Redis

rng, hasher, redis_port = sys.argv[1:]
redis = Redis(port=int(redis_port))
loops, deadline = 0, monotonic() + 1
while True:
    data = requests.get(f"http://127.0.0.1:{rng}/32", timeout=10).content
    digest = requests.post(f"http://127.0.0.1:{hasher}/", data=data, timeout=10).text
    if digest.startswith("0"):
        redis.hset("wallet", digest, data)
    loops += 1
    if monotonic() > deadline:
        redis.incrby("hashes", loops)
        loops, deadline = 0, monotonic() + 1
