"""Ten workers, and one again."""

import pytest

from tests.compose.conftest import MEMORY_GOAL, SERVICES, limits, measured
from tests.support import poll_until

pytestmark = pytest.mark.timeout(900)

SECONDS = 35


@pytest.fixture(scope="module")
def ten_workers(green):
    """The project with ten workers, each of them scraped."""
    green.up(workers=10)
    try:
        poll_until("ten worker targets", lambda: green.targets("worker") == ["up"] * 10, 60, 0.5)
        yield green
    finally:
        green.up(workers=1)


def test_prometheus_finds_ten_workers_by_dns(ten_workers):
    code = "import socket; print(len({entry[4][0] for entry in socket.getaddrinfo('worker', 9100)}))"
    assert ten_workers.python("worker", code) == "10"
    instances = ten_workers.prometheus.query('up{job="worker"}')
    assert len({sample.labels["instance"] for sample in instances}) == 10


def test_ten_workers_mine_as_fast_as_rng_serves(ten_workers):
    speed = ten_workers.speed(SECONDS)
    memory = sum(used for used, _ in ten_workers.memory().values())
    measured.append(f"ten workers: {speed:.2f}/s, {memory / 2**20:.0f} MiB")
    assert 9 <= speed <= 10.1
    assert memory <= MEMORY_GOAL - limits(*SERVICES.keys() - ten_workers.services)


def test_the_targets_go_with_their_workers(ten_workers):
    ten_workers.up(workers=1)
    poll_until("one worker target", lambda: ten_workers.targets("worker") == ["up"], 30, 0.5)
    assert len(ten_workers.containers("worker")) == 1
