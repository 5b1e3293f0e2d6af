"""Every panel of the dashboards, on the containers' telemetry, with one worker and with ten."""

from math import isfinite

import pytest

from tests.grafana import QUERIES, quiet, with_all_chosen
from tests.support import poll_until

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", params=[1, 10])
def scaled(request, green):
    """The project with so many workers, for as long as the windows of the queries are."""
    green.up(workers=request.param)
    try:
        poll_until("the workers' targets", lambda: green.targets("worker") == ["up"] * request.param, 60, 0.5)
        poll_until(
            "full windows",
            lambda: green.prometheus.scalar("min(time() - process_start_time_seconds)") > 65,
            90,
        )
        yield green, request.param
    finally:
        green.up(workers=1)


def has_data(stack, title):
    samples = stack.prometheus.query(with_all_chosen(QUERIES[title]))
    return any(isfinite(sample.value) for sample in samples)


def test_every_query_returns_data(scaled):
    stack, _ = scaled
    expected = [title for title in QUERIES if not quiet(title.rpartition(": ")[0])]
    assert [title for title in expected if not has_data(stack, title)] == []


def test_what_is_declared_to_be_quiet_is_quiet(scaled):
    stack, workers = scaled
    # With ten workers each waits 0.8 s for rng: that the latency budget burns is the lesson.
    lesson = {"LatencyBudgetBurnsFast", "LatencyBudgetBurnsSlowly"} if workers == 10 else set()
    for title in QUERIES:
        if quiet(title.rpartition(": ")[0]):
            samples = stack.prometheus.query(with_all_chosen(QUERIES[title]))
            assert {sample.labels.get("alertname") for sample in samples if sample.value} <= lesson, title
