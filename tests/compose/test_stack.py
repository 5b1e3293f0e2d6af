"""One project, as `docker compose up` starts it: health, names, telemetry, memory."""

import json
import re
import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from time import time

import pytest
import requests

from tests.compose.conftest import MEMORY_GOAL, SERVICES, healthy_after, limits, measured
from tests.support import addresses, free_ports, is_whole, parents, poll_until, process
from workshop.clients import services_of
from workshop.lab import BASE_PORTS, TRACE_BACKEND_PORTS
from workshop.native.ports import listens

pytestmark = pytest.mark.timeout(900)

NATIVE_PORTS = BASE_PORTS | TRACE_BACKEND_PORTS
APPLICATION = ("redis", "rng", "hasher", "worker", "webui")


def test_it_is_healthy_within_a_minute(green):
    assert healthy_after[green.project] <= 60
    for service in APPLICATION:
        state = green.inspect(service)["State"]
        assert state["Health"]["Status"] == "healthy"
        assert state["ExitCode"] == 0


def test_it_mines_as_fast_as_one_worker_can(green):
    assert 3.0 <= green.speed(15) <= 3.4


def test_the_pages_answer_on_the_ports_of_the_settings(green):
    assert "RNG running on" in requests.get(green.url("RNG"), timeout=5).text
    assert "HASHER running on" in requests.get(green.url("HASHER"), timeout=5).text
    assert requests.get(f"{green.url('WEBUI')}/", timeout=5).ok
    counters = requests.get(f"{green.url('WEBUI')}/json", timeout=5).json()
    assert 0 < counters["hashes"] <= green.hashes()


def test_every_name_is_resolved_by_the_dns_of_compose(green):
    code = "import socket, sys; print(socket.gethostbyname('{}'))"
    for service in green.services:
        assert green.python("worker", code.format(service)) == green.address(service)
    assert "127.0.0.11" in green.python("worker", "print(open('/etc/resolv.conf').read())")
    hosts = green.python("worker", "print(open('/etc/hosts').read())")
    assert not [service for service in green.services if re.search(rf"\s{service}(\s|$)", hosts)]


def test_no_container_is_given_an_address(green):
    for service in green.services:
        inspected = green.inspect(service)
        given = [*inspected["Config"]["Env"], *(inspected["Config"]["Cmd"] or [])]
        assert not [text for text in given if addresses(text)]
        (network,) = inspected["NetworkSettings"]["Networks"].values()
        assert not (network["IPAMConfig"] or {}).get("IPv4Address")


def test_an_address_is_seen_wherever_it_stands():
    for text in ("10.0.0.5", "http://10.0.0.5:8080", "REDIS_URL=redis://10.0.0.5:6379/0", "--to=10.0.0.5,"):
        assert addresses(text) == {"10.0.0.5"}
    assert not addresses("redis:8.2-alpine http://rng:80 v1.2.3")


def test_a_trace_goes_from_worker_to_rng_and_hasher(green):
    def complete():
        traces = green.jaeger.traces("worker", limit=20)
        return [
            trace for trace in traces if is_whole(trace) and services_of(trace) >= {"worker", "rng", "hasher"}
        ]

    trace = poll_until("a complete trace", complete)[0]
    callers = parents(trace)
    assert callers[("worker", "loop")] == []
    assert callers[("rng", "GET /<int:size>")] == [("worker", "GET")]
    assert callers[("hasher", "POST /")] == [("worker", "POST")]
    namespaces = {
        tag["value"]
        for process in trace["processes"].values()
        for tag in process["tags"]
        if tag["key"] == "service.namespace"
    }
    assert namespaces == {green.project}


def test_the_traces_go_through_the_collector(green):
    """The services know no other way, and the collector counts what it passes on."""
    for service in ("rng", "hasher", "worker", "webui"):
        environment = green.inspect(service)["Config"]["Env"]
        assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://otel-collector:4318" in environment
    passed_on = 'sum(otelcol_exporter_sent_spans_total{exporter="otlp_grpc/jaeger"})'
    taken = "sum(otelcol_receiver_accepted_spans_total)"
    assert poll_until("spans passed on", lambda: green.prometheus.scalar(passed_on)) > 0
    assert green.prometheus.scalar(taken) > 0


def test_every_target_is_up(green):
    jobs = {"rng", "hasher", "worker", "webui", "otel-collector", "span-metrics", "jaeger", "prometheus"}
    targets = poll_until(
        "every target",
        lambda: (
            {target["labels"]["job"] for target in green.prometheus.targets() if target["health"] == "up"}
            >= jobs
        ),
    )
    assert targets
    assert {target["health"] for target in green.prometheus.targets()} == {"up"}


@pytest.mark.parametrize("service", ["worker", "rng", "hasher"])
def test_the_collector_makes_metrics_of_spans(green, service):
    calls = f'sum(rate(traces_span_metrics_calls_total{{service_name="{service}"}}[30s]))'
    assert poll_until("span metrics", lambda: green.prometheus.scalar(calls), 40) > 1


@pytest.mark.parametrize(
    "metric",
    ['http_server_request_duration_seconds_bucket{job="rng"}', "traces_span_metrics_duration_seconds_bucket"],
)
def test_an_exemplar_opens_a_trace_that_exists(green, metric):
    def newest():
        series = green.prometheus.exemplars(metric, time() - 30, time())
        exemplars = [exemplar for one in series for exemplar in one["exemplars"]]
        return max(exemplars, key=lambda exemplar: exemplar["timestamp"], default=None)

    trace_id = poll_until("exemplars", newest, 40)["labels"]["trace_id"]
    poll_until("the exemplar's trace", lambda: green.jaeger.trace(trace_id))


def test_one_worker_leaves_room_for_nine_more(green):
    """All of it in 2 GiB with ten workers: what is left when nine more use all that they may."""
    memory = green.memory()
    assert memory.keys() == {f"{service}-1" for service in green.services}
    for name, (_, limit) in memory.items():
        assert f"{limit / 2**20:.0f}m" == SERVICES[name.removesuffix("-1")]["mem_limit"]
    total = sum(used for used, _ in memory.values())
    each = ", ".join(f"{name} {used / 2**20:.0f}" for name, (used, _) in sorted(memory.items()))
    measured.append(f"memory with one worker: {total / 2**20:.0f} MiB ({each})")
    assert total <= MEMORY_GOAL - 9 * limits("worker") - limits(*SERVICES.keys() - green.services)


def test_anybody_may_look_at_grafana_and_nobody_can_log_in(green):
    """Its settings, as Compose resolves them; and itself, where there is an image of it."""
    configuration = green.compose("--file", "compose.yaml", "config", "--format", "json")
    services = json.loads(configuration)["services"]
    environment = services["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not [name for name in environment if "PASSWORD" in name]
    if "grafana" in green.services:
        api = f"{green.url('GRAFANA')}/api"
        assert requests.get(f"{api}/search", timeout=5).ok
        assert requests.post(f"{api}/folders", json={"title": "mine"}, timeout=5).status_code == 403
        assert not requests.get(f"{api}/admin/settings", auth=("admin", "admin"), timeout=5).ok


def test_status_tells_the_same_as_without_docker(green):
    def targets():
        status = json.loads(green.workshop("status", "--json"))
        return status["targets"], status["targets_up"]

    # Prometheus finds them by name, and asks every few seconds.
    poll_until("all targets", lambda: targets() == (8, 8), 40)
    status = json.loads(green.workshop("status", "--json"))
    assert status["project"] == green.project
    running = [program for program in status["programs"] if program["name"] == "running"]
    assert {program["program"] for program in running} == {
        f"{service}-1" if service == "worker" else service for service in green.services
    }
    absent = {program["program"] for program in status["programs"] if program["name"] == "absent"}
    assert absent == SERVICES.keys() - green.services
    assert len(running) + len(absent) == len(status["programs"])
    for program in running:
        assert program.keys() == {"program", "name", "pid", "seconds", "memory_bytes"}
        assert program["seconds"] > 0
        assert program["memory_bytes"] > 2**20
    assert poll_until("a speed", lambda: json.loads(green.workshop("status", "--json"))["speed"], 40) > 2.5


def test_status_tells_what_does_not_run(green):
    green.compose("stop", "webui")
    try:
        printed = green.workshop("status", code=1)
        assert re.search(r"^webui +exited", printed, re.MULTILINE)
        assert re.search(r"^rng +running", printed, re.MULTILINE)
    finally:
        green.compose("start", "webui")
    poll_until("webui healthy", green.healthy, 30)


@pytest.mark.parametrize("service", ["rng", "webui"])
def test_status_tells_what_was_removed(green, service):
    """Another container of the service, which `docker compose run` made, does not stand in for it."""
    green.compose("rm", "--stop", "--force", service)
    green.compose("run", "--detach", "--no-deps", "--name", f"{green.project}-extra", service)
    try:
        printed = green.workshop("status", code=1)
        assert re.search(rf"^{service} +missing", printed, re.MULTILINE)
    finally:
        green.engine.docker("rm", "--force", f"{green.project}-extra")
        green.up()
    poll_until("all healthy", green.healthy, 30)
    assert green.workshop("status")


def port_findings(stack, code=0, **settings):
    """Return what `workshop doctor` says of ports."""
    findings = json.loads(stack.workshop("doctor", "--json", code=code, **settings))
    assert next(finding for finding in findings if finding["name"] == "Docker")["good"]
    return [finding for finding in findings if finding["name"] == "ports"]


@contextmanager
def occupied(port):
    """Let somebody else have a port."""
    with socket.create_server(("127.0.0.1", port)):
        yield


def test_doctor_knows_that_the_lab_holds_its_ports(green):
    (finding,) = port_findings(green)
    assert finding["good"]
    assert "held by the lab" in finding["text"]


def test_doctor_names_a_port_that_somebody_else_took_from_a_running_lab(green):
    green.compose("stop", "webui")
    try:
        with occupied(green.ports["WEBUI"]):
            (finding,) = port_findings(green, code=1)
            assert finding["text"].startswith(f"{green.ports['WEBUI']} is taken by ")
    finally:
        green.compose("start", "webui")
    poll_until("webui healthy", green.healthy, 30)


@pytest.mark.parametrize(
    ("name", "needed", "code"),
    [("WEBUI", "", 1), ("GRAFANA", "with Docker only", 0), ("REDIS", "without", 0)],
)
def test_doctor_names_a_port_before_the_lab_starts(make_stack, name, needed, code, tmp_path):
    stack = make_stack("dockercoins-test-doctor")
    others = [name for name in NATIVE_PORTS if name.removesuffix("_PORT") not in stack.ports]
    more = {name: str(port) for name, port in zip(others, free_ports(len(others)), strict=True)}
    port = int((stack.environment | more)[f"{name}_PORT"])
    with occupied(port):
        (finding,) = port_findings(stack, code, WORKSHOP_STATE=str(tmp_path), **more)
    assert finding["required"] is bool(code)
    assert finding["text"].startswith(f"{port} is taken by ")
    assert needed in finding["text"]


def test_the_console_shows_the_lab_in_docker(green, tmp_path):
    (port,) = free_ports(1)
    command = (str(Path(sys.executable).with_name("workshop")), "console")
    settings = {**green.environment, "CONSOLE_PORT": str(port)}
    with process(*command, env=settings, log=tmp_path / "console.log"):
        poll_until("the console", lambda: listens(port))
        console = f"http://127.0.0.1:{port}"

        def panels():
            answer = requests.get(f"{console}/dashboards/dockercoins-speed/data", timeout=10)
            answer.raise_for_status()
            return answer.json()["panels"]

        poll_until("the speed", lambda: any(panels()["2"]["series"][0]["values"]))
        trace = green.jaeger.traces("worker", limit=1)[0]["traceID"]
        assert trace[:7] in requests.get(f"{console}/traces/?service=worker&limit=1000", timeout=10).text
        assert "worker" in requests.get(f"{console}/traces/{trace}", timeout=10).text
        assert "TargetDown" in requests.get(f"{console}/alerts/", timeout=10).text
