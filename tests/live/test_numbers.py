"""The numbers that are known in advance, on the live lab with one worker and with ten.

The lab is a closed queueing network. With a cycle of 0.3 s plus overhead and a bottleneck of 0.1 s, N workers
make X = min(N / (0.3 s + overhead), 1 / 0.1 s) hashes a second.
"""

from time import time

import pytest

from tests.live.conftest import Lab, running
from tests.support import is_whole, parents, poll_until
from workshop.clients import services_of

SECONDS = 40


@pytest.fixture(scope="module")
def labs(tmp_path_factory):
    """Two labs side by side, with one worker and with ten, for longer than the windows of the queries."""
    folder = tmp_path_factory.mktemp("labs")
    oldest = "min(time() - process_start_time_seconds)"
    with (
        running(Lab(folder, "one"), "--workers", "1") as one,
        running(Lab(folder, "ten"), "--workers", "10") as ten,
    ):
        # The second lab started later.
        poll_until("full windows", lambda: ten.prometheus.scalar(oldest) > SECONDS + 10, SECONDS + 30)
        yield {1: one, 10: ten}


@pytest.fixture(params=[1, 10])
def busy_lab(request, labs):
    """One of the labs, and the number of its workers."""
    return labs[request.param], request.param


def quantile(lab, q, metric, labels):
    return lab.prometheus.scalar(
        f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket{{{labels}}}[{SECONDS}s])))"
    )


def test_speed_from_redis(busy_lab):
    lab, workers = busy_lab
    speed = lab.prometheus.scalar(f"sum(rate(dockercoins_hashes_total[{SECONDS}s]))")
    low, high = {1: (3.0, 3.4), 10: (9.0, 10.1)}[workers]
    assert low <= speed <= high


def test_speed_from_the_workers_agrees(busy_lab):
    lab, workers = busy_lab
    redis, own = (
        lab.prometheus.scalar(f"sum(rate({metric}[{SECONDS}s]))")
        for metric in ("dockercoins_hashes_total", "dockercoins_worker_loops_total")
    )
    # Each worker may hold the loops of one flush interval and one cycle back at either end of the window.
    assert abs(redis - own) <= own * (1 + workers / own) / SECONDS + 0.02 * own


def test_latency_on_both_sides_of_rng(busy_lab):
    lab, workers = busy_lab
    server = quantile(lab, 0.5, "http_server_request_duration_seconds", 'job="rng", http_route="/<int:size>"')
    client = quantile(lab, 0.5, "http_client_request_duration_seconds", 'service_peer_name="rng"')
    assert 0.1 <= server <= 0.12
    low, high = {1: (0.1, 0.12), 10: (0.7, 0.9)}[workers]
    assert low <= client <= high


def test_latency_of_hasher_does_not_depend_on_the_workers(busy_lab):
    lab, _ = busy_lab
    client = quantile(lab, 0.5, "http_client_request_duration_seconds", 'service_peer_name="hasher"')
    assert 0.1 <= client <= 0.125


def test_the_phases_add_up_to_the_loop(busy_lab):
    lab, _ = busy_lab
    phases = lab.prometheus.scalar(f"sum(rate(dockercoins_worker_phase_duration_seconds_sum[{SECONDS}s]))")
    loops = lab.prometheus.scalar(f"sum(rate(dockercoins_worker_loop_duration_seconds_sum[{SECONDS}s]))")
    assert phases == pytest.approx(loops, rel=0.02)


def test_littles_law_predicts_the_speed(busy_lab):
    """The workers are the customers of a closed system: N = X times cycle time, exactly."""
    lab, workers = busy_lab
    count = lab.prometheus.scalar(f"sum(rate(dockercoins_worker_loop_duration_seconds_count[{SECONDS}s]))")
    total = lab.prometheus.scalar(f"sum(rate(dockercoins_worker_loop_duration_seconds_sum[{SECONDS}s]))")
    assert workers / (total / count) == pytest.approx(count, rel=0.05)


def test_one_loop_in_sixteen_makes_a_coin(busy_lab):
    lab, _ = busy_lab
    with lab.redis as client:
        hashes, coins = int(client.get("hashes")), client.hlen("wallet")
    # Binomial with p = 1/16, and the coins of loops not yet counted: five standard deviations.
    assert abs(coins - hashes / 16) < 5 * (hashes * 15 / 256) ** 0.5 + 10 / 16


def complete_traces(lab):
    """Return traces of finished loops with all their spans, which arrive from three processes."""
    traces = lab.jaeger.traces("worker", limit=50)
    return [trace for trace in traces if is_whole(trace) and len(services_of(trace)) == 3]


def test_a_trace_has_all_three_services_with_the_right_parents(busy_lab):
    lab, _ = busy_lab
    trace = poll_until("complete traces", lambda: complete_traces(lab))[-1]
    callers = parents(trace)
    assert callers[("worker", "loop")] == []
    assert callers[("worker", "GET")] == [("worker", "loop")]
    assert callers[("rng", "GET /<int:size>")] == [("worker", "GET")]
    assert callers[("worker", "POST")] == [("worker", "loop")]
    assert callers[("hasher", "POST /")] == [("worker", "POST")]


@pytest.mark.parametrize(
    "metric",
    [
        "http_server_request_duration_seconds_bucket",
        "http_client_request_duration_seconds_bucket",
        "dockercoins_worker_loop_duration_seconds_bucket",
        "dockercoins_worker_phase_duration_seconds_bucket",
    ],
)
def test_an_exemplar_opens_a_trace_that_exists(busy_lab, metric):
    lab, _ = busy_lab
    series = lab.prometheus.exemplars(f'{metric}{{job!="webui"}}', time() - 20, time())
    exemplars = [exemplar for one in series for exemplar in one["exemplars"]]
    newest = max(exemplars, key=lambda exemplar: exemplar["timestamp"])
    wanted = newest["labels"]

    def its_span():
        trace = lab.jaeger.trace(wanted["trace_id"]) or {"spans": []}
        return [span for span in trace["spans"] if span["spanID"] == wanted["span_id"]]

    # A loop's span ends after the measurement of its phases, and travels for a second.
    poll_until("the exemplar's span", its_span)


def test_a_coin_is_written_in_the_trace_of_its_loop(busy_lab):
    lab, _ = busy_lab
    trace = poll_until(
        "the trace of a coin",
        lambda: lab.jaeger.traces("worker", operation="loop", tags='{"dockercoins.coin":"true"}', limit=1),
        timeout=60,
    )[0]
    assert parents(trace)["worker", "HSET"] == [("worker", "loop")]


def test_loops_are_counted_in_the_trace_of_the_last_of_them(busy_lab):
    lab, _ = busy_lab
    trace = poll_until(
        "a whole trace",
        lambda: [trace for trace in lab.jaeger.traces("worker", operation="EVALSHA") if is_whole(trace)],
    )[0]
    assert parents(trace)["worker", "EVALSHA"] == [("worker", "loop")]


def test_memory_of_all_processes_together(labs):
    assert sum(process.memory_info().rss for process in labs[1].processes()) <= 500e6
