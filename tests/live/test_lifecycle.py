"""Starting and ending the lab, and what may be in the way."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from time import monotonic

import pytest

from tests.live.conftest import WORKSHOP, running
from tests.support import free_ports, poll_until
from workshop.clients import services_of


def test_up_tells_each_start_time_and_ends_with_the_urls(make_lab):
    lab = make_lab()
    printed = lab.run("up")
    try:
        for program in ("redis", "rng", "hasher", "webui", "worker-1", "prometheus", "jaeger"):
            assert re.search(rf"^{program} +ready after +\d+\.\d s", printed, re.MULTILINE), program
        assert re.search(r"^data ready in \d+\.\d s$", printed, re.MULTILINE)
        assert lab.url("WEBUI_PORT") in printed.partition("data ready")[2]
        assert lab.prometheus.scalar("sum(rate(dockercoins_hashes_total[10s]))") > 0
        assert {target["health"] for target in lab.prometheus.targets()} == {"up"}
        assert has_a_complete_trace(lab)
        assert "already up" in lab.run("up")
    finally:
        assert "is stopped" in lab.run("down")
    assert lab.processes() == []
    assert "was not running" in lab.run("down")


def has_a_complete_trace(lab):
    return any(
        {"worker", "rng", "hasher"} <= services_of(trace) for trace in lab.jaeger.traces("worker", limit=5)
    )


def test_up_waits_for_a_complete_trace(make_lab):
    """All else is there; the spans go where nobody listens."""
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}/v1/traces"
    lab = make_lab(settings={"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": nowhere})
    impatient = "from workshop.native import runner; runner.DATA_TIMEOUT_SECONDS = 15"
    command = [sys.executable, "-c", f"{impatient}; from workshop.cli import main; main()", "up"]
    done = subprocess.run(command, env={**os.environ, **lab.settings}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no data after 15 s: a complete trace worker → rng → hasher is missing" in done.stderr
    assert lab.processes() == []


def test_the_second_start_takes_ten_seconds_at_most(make_lab):
    lab = make_lab()
    with running(lab):
        pass
    started = monotonic()
    with running(lab):
        assert monotonic() - started <= 10


def test_what_ran_before_a_restart_does_not_pass_for_present(make_lab):
    lab = make_lab()
    with running(lab, "--workers", "3"):
        poll_until("three workers", lambda: lab.prometheus.scalar('count(up{job="worker"})') == 3)
    with running(lab):
        # Ten seconds are what Prometheus may look back.
        poll_until("one worker", lambda: lab.prometheus.scalar('count(up{job="worker"})') == 1, 10)


def test_redis_keeps_its_data_until_the_volumes_go(make_lab):
    lab = make_lab()
    with running(lab):
        before = poll_until("hashes", lab.hashes)
        # A snapshot in Redis' own format could not be read by an older Redis or by another one.
        assert not list(lab.folder.rglob("*.rdb"))
    with running(lab):
        assert lab.hashes() >= before
        grown = lab.hashes()
    lab.run("down", "--volumes")
    assert not (lab.folder / lab.project).exists()
    with running(lab):
        assert lab.hashes() < grown


def test_a_port_in_use(make_lab):
    lab = make_lab()
    with socket.create_server(("127.0.0.1", lab.ports["HASHER_PORT"])):
        printed = lab.run("up", code=1)
    assert printed.count("\n") == 1
    assert f"port {lab.ports['HASHER_PORT']} is taken by " in printed
    assert f"(pid {os.getpid()})" in printed
    assert "set HASHER_PORT=" in printed
    assert lab.processes() == []


def test_a_program_that_does_not_start_is_shown_and_nothing_stays(make_lab):
    lab = make_lab(settings={"RNG_DELAY": "soon"})
    printed = lab.run("up", code=1)
    assert "RNG_DELAY='soon' is not usable: a number of seconds from 0 to 60 is accepted" in printed
    assert lab.processes() == []


def test_ctrl_c_leaves_nothing(make_lab):
    lab = make_lab()
    up = subprocess.Popen(
        [WORKSHOP, "up"], env={**os.environ, **lab.settings}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        poll_until("the first processes", lab.processes)
        up.send_signal(signal.SIGINT)
        _, errors = up.communicate(timeout=30)
        assert up.returncode == 1
        assert b"Traceback" not in errors
        assert lab.processes() == []
    finally:
        lab.run("down")


def test_what_a_crash_leaves_is_recognised(make_lab):
    lab = make_lab()
    lab.run("up")
    supervisord = next(process for process in lab.processes() if "supervisord" in " ".join(process.cmdline()))
    supervisord.kill()
    orphans = [process.pid for process in lab.processes() if process.pid != supervisord.pid]
    assert orphans
    assert "not running" in lab.run("status", code=1)
    with running(lab):
        assert not set(orphans) & {process.pid for process in lab.processes()}


def test_a_pid_file_of_another_boot_is_no_hindrance(make_lab):
    lab = make_lab()
    state = lab.folder / lab.project
    state.mkdir(parents=True)
    (state / "supervisord.pid").write_text(str(os.getpid()))
    (state / "lab.json").write_text("{damaged")
    with running(lab):
        assert lab.status()["programs"]


def test_two_labs_side_by_side(make_lab):
    blue = make_lab(project="blue")
    green = make_lab(project="green")
    # Green gets blue's ports and an offset: nothing but the two options tells them apart.
    offset = max(blue.ports.values()) - min(blue.ports.values()) + 20
    green.settings = {**blue.settings}
    green.ports = {name: port + offset for name, port in blue.ports.items()}
    chosen = ("--project", "green", "--port-offset", str(offset))
    with running(blue):
        green.run("up", *chosen)
        try:
            status = json.loads(green.run("status", "--project", "green", "--json"))
            assert status["project"] == "green"
            before = green.hashes()
            blue.run("stop", "worker")
            still = blue.hashes()  # its workers have flushed and ended
            poll_until("green's own hashes", lambda: green.hashes() > before + 5)
            assert blue.hashes() == still
            for lab, name in ((blue, "blue"), (green, "green")):
                prometheus = type(lab.prometheus)(lab.url("PROMETHEUS_PORT"))
                namespaces = prometheus.query("count by (service_namespace) (target_info)")
                assert [sample.labels["service_namespace"] for sample in namespaces] == [name]
                trace = type(lab.jaeger)(lab.url("JAEGER_PORT")).traces("rng", limit=1)[0]
                tags = next(iter(trace["processes"].values()))["tags"]
                assert {"key": "service.namespace", "type": "string", "value": name} in tags
        finally:
            green.run("down", "--project", "green")
        assert green.processes() == []
        assert blue.processes()


def test_a_lab_without_telemetry(make_lab):
    lab = make_lab(settings={"TELEMETRY": "off"})
    printed = lab.run("up")
    try:
        # A worker has no metrics port then to tell by: one that was not yet started must not pass for ready.
        ready = re.findall(r"^(\S+) +ready after", printed, re.MULTILINE)
        assert ready.index("worker-1") > max(ready.index("rng"), ready.index("hasher"))
        before = lab.hashes()
        poll_until("hashes", lambda: lab.hashes() > before)
        assert lab.jaeger.services() == []
        down = {target["labels"]["job"] for target in lab.prometheus.targets() if target["health"] != "up"}
        assert down == {"rng", "hasher", "worker", "webui"}
        # Later commands know it without being told again.
        lab.run("scale", "worker=2", TELEMETRY="")
        assert lab.jaeger.services() == []
    finally:
        lab.run("down")
    assert lab.processes() == []


def test_a_lab_without_traces(make_lab):
    lab = make_lab(settings={"OTEL_TRACES_SAMPLER": "always_off"})
    with running(lab):
        loops = "sum(rate(dockercoins_worker_loops_total[10s]))"
        poll_until("loops", lambda: (lab.prometheus.scalar(loops) or 0) > 0)
        assert lab.jaeger.services() == []


def test_with_the_real_collector_and_jaeger(make_lab, real_trace_backend):
    lab = make_lab(settings={"TRACE_BACKEND": "jaeger"})
    started = monotonic()
    with running(lab):
        assert monotonic() - started <= 10
        assert has_a_complete_trace(lab)
        assert lab.pid("otel-collector")
        jobs = {target["labels"]["job"] for target in lab.prometheus.targets()}
        assert {"otel-collector", "span-metrics", "jaeger"} <= jobs
        calls = 'sum(traces_span_metrics_calls_total{service_name="rng"})'
        poll_until("span metrics", lambda: lab.prometheus.scalar(calls))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("up", "--workers", "51"), "51 is not in the range 1<=x<=50"),
        (("scale", "rng=3"), "'rng=3' is not usable: worker=0 to worker=50 is accepted"),
        (("scale", "worker=many"), "worker=0 to worker=50 is accepted"),
        (("stop", "mongodb"), "'mongodb' is no service: rng, hasher, worker"),
        (("up", "--project", "Green Lab"), "the project name 'Green Lab' is not usable"),
        (("status", "--port-offset", "99999"), "at most 65535 is accepted"),
        (("completion", "tcsh"), "'tcsh' is not one of"),
    ],
)
def test_wrong_use(make_lab, arguments, message):
    assert message in make_lab().run(*arguments, code=2)


def test_too_few_ports_for_so_many_workers(make_lab):
    lab = make_lab(settings={"WORKER_METRICS_PORT": "65530"})
    printed = lab.run("up", "--workers", "10", code=2)
    assert printed.count("\n") == 1
    assert "WORKER_METRICS_PORT is 65530: that leaves ports up to 65535 for 6 workers" in printed
    assert lab.processes() == []


@pytest.mark.parametrize("arguments", [("status",), ("scale", "worker=2"), ("stop", "rng")])
def test_commands_that_want_a_running_lab(make_lab, arguments):
    assert "the lab 'test' is not running: `workshop up` starts it" in make_lab().run(*arguments, code=1)


def test_every_command_has_a_help_text():
    help_text = subprocess.run([WORKSHOP, "--help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^  ([a-z]+)  +\S", help_text.partition("Commands:")[2], re.MULTILINE)
    assert len(commands) >= 14
    for command in commands:
        done = subprocess.run([WORKSHOP, command, "-h"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"Usage: workshop {command}")
