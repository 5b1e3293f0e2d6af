"""What a check makes of a history whose scrapes came at chosen moments: a real Prometheus has just that one.

Which job is scraped last, when a lab goes down, is chance.
"""

import subprocess
from time import time

import pytest

from tests.support import free_ports, prometheus_process, require
from workshop.clients import Jaeger, Prometheus
from workshop.grading import exercises
from workshop.grading.history import STEP_SECONDS
from workshop.grading.live import Live
from workshop.lab import ROOT

lab_12 = exercises.load(ROOT / "labs/12-collector/check.py")

COUNTERS = {
    "rng": 'http_server_request_duration_seconds_count{job="rng",http_route="/<int:size>"}',
    "span-metrics": 'traces_span_metrics_calls_total{service_name="rng",span_name="GET /<int:size>"}',
    "otel-collector": "otelcol_processor_tail_sampling_global_count_traces_sampled_total",
}
# In a run, there are ten requests a second, then none, then the lab is down until the next one.
BUSY_SECONDS, REST_SECONDS, DOWN_SECONDS = 20, 20, 20
UP_SECONDS = BUSY_SECONDS + REST_SECONDS
RUN_SECONDS = UP_SECONDS + DOWN_SECONDS
REQUESTS = 10 * BUSY_SECONDS
# A job that is gone first: for how many seconds the others are there without it.
ALONE_SECONDS = 6
# When each job is scraped, after every full step, in the order of the counters.
OFFSETS = [(rng, spans, decided) for rng in (0.1, 1.9) for spans in (0.3, 1.7) for decided in (0.5, 1.5)]
CASES = [(offsets, gone_first) for offsets in OFFSETS for gone_first in (None, *COUNTERS)]


def samples(start, offsets, gone_first):
    """Yield the samples of a run as (series, Unix time, value)."""
    for (job, counter), offset in zip(COUNTERS.items(), offsets, strict=True):
        for step in range(UP_SECONDS // STEP_SECONDS):
            seconds = step * STEP_SECONDS + offset
            good = job != gone_first or seconds < UP_SECONDS - ALONE_SECONDS
            yield f'up{{job="{job}"}}', start + seconds, int(good)
            if good:
                yield counter, start + seconds, min(10 * seconds, REQUESTS)


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
    """What a check sees of each case, some of many runs in one Prometheus."""
    folder = tmp_path_factory.mktemp("histories")
    first = time() // STEP_SECONDS * STEP_SECONDS - len(CASES) * RUN_SECONDS
    starts = {case: first + i * RUN_SECONDS for i, case in enumerate(CASES)}
    lines = sorted(sample for case, start in starts.items() for sample in samples(start, *case))
    text = "".join(f"{series} {value} {moment:.3f}\n" for series, moment, value in lines)
    (folder / "history.txt").write_text(f"{text}# EOF\n")
    make = (require("promtool"), "tsdb", "create-blocks-from", "openmetrics")
    made = subprocess.run(
        [*make, folder / "history.txt", folder / "tsdb"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    (port,) = free_ports(1)
    with prometheus_process(folder, port, jobs={}) as url:
        yield {
            case: Live(Prometheus(url), Jaeger(url), lambda name: [], since=start, now=start + RUN_SECONDS)
            for case, start in starts.items()
        }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_run_is_whole_whoever_was_scraped_last(histories, case):
    """The last scrape of one job, when the others are gone, does not undo what those have said."""
    (run,) = lab_12.runs(histories[case])
    assert run.complete
    assert (run.requests, run.spans, run.decided) == (REQUESTS, REQUESTS, REQUESTS)
