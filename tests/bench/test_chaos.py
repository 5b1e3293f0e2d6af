"""`make chaos`: its order of events, its checks, and a short one for real."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter

import psutil
import pytest

from bench import chaos
from bench.chaos import Books
from tests.support import IN_CI, poll_until
from workshop.lab import ROOT

PROGRAMS = (
    *("redis", "jaeger", "otel-collector", "rng", "hasher", "webui", "prometheus", "console"),
    *("worker-1", "worker-2", "worker-3"),
)
EVENTS = chaos.events(PROGRAMS, small_disk=True)


def test_forty_rounds_are_every_event_once():
    order = chaos.shuffled(EVENTS, chaos.ROUNDS, seed=1)
    assert len(EVENTS) == chaos.ROUNDS
    assert Counter(map(str, order)) == Counter(map(str, EVENTS))
    for kind in ("killed", "stopped for 5 s", "paused for 10 s", "restarted"):
        concerned = {event.what for event in order if event.kind == kind}
        assert concerned == {
            "redis", "jaeger", "otel-collector", "rng", "hasher", "webui", "prometheus", "worker",
        }  # fmt: skip


def test_the_seed_decides_the_order():
    assert chaos.shuffled(EVENTS, 100, seed=1) == chaos.shuffled(EVENTS, 100, seed=1)
    assert chaos.shuffled(EVENTS, 100, seed=1) != chaos.shuffled(EVENTS, 100, seed=2)


def test_what_is_not_there_is_not_touched():
    embedded = chaos.events([name for name in PROGRAMS if name != "otel-collector"], small_disk=False)
    assert not [event for event in embedded if event.what == "otel-collector"]
    assert {event.what for event in embedded if event.act in (chaos.answering_503, chaos.hanging)} == {
        "jaeger"
    }
    assert not [event for event in embedded if event.act is chaos.full_disk]


def test_a_short_chaos_has_one_event_of_each_of_its_kinds():
    order = chaos.one_of_each(chaos.SHORT_KINDS, chaos.shuffled(EVENTS, len(EVENTS), seed=1))
    assert sorted(event.kind for event in order) == sorted(chaos.SHORT_KINDS)


def test_only_its_own_programs_may_end_in_a_round():
    (event,) = (event for event in EVENTS if str(event) == "worker: killed")
    assert [name for name in PROGRAMS if event.concerns(name)] == ["worker-1", "worker-2", "worker-3"]
    (event,) = (event for event in EVENTS if str(event) == "rng-slow: slow for 10 s")
    assert not any(map(event.concerns, PROGRAMS))


def trace(*calls):
    """Return a trace of these spans, each a service and the place of its parent."""
    services = [service for service, _ in calls]
    return {
        "processes": {service: {"serviceName": service} for service in services},
        "spans": [
            {
                "spanID": str(number),
                "processID": service,
                "references": [] if parent is None else [{"spanID": str(parent)}],
            }
            for number, (service, parent) in enumerate(calls)
        ],
    }


def test_a_complete_trace_has_both_calls():
    loop, get, post = ("worker", None), ("worker", 0), ("worker", 0)
    assert chaos.is_complete(trace(loop, get, ("rng", 1), post, ("hasher", 3)))
    assert not chaos.is_complete(trace(loop, get, ("rng", 1), post))
    assert not chaos.is_complete(trace(loop, get, ("rng", 7), post, ("hasher", 3)))  # that parent got lost


WELL = {"speed": 4.0, "count": 4.1, "traces": 4.2, "processes": 5.0, "besides": None}


@pytest.mark.parametrize(
    ("rows", "books", "missed"),
    [
        ([WELL], Books(hashes=30, told=[10, 20], killed=[], unknown=0), []),
        ([WELL], Books(hashes=29, told=[10, 20], killed=[], unknown=0), ["loops that Redis lacks"]),
        ([WELL], Books(hashes=31, told=[10, 20], killed=[], unknown=0), ["loops that Redis lacks"]),
        ([WELL], Books(hashes=30, told=[10], killed=[20], unknown=0), ["workers whose end is unknown"]),
        ([WELL | {"speed": 15.1}], Books(10, [10], [], 0), ["speed back at 90 %"]),
        ([WELL | {"besides": "webui"}], Books(10, [10], [], 0), ["rounds in which something ended"]),
        ([{"speed": 4.0, "besides": None}], Books(10, [10], [], 0), ["rounds after which all is well"]),
        ([{"besides": None}], Books(10, [10], [], 0), ["rounds after which", "speed back at 90 %"]),
    ],
)
def test_what_a_goal_is_missed_for(rows, books, missed):
    goals = chaos.goals(rows, 1, books, known=[])
    found = [goal.text for goal in goals if not goal.met]
    assert len(found) == len(missed)
    assert all(text.startswith(start) for text, start in zip(found, missed, strict=True)), found


def test_loops_that_a_killed_worker_knew_in_redis_are_there():
    lost = chaos.goals([WELL], 1, Books(hashes=18, told=[], killed=[18], unknown=0), known=[20])
    assert [goal.text for goal in lost if not goal.met] == ["loops lost that a killed worker knew in Redis"]


def test_wrong_use():
    command = [sys.executable, "-m", "bench.chaos", "--rounds", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--rounds 0: 1 or more is accepted" in done.stderr


def test_a_short_chaos(tmp_path):
    command = [sys.executable, "-m", "bench.chaos", "--short", "--seed", "1", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "chaos.json").read_text())
    skipped = "skipped: a full disk" in done.stderr
    assert not (skipped and IN_CI)
    assert len(report["rows"]) == len(chaos.SHORT_KINDS) - skipped
    assert all(row["event"] in done.stderr for row in report["rows"])


def left_in(folder):
    """Return the processes of labs in a folder, and what is mounted there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DOCKERCOINS_LAB", "").startswith(str(folder)):
                found.append(process)
        except psutil.Error:
            pass
    mounts = psutil.disk_partitions(all=True)
    return found + [mount for mount in mounts if mount.mountpoint.startswith(str(folder))]


def test_ctrl_c(tmp_path):
    command = [sys.executable, "-m", "bench.chaos", "--short", "--results", str(tmp_path)]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as trial:
        try:
            poll_until("some processes", lambda: len(left_in(tmp_path)) > 3)
            trial.send_signal(signal.SIGINT)
            _, errors = trial.communicate(timeout=60)
        finally:
            trial.kill()
    assert trial.returncode == 1
    assert errors.splitlines()[-1] == "interrupted; the lab is stopped"
    assert left_in(tmp_path) == []
