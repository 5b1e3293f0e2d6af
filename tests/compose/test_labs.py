"""Labs in containers: checks and answers see the same as natively, and a reset mends what is broken."""

import json
from dataclasses import replace

import pytest

from tests.support import poll_until

pytestmark = pytest.mark.timeout(300)

ONE_WORKER = "one worker runs, and all that Prometheus looks at answers"


@pytest.fixture(scope="module")
def student(green, tmp_path_factory):
    """The project, with the progress of its student in a folder of the test's own."""
    settings = {**green.engine.environment, "WORKSHOP_STATE": str(tmp_path_factory.mktemp("state"))}
    return replace(green, engine=replace(green.engine, environment=settings))


def states(student):
    """Return the state of each check and question of lab 01."""
    report = json.loads(student.workshop("check", "01", "--json", code=1))
    return {result["title"]: result["state"] for result in report["results"]}


def test_a_check_and_an_answer(student):
    # Prometheus may have just started.
    poll_until("one worker", lambda: states(student)[ONE_WORKER] == "passed", 30, 1)
    assert states(student)["the count was read by hand"] == "failed"
    # A coin is looked up in Redis, which no port leads to.
    coin = poll_until("a coin", lambda: student.redis("HKEYS", "wallet").split())[0]
    student.workshop("answer", "01", "coin", coin[:8])
    student.workshop("answer", "01", "coin", "0" * 8, code=1)
    trace = student.jaeger.traces("worker", limit=1, tags='{"dockercoins.coin": "true"}')[0]["traceID"]
    student.workshop("answer", "01", "coin-trace", trace)


def test_a_reset_brings_the_start_back(student):
    student.up(workers=2)
    student.compose("stop", "hasher")
    student.compose("pause", "rng")
    student.workshop("reset", "01")
    poll_until("all healthy", student.healthy, 60)
    assert len(student.containers("worker")) == 1
    assert [title for title, state in states(student).items() if state == "passed"] == [ONE_WORKER]
