"""`kill -9` of each container's main process in turn: it comes back, the speed does, and no count is wrong.

"The count is right" means: `hashes` in Redis equals the loops that the worker processes handed in, exactly.
- Redis keeps the account of each worker process under `worker:<uuid>:loops`; their sum is `hashes`.
- A worker that ends in the usual way tells how many loops it did ("stopped after N loops"): its account is N.
- A worker that is killed takes the loops with it that it had not yet handed in, at most those of one interval
  between two flushes. Its account is what it said to hand in ("N units of work done"), with or without the
  last time, whose answer it may not have lived to see.
"""

import re
from time import monotonic

import pytest

from tests.compose.conftest import measured, running
from tests.support import poll_until

pytestmark = pytest.mark.timeout(900)

# Process 1 of a container is an init; the service is its child.
KILL = "kill -9 $(grep -l '^PPid:[[:space:]]*1$' /proc/[0-9]*/status | cut -d / -f 3)"
RECOVERY = 30
WINDOW = 6


@pytest.fixture(scope="module")
def fresh(make_stack):
    """A project whose worker is known from its first loop on, and its usual speed."""
    with running(make_stack("dockercoins-test-faults")) as stack:
        speeds: list[float] = []

        def usual():
            speeds.append(stack.speed(10))
            return 3.0 <= speeds[-1] <= 3.4

        poll_until("the usual speed of one worker", usual, 60)
        yield stack, speeds[-1]


# The worker first: its first process must hand in its loops undisturbed, for its log to be its account.
def test_a_killed_service_comes_back(fresh, subtests):
    stack, usual = fresh
    for service in sorted(stack.services, key=lambda name: (name != "worker", name)):
        with subtests.test(service=service):
            comes_back(stack, usual, service)


def comes_back(stack, usual, service):
    before = stack.inspect(service)
    stack.beside(service, KILL, check=False)  # it may be gone before it can say that it succeeded
    killed = monotonic()

    def back():
        now = stack.inspect(service)
        return (
            now["Id"] == before["Id"]
            and now["RestartCount"] == before["RestartCount"] + 1
            and now["State"]["StartedAt"] > before["State"]["StartedAt"]
            and now["State"]["Running"]
        )

    poll_until(f"{service} restarted", back, 10)
    speeds: list[float] = []
    while not speeds or speeds[-1] < 0.9 * usual:
        speeds.append(stack.speed(WINDOW))
        assert monotonic() - killed <= RECOVERY, f"{speeds}/s, and before {usual}/s"
    measured.append(f"{service} killed: 90 % of the speed shown after {monotonic() - killed:.1f} s")
    poll_until("all healthy", stack.healthy, 30)


def test_the_count_is_exact_after_all_of_it(fresh):
    stack, _ = fresh
    second_start = stack.inspect("worker")["State"]["StartedAt"]
    (worker,) = stack.containers("worker")
    first_process = stack.engine.docker("logs", "--until", second_start, worker)
    handed_in = [int(loops) for loops in re.findall(r'"(\d+) units of work done', first_process)]
    assert handed_in
    assert "lost" not in first_process

    stack.compose("stop", "worker")
    second_process = stack.engine.docker("logs", "--since", second_start, worker)
    (stopped,) = (int(loops) for loops in re.findall(r'"stopped after (\d+) loops"', second_process))

    accounts = [int(stack.redis("GET", key)) for key in stack.redis("KEYS", "worker:*:loops").splitlines()]
    assert stack.hashes() == sum(accounts)
    assert len(accounts) == 2
    assert stopped in accounts
    accounts.remove(stopped)
    assert accounts[0] in (sum(handed_in), sum(handed_in[:-1]))
