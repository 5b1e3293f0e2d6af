"""Commands that change a running lab."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from time import time

import psutil
import pytest

from tests.live.conftest import WORKSHOP
from tests.support import poll_until
from workshop import lab as labs
from workshop.grading.history import STEP_SECONDS, WORKERS, periods
from workshop.grading.live import Live
from workshop.native import supervision


def state(lab, program):
    return next(p["name"] for p in lab.status()["programs"] if p["program"] == program)


def socket_of(lab):
    """Return where supervisor listens."""
    chosen = dataclasses.replace(labs.load(lab.project), state=lab.folder / lab.project)
    return supervision.socket_path(chosen)


def test_status_as_a_table_and_as_json(lab):
    table = lab.run("status")
    status = lab.status()
    assert status["project"] == "test"
    assert {p["program"] for p in status["programs"]} == {
        "redis", "rng", "hasher", "webui", "worker-1", "prometheus", "jaeger", "console",
    }  # fmt: skip
    assert all(p["name"] == "running" and p["memory_bytes"] > 1e6 for p in status["programs"])
    assert status["targets_up"] == status["targets"] == 6
    assert status["speed"] > 0
    assert all(p["program"] in table for p in status["programs"])
    assert "\x1b" not in table  # no colours where there is no terminal


def test_stop_and_start(lab):
    lab.run("stop", "rng")
    assert state(lab, "rng") == "stopped"
    assert "1 of" not in lab.run("status", code=1)
    lab.run("stop", "rng")  # nothing to do is no error
    lab.run("start", "rng")
    poll_until("rng", lambda: state(lab, "rng") == "running")
    lab.run("start", "rng")


def test_restart_gives_a_new_process(lab):
    before = lab.pid("hasher")
    lab.run("restart", "hasher")
    assert lab.pid("hasher") not in (before, None)


def test_a_killed_program_is_started_again(lab):
    before = lab.pid("webui")
    lab.run("kill", "webui")
    poll_until("a new webui", lambda: state(lab, "webui") == "running" and lab.pid("webui") != before)


def test_pause_and_resume(lab):
    lab.run("pause", "rng")
    assert state(lab, "rng") == "paused"
    assert psutil.Process(lab.pid("rng")).status() == psutil.STATUS_STOPPED
    assert "rng is paused, not running" in lab.run("pause", "rng", code=1)
    lab.run("resume", "rng")
    assert state(lab, "rng") == "running"
    assert "rng is running, not paused" in lab.run("resume", "rng", code=1)


def test_a_paused_program_can_be_stopped(lab):
    lab.run("pause", "hasher")
    lab.run("stop", "hasher")
    assert state(lab, "hasher") == "stopped"
    lab.run("start", "hasher")
    poll_until("hasher", lambda: state(lab, "hasher") == "running")


def test_a_program_that_is_not_there(lab):
    assert "otel-collector is not part of the lab" in lab.run("stop", "otel-collector", code=1)
    assert "worker-9 is not part of the lab" in lab.run("kill", "worker-9", code=1)


def test_scaled_workers_come_and_go_in_prometheus(lab):
    def targets():
        return sum(target["health"] == "up" for target in lab.prometheus.targets("worker"))

    first = lab.pid("worker-1")
    lab.run("scale", "worker=4")
    poll_until("four worker targets", lambda: targets() == 4)
    lab.run("kill", "worker-3")
    lab.run("scale", "worker=1")
    poll_until("one worker target", lambda: targets() == 1)
    assert lab.pid("worker-1") == first, "the worker that stays is not restarted"
    lab.run("scale", "worker=0")
    lab.run("scale", "worker=1")


def test_scale_returns_when_prometheus_knows_the_workers(lab):
    """Also after changes in a row, of which Prometheus takes up the later ones with a delay."""
    for workers in (3, 1, 2, 1):
        lab.run("scale", f"worker={workers}")
        assert len(lab.prometheus.targets("worker")) == workers


def test_scale_does_not_need_prometheus(lab):
    lab.run("stop", "prometheus")
    try:
        assert "workers: 2" in lab.run("scale", "worker=2")
    finally:
        lab.run("start", "prometheus")
        lab.run("scale", "worker=1")


def test_the_history_of_an_exercise_begins_with_it(lab):
    """Also when it has just begun, between two steps, with another number of workers at the last of them."""
    lab.run("scale", "worker=2")
    poll_until("two workers", lambda: lab.prometheus.scalar(WORKERS) == 2)
    changed = time()
    lab.run("scale", "worker=1")
    poll_until("one worker", lambda: lab.prometheus.scalar(WORKERS) == 1)
    (workers,) = lab.prometheus.query_range(WORKERS, changed, time(), 0.1)
    since = max(moment for moment, number in workers.values.items() if number == 2) + 0.1
    live = Live(lab.prometheus, lab.jaeger, lambda name: [], since)
    poll_until("two steps", lambda: time() > since + 2 * STEP_SECONDS)
    for tenths in range(20 * STEP_SECONDS):
        history = periods(dataclasses.replace(live, now=since + tenths / 10))
        assert [period.workers for period in history] == [1]
        assert since <= history[0].start < since + STEP_SECONDS


def test_a_worker_with_another_configuration_is_restarted(lab):
    state_folder = lab.folder / lab.project
    workers, socket = state_folder / supervision.WORKERS_FILE, socket_of(lab)
    # As another version of the lab would have written it.
    workers.write_text(workers.read_text().replace("logfile_maxbytes=5MB", "logfile_maxbytes=4MB"))
    supervisorctl = [sys.executable, "-m", "supervisor.supervisorctl", "-s", f"unix://{socket}"]
    subprocess.run([*supervisorctl, "update"], check=True)
    subprocess.run([*supervisorctl, "start", "worker-1"], check=True)
    before = lab.pid("worker-1")
    lab.run("scale", "worker=2")
    try:
        for name in ("worker-1", "worker-2"):
            poll_until(f"{name} running", lambda name=name: state(lab, name) == "running")
        assert lab.pid("worker-1") != before
    finally:
        lab.run("scale", "worker=1")


def test_logs_are_json_lines_with_trace_ids(lab):
    poll_until("a flush in the log", lambda: "units of work done" in lab.run("logs", "worker"))
    lines = [line.partition(" {") for line in lab.run("logs", "worker", "-n", "200").splitlines()]
    records = [json.loads("{" + rest) for _, brace, rest in lines if brace]
    flush = next(record for record in records if "units of work done" in record["body"])
    assert flush["service.name"] == "worker"
    assert flush["service.namespace"] == "test"
    assert flush["severity"] == "INFO"
    poll_until("the trace of the log line", lambda: lab.jaeger.trace(flush["trace_id"]))


def test_logs_of_all_services_and_of_none(lab):
    names = {line.split()[0] for line in lab.run("logs", "-n", "1").splitlines()}
    assert {"redis", "worker-1", "prometheus"} <= names
    assert lab.run("logs", "-n", "0") == ""
    assert "no logs of otel-collector" in lab.run("logs", "otel-collector", code=1)


def test_following_the_logs(lab):
    command = [WORKSHOP, "logs", "worker", "--follow", "-n", "0"]
    env = {**os.environ, **lab.settings}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as follow:
        try:
            assert follow.stdout.readline().startswith("worker-1 ")
            follow.send_signal(signal.SIGINT)
            assert follow.wait(10) == 0
        finally:
            follow.kill()


@pytest.mark.parametrize("as_json", [False, True])
def test_doctor(lab, as_json):
    printed = lab.run("doctor", *(["--json"] if as_json else []))
    if as_json:
        findings = {finding["name"]: finding for finding in json.loads(printed)}
        assert findings["Python"]["good"]
        assert findings["ports"]["text"] == "held by the lab, which is running"
    else:
        assert "good  Python" in printed
