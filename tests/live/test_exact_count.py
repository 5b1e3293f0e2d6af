"""The count is exact: nothing lost and nothing counted twice, whatever happens to Redis."""

import re

from tests.live.conftest import running
from tests.support import poll_until


def test_hashes_equal_the_loops_while_redis_is_killed_five_times(make_lab):
    lab = make_lab(settings={"WORKER_DELAY": "0", "RNG_DELAY": "0", "HASHER_DELAY": "0"})
    with running(lab, "--workers", "3"):
        for _ in range(5):
            killed = lab.pid("redis")
            lab.run("kill", "redis")
            poll_until("a new Redis", lambda: lab.pid("redis") not in (None, killed))  # noqa: B023
            grown = lab.hashes() + 100
            poll_until("more hashes", lambda: lab.hashes() > grown, timeout=30)  # noqa: B023
        lab.run("stop", "worker")
        logs = lab.run("logs", "worker", "-n", "20")
        told = [int(count) for count in re.findall(r"stopped after (\d+) loops", logs)]
        assert len(told) == 3
        assert lab.hashes() == sum(told)
