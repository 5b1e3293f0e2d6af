"""The benchmarks: how their numbers come about, a short run of each, and the page that is made of them."""

import re
import subprocess
import sys

import pytest

from bench import exports, report, workers
from bench.__main__ import NAMES
from bench.running import trace_backends
from docs import generate
from workshop.lab import ROOT

COMMAND = (sys.executable, "-m", "bench")


def bench(*arguments):
    return subprocess.run([*COMMAND, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The reports of short runs, by name; side by side where no time is judged."""
    folder = tmp_path_factory.mktemp("results")
    for together in ([["workers"]], [["spans", "searches"], ["start"], ["parts", "steps", "faults"]]):
        runs = [
            subprocess.Popen(
                [*COMMAND, *names, "--short", "--results", str(folder)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for names in together
        ]
        for run in runs:
            output, _ = run.communicate()
            assert run.returncode in (0, 1), output  # a goal may need a quiet machine
    assert {file.stem for file in folder.glob("*.json")} == {file.stem for file in folder.glob("*.svg")}
    return {file.stem: report.load(file) for file in folder.glob("*.json")}


def missed(found):
    return [report.goal_text(goal) for goal in found.goals if not goal.met]


# ---- how the numbers come about


class TwoWorkers:
    """Workers that each make a loop in 0.31 s and count four at once, the second 0.4 s after the first."""

    def __init__(self):
        self.now = 100.0

    def count(self):
        return sum(4 * int((self.now - phase) / 1.24) for phase in (0, 0.4))

    def next_count(self):
        before = self.count()
        while self.count() == before:
            self.now += 0.002
        return self.now, self.count()

    def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize("seconds", [5, 12])
def test_the_speed_is_right_although_workers_count_in_steps(seconds, monkeypatch):
    running = TwoWorkers()
    monkeypatch.setattr(workers, "sleep", running.sleep)
    # The line is off by what lies between its ends and the mean: less than a step at each, over the time.
    assert workers.speed(running, seconds) == pytest.approx(2 / 0.31, rel=0.02)


@pytest.mark.parametrize(
    ("count", "threads", "speed"),
    [(1, 1, 3.2), (3, 1, 9.6), (4, 1, 10), (50, 1, 10), (10, 10, 32), (31, 10, 99.2), (50, 10, 100)],
)
def test_the_bounds_of_operational_analysis(count, threads, speed):
    assert workers.predicted(count, 1 / 3.2, threads, 0.1) == pytest.approx(speed)


def test_requests_have_the_spans_that_are_asked_for():
    requests = map(exports.ExportTraceServiceRequest.FromString, exports.requests_of(2000))
    sizes = [len(one.resource_spans[0].scope_spans[0].spans) for one in requests]
    assert sum(sizes) == 2000
    assert max(sizes) < exports.BATCH + 3  # a loop has up to three spans of a service


def test_a_report_is_saved_and_loaded(tmp_path):
    made = report.Report(
        name="one", title="One", how="By hand.",
        columns={"what": ("what", "{}"), "speed": ("speed", "{:.1f}")},
        rows=[{"what": "fast", "speed": 2.04}, {"what": "unknown"}],
        goals=[report.at_least("speed", 2.04, 2), report.at_most("speed", 2.04, 2)],
        notes=["So it is."],
    )  # fmt: skip
    made.save(tmp_path)
    assert report.load(tmp_path / "one.json") == made
    assert [goal.met for goal in made.goals] == [True, False]
    page = generate.measurements_page([(made, "What it is.\n\nExit codes: none.")])
    assert "| what | speed |\n| --- | --: |\n| fast | 2.0 |\n| unknown |  |\n\nSo it is.\n" in page
    assert "- met: speed: 2.04, wanted at least 2\n- missed: speed: 2.04, wanted at most 2\n" in page
    assert "What it is." in page
    assert "Exit codes" not in page


# ---- short runs


def test_the_speed_is_as_predicted(found):
    rows = found["workers"].rows
    assert [row["workers"] for row in rows] == [1, 3, 10]
    # In a window of T seconds, a count that goes up in steps of s leaves up to 1.5 s / T of the slope open:
    # with ten workers, a step of one loop and 4 s, that is 4 % of the speed. Whole runs take 12 s.
    assert all(abs(row["deviation_1"]) <= workers.DEVIATION_PERCENT + 4 for row in rows)
    assert rows[-1]["measured_10"] > 9 * rows[0]["measured_10"]


def test_no_span_is_lost_and_the_memory_is_bounded(found):
    spans, searches = found["spans"], found["searches"]
    assert len(spans.rows) == 1 + len(trace_backends())
    assert missed(spans) == []
    found_traces = {row["query"]: row["found"] for row in searches.rows}
    assert found_traces["service, limit 100"] == 100
    assert found_traces["service"] == found_traces["the oldest traces"] == 20
    assert found_traces["tag that no span has"] == found_traces["duration that none has"] == 0
    assert all(0 < row["p50"] <= row["p95"] for row in searches.rows)


def test_start_and_memory_of_each_part(found):
    result = found["start"]
    rows = {row["part"]: row for row in result.rows}
    together = rows.pop("all together")
    assert rows.keys() >= {"redis", "rng", "hasher", "webui", "worker", "prometheus", "jaeger", "supervisord"}
    for kind in ("rss_1", "rss_many"):
        assert together[kind] == pytest.approx(sum(row.get(kind, 0) for row in rows.values()))
    assert together["pss_1"] < together["rss_1"]
    assert rows["worker"]["rss_many"] > 5 * rows["worker"]["rss_1"]
    for kind in ("cold", "warm"):
        first, last = rows["redis"][kind], rows["the command `workshop up`"][kind]
        assert 0 < first < rows["worker"][kind] < rows["data ready"][kind] < last
    assert missed(result) == []


def test_each_part_is_taken_out(found):
    *parts, together = found["parts"].rows
    for kind in ("services", "others"):
        assert together[kind] == pytest.approx(sum(part[kind] for part in parts))
    export, *others = [part["others"] for part in parts]
    # Without spans the trace store does nothing but wait.
    assert export > 2 * max(map(abs, others))
    assert together["services"] > 0


def test_the_steps_add_up(found):
    *steps, together = found["steps"].rows
    assert all(step["all"] == step["times"] * step["each"] > 0 for step in steps)
    assert together["all"] == pytest.approx(sum(step["all"] for step in steps))


def test_the_cost_of_flags_is_that_of_questions_and_of_reading_the_file(found):
    speed, cpu = found["faults"].rows
    assert min(speed["error"], cpu["error"]) > 0
    (goal,) = found["faults"].goals
    reading = goal.value - (2 * speed["error"] - speed["share"])
    # Twice a second a file of some bytes is read: that takes well under 5 ms.
    assert 0 < reading < 1


# ---- the command line


def test_a_benchmark_that_there_is_not():
    done = bench("workers", "speed", "cost")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert (
        last == f"python -m bench: error: there is no benchmark cost, speed: {', '.join(NAMES)} is accepted"
    )


def test_an_option_that_there_is_not():
    done = bench("--fast")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "python -m bench: error: unrecognized arguments: --fast"


def test_results_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    done = bench("workers", "--results", tmp_path / "file")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last == f"python -m bench: error: --results {tmp_path}/file: File exists; a folder is accepted"


# ---- the page


def test_the_page_of_the_measurements_is_made_from_the_results():
    made = generate.measurements_page(generate.measurements(report.RESULTS))
    assert generate.MEASUREMENTS.read_text() == made, "run `make docs`"


def test_the_numbers_in_the_documents_are_those_of_the_results():
    readme, guide = ((ROOT / page).read_text() for page in ("README.md", "docs/instructors.md"))
    speeds = {row["workers"]: row["measured_1"] for row in report.load(report.RESULTS / "workers.json").rows}
    told = re.findall(r"^\| +(\d+) \| +[\d.]+/s \| +([\d.]+)/s \|$", readme, re.MULTILINE)
    assert told == [(str(count), f"{speeds[count]:.1f}") for count in (1, 2, 3, 5, 10)]
    start = report.load(report.RESULTS / "start.json").rows
    memory = [(row["rss_1"], row["rss_many"]) for row in start if row["part"] == "all together"]
    (one, ten), _ = memory
    assert f"{one:.0f} MB of memory with one worker and {ten:.0f} MB with ten" in readme
    told = re.findall(r"^\| with \D+\| +(\d+) \| +(\d+) \| +\d+ \|$", guide, re.MULTILINE)
    assert told == [(f"{one:.0f}", f"{ten:.0f}") for one, ten in memory]
