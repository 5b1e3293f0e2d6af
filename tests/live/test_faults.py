"""Every fault of the catalogue in a running lab: its signs are healthy, move when it is on, and come back.

Two labs work on the faults side by side, because most of the time goes into waiting for windows of 10 s.
"""

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import Queue
from time import monotonic, time

import pytest
import yaml

from tests.live.conftest import WORKSHOP, Lab, running
from tests.support import poll_until
from workshop.faults import catalogue, flags, signs
from workshop.lab import ROOT

LABS = 2
# Three workers keep rng busy: at ten loops a second chance moves the signs that count things least.
WORKERS = "3"
# Seconds. What an earlier fault leaves behind must be gone first: backoffs of 10 s, windows of 15 s.
HEALTHY_WITHIN = 60
BROKEN_WITHIN = 15
HEALED_WITHIN = 30

CONTRACT = yaml.safe_load((ROOT / "services" / "telemetry" / "contract.yaml").read_text())


def wait_for(lab, fault, state, seconds):
    """Wait until all signs of a fault are `healthy` or `broken`; return how long that took."""
    started = monotonic()
    measured = []

    def all_of_them():
        measured[:] = [signs.measure(sign, lab.prometheus, lab.jaeger) for sign in fault.signs]
        fits = [getattr(sign, f"is_{state}") for sign in fault.signs]
        return all(fit(value) for fit, value in zip(fits, measured, strict=True))

    try:
        poll_until(f"{fault.name}: {state}", all_of_them, seconds, 0.25)
    except AssertionError as error:
        ranges = [getattr(sign, state) for sign in fault.signs]
        raise AssertionError(f"{error}; measured {measured}, expected {ranges}") from None
    return monotonic() - started


def on(lab):
    return [entry["fault"] for entry in json.loads(lab.run("faults", "--json"))]


def check(lab, fault):
    """Break and heal a lab; return the seconds until the signs of the fault were broken and healthy again."""
    wait_for(lab, fault, "healthy", HEALTHY_WITHIN)
    try:
        lab.run("break", fault.name)
        broken = wait_for(lab, fault, "broken", BROKEN_WITHIN)
        lasts = fault.process is None or fault.process.action != "kill"
        assert on(lab) == [fault.name] * lasts
    finally:
        lab.run("heal", fault.name)
    healed = wait_for(lab, fault, "healthy", HEALED_WITHIN)
    assert on(lab) == []
    return broken, healed


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """The outcome of each fault that was asked for, by name, as it comes."""
    names = [
        item.callspec.params["name"]
        for item in request.session.items
        if item.function is test_signs_of_a_fault
    ]
    folder = tmp_path_factory.mktemp("labs")
    free = Queue()

    def check_in_a_free_lab(name):
        lab = free.get()
        try:
            return check(lab, catalogue.find(name))
        finally:
            free.put(lab)

    with ExitStack() as stack:
        for number in range(min(LABS, len(names))):
            free.put(stack.enter_context(running(Lab(folder, f"lab{number}"), "--workers", WORKERS)))
        with ThreadPoolExecutor(LABS) as pool:
            yield {name: pool.submit(check_in_a_free_lab, name) for name in names}


@pytest.mark.parametrize("name", catalogue.faults())
def test_signs_of_a_fault(outcomes, name, record_property):
    broken, healed = outcomes[name].result()
    record_property("seconds until broken and healed", (broken, healed))


# ---- the commands


def test_an_unknown_fault_names_those_that_are_near(lab):
    output = lab.run("break", "rng-slwo", code=2)
    assert "there is no fault 'rng-slwo'" in output
    assert "rng-slow" in output
    assert "rng-slow" in lab.run("heal", "rng_slow", code=2)


@pytest.mark.parametrize("time", ["", "0", "5 minutes", "-1", "1d"])
def test_a_time_that_is_none(lab, time):
    assert "90s, 2m or 1h is accepted" in lab.run("break", "rng-slow", "--for", time, code=2)


def test_a_fault_for_a_while_ends_by_itself(lab):
    lab.run("break", "hasher-slow", "--for", "20s")
    started = time()
    assert on(lab) == ["hasher-slow"]
    span = poll_until("a span with the flag", lambda: event_of(lab, "hasher", flags.key("hasher-slow")))
    assert span["duration"] >= 390_000
    poll_until("the end of the fault", lambda: on(lab) == [], 30)
    assert time() - started > 18

    def quick_again():
        traces = lab.jaeger.traces("hasher", start=int((time() - 2) * 1e6), end=int(time() * 1e6))
        mine = [span for trace in traces for span in spans_of(trace, "hasher")]
        return mine and all(span["duration"] < 300_000 for span in mine)

    poll_until("quick answers", quick_again)


def test_a_process_fault_for_a_while(lab):
    assert "healed" in lab.run("break", "rng-paused", "--for", "1s")
    assert on(lab) == []
    assert "over at once" in lab.run("break", "hasher-killed", "--for", "1s", code=2)


def test_a_process_fault_ends_with_its_terminal(lab):
    command = [WORKSHOP, "break", "rng-paused", "--for", "5m"]
    with subprocess.Popen(
        command, env={**os.environ, **lab.settings}, stdout=subprocess.PIPE, text=True
    ) as waiting:
        try:
            assert waiting.stdout.readline().startswith("rng-paused: ")
            assert waiting.stdout.readline().startswith("it heals in 300 s")
            assert on(lab) == ["rng-paused"]
            waiting.send_signal(signal.SIGHUP)
            assert waiting.wait(10) == 0
        finally:
            waiting.kill()
    assert on(lab) == []


def test_healing_ends_all_of_it(lab):
    lab.run("break", "rng-slow")
    lab.run("break", "worker-labels")
    lab.run("break", "rng-paused")
    assert sorted(on(lab)) == ["rng-paused", "rng-slow", "worker-labels"]
    output = lab.run("heal")
    assert all(f"{name}: healed" in output for name in ("rng-paused", "rng-slow", "worker-labels"))
    assert on(lab) == []
    assert "no fault was on" in lab.run("heal")


def test_the_list_of_all(lab):
    listed = json.loads(lab.run("faults", "--list", "--json"))
    assert {entry["name"] for entry in listed} == catalogue.faults().keys()
    assert all(name in lab.run("faults", "--list") for name in ("rng-slow", "redis-away"))


# ---- what the services say of it


def spans_of(trace, service):
    return [
        span for span in trace["spans"] if trace["processes"][span["processID"]]["serviceName"] == service
    ]


def event_of(lab, service, key):
    """Return a recent span of a service that has an event with this flag."""
    (declared,) = CONTRACT["events"]
    for trace in lab.jaeger.traces(service, start=int((time() - 5) * 1e6), end=int(time() * 1e6)):
        for span in spans_of(trace, service):
            for log in span["logs"]:
                fields = {field["key"]: field["value"] for field in log["fields"]}
                if fields.get("event") == declared["name"] and fields["feature_flag.key"] == key:
                    assert fields.keys() - {"event"} == set(declared["attributes"])
                    return span
    return None


def test_a_metric_that_a_fault_brings_is_as_declared(lab):
    (declared,) = (metric for metric in CONTRACT["metrics"] if "fault" in metric)
    series = f"{declared['name']}_count"
    assert lab.prometheus.query(series) == []
    lab.run("break", declared["fault"])
    try:
        found = poll_until(series, lambda: lab.prometheus.query(series))
        assert set(found[0].labels) - {"__name__", "job", "instance"} == set(declared["labels"])
    finally:
        lab.run("heal")
    poll_until("its end", lambda: lab.prometheus.query(series) == [])


def test_a_damaged_file_leaves_the_last_good_state_in_force(lab):
    file = lab.folder / lab.project / "faults.json"
    damaged = "min(dockercoins_faults_file_damaged)"
    lab.run("break", "rng-slow")
    slow = catalogue.find("rng-slow")
    wait_for(lab, slow, "broken", BROKEN_WITHIN + 5)
    assert "faults file" not in lab.run("status")
    file.write_text(file.read_text()[:100])
    try:
        poll_until("all services see the damage", lambda: lab.prometheus.scalar(damaged) == 1)
        wait_for(lab, slow, "broken", 0)
        assert f"{file} is damaged" in lab.run("status", code=None)
        assert lab.status()["faults_file_damaged"] is True
        for command in (["break", "rng-slow"], ["faults"], ["heal", "rng-slow"]):
            assert "damaged" in lab.run(*command, code=1)
    finally:
        lab.run("heal")
    poll_until("all services see the new file", lambda: lab.prometheus.scalar(damaged) == 0)
    assert lab.status()["faults_file_damaged"] is False
    wait_for(lab, slow, "healthy", HEALED_WITHIN)
