"""Every fault of the catalogue in a running lab: its signs are healthy, move when it is on, and come back.

And its alert fires, or none does. Several labs work on the faults side by side, because most of the time goes
into waiting. Each of them first sees to some of the alerts: alerts look back for minutes, to a time that must
have been healthy.
"""

import json
import os
import signal
import subprocess
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, takewhile
from math import inf
from threading import Event
from time import monotonic, time

import pytest
import yaml

from tests.live.conftest import WORKSHOP, Lab, measured, running
from tests.standstill import undisturbed
from tests.support import IN_CI, poll_until, taken_from
from workshop.faults import catalogue, flags, signs
from workshop.lab import ROOT
from workshop.native import backends

pytestmark = pytest.mark.usefixtures("in_the_time_for_faults")

# Three workers keep rng busy: at ten loops a second chance moves the signs that count things least.
WORKERS = "3"
# Seconds. What an earlier fault leaves behind must be gone first: backoffs of 10 s, windows of 15 s.
HEALTHY_WITHIN = 60
BROKEN_WITHIN = 15
HEALED_WITHIN = 30
# All that a sign looks back at is of the time with the fault: its window, two seconds until the next scrape,
# and one until the flag is read or a span arrives.
FULL_WINDOW = signs.WINDOW + 3

ALERTS_WITHIN = 150
# The shortest window of an alert: what is over at once weighs less and less after it.
SHORT_WINDOW = 30
# The longer one of the two of each alert that looks at more than a burst.
SLOW_WINDOW = 120
# What each lab does first: sets of faults that are on at the same time. Those of one set either have alerts,
# which can be told apart, or have none. Those without come last, and wait for those before them: while labs
# start and are broken all cores are busy, and of a new lab's few requests few slow ones make an alert.
PLANS = {
    "collector": [["rng-slow", "hasher-errors", "webui-stuck-scrape", "collector-away"]],
    "uneven": [["rng-jitter", "worker-retries"]],
    "coins": [["rng-errors", "hasher-slow", "hasher-wrong"]],
    "silent": [["worker-ignores-errors"], ["hasher-stopped", "rng-paused"]],
    "hidden": [
        [
            "rng-short",
            "rng-lock",
            "rng-span-names",
            "hasher-leak",
            "hasher-clock-skew",
            "worker-no-propagation",
            "worker-labels",
            "worker-log-flood",
            "redis-away",
        ]
    ],
    "gone": [
        ["hasher-cpu", "redis-slow-writes"],
        ["hasher-killed"],  # not first: of the few requests of a new lab, too many would fail
    ],
}
# Whom the alert names, where that is not the service at fault: who answers, who shows, who loses spans.
NAMED = {
    "worker-ignores-errors": "hasher",
    "worker-retries": "hasher",
    "hasher-wrong": "webui",
    "collector-away": "rng",
}
# The lab of this plan has the real Collector and Jaeger, where there are any.
REAL = "collector"
# Faults whose signs only one lab looks at: that of this plan, after it. Those of spans are for the real
# Jaeger. And with three workers hasher would take half a core from the plan in which it computes for one.
ONLY_IN = {
    fault.name: REAL
    for fault in catalogue.faults().values()
    if any(sign.jaeger for sign in fault.signs) or fault.service == "collector"
} | {"hasher-cpu": "gone"}

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


def lasts(fault):
    return fault.process is None or fault.process.action != "kill"


def wait(seconds):
    started = monotonic()
    poll_until("the time", lambda: monotonic() >= started + seconds, seconds + 1)


def check(lab, name):
    """Break and heal a lab; the signs of the fault must be broken in time, and healthy again."""
    fault = catalogue.find(name)
    wait_for(lab, fault, "healthy", HEALTHY_WITHIN)
    try:
        lab.run("break", fault.name)
        started = monotonic()
        broken = wait_for(lab, fault, "broken", BROKEN_WITHIN)
        # What was seen on the way to somewhere else does not count.
        wait(max(0, started + FULL_WINDOW - monotonic()))
        wait_for(lab, fault, "broken", max(0, started + BROKEN_WITHIN - monotonic()))
        assert on(lab) == [fault.name] * lasts(fault)
    finally:
        lab.run("heal", fault.name)
    healed = wait_for(lab, fault, "healthy", HEALED_WITHIN)
    assert on(lab) == []
    measured.append(f"{fault.name}: broken after {broken:.1f} s, healed after {healed:.1f} s")


def fires(lab, fault):
    """Tell whether the alert of a fault fires, for the service that it is to name."""
    firing = lab.prometheus.query(f'ALERTS{{alertname="{fault.alert}", alertstate="firing"}}')
    return any(NAMED.get(fault.name, fault.service) in sample.labels.values() for sample in firing)


def burn_rate(lab):
    """Return how fast the error budget went that went fastest, on average of the last two minutes."""
    rate = lab.prometheus.scalar("max(service_peer_name_slo:error_budget:burn_rate2m)")
    return inf if rate is None else rate


def carry_out(lab, plan, begun):
    """Break things; the alerts that they promise must fire, or none if they promise none.

    `begun` has an event for each plan, in their order, set when its first faults are on or it failed.
    """
    for names in PLANS[plan]:
        faults = [catalogue.find(name) for name in names]
        # With three workers hasher would compute half of the time, on cores that all of the labs share.
        lab.run("scale", "worker=1" if "hasher-cpu" in names else f"worker={WORKERS}")
        if not any(fault.alert for fault in faults):
            before = list(takewhile(lambda other: other != plan, begun))
            poll_until("faults in the labs before", lambda: all(begun[it].is_set() for it in before), 300)  # noqa: B023
            poll_until("budgets that last", lambda: burn_rate(lab) < 1, SLOW_WINDOW + HEALTHY_WITHIN)
        for fault in faults:
            wait_for(lab, fault, "healthy", HEALTHY_WITHIN)
        assert not [fault.name for fault in faults if fault.alert and fires(lab, fault)]
        started = monotonic()
        try:
            for fault in faults:
                lab.run("break", fault.name)
            begun[plan].set()
            if any(fault.alert for fault in faults):
                for fault in faults:
                    left = max(0, started + ALERTS_WITHIN - monotonic())
                    poll_until(f"{fault.alert} of {fault.name}", lambda: fires(lab, fault), left, 0.5)  # noqa: B023
                    measured.append(f"{fault.name}: {fault.alert} by {monotonic() - started:.0f} s")
            else:
                wait(ALERTS_WITHIN if any(map(lasts, faults)) else SHORT_WINDOW)
                ever = f'max_over_time(ALERTS{{alertstate="firing"}}[{int(monotonic() - started)}s])'
                fired = [tuple(sample.labels.values()) for sample in lab.prometheus.query(ever)]
                assert not fired, f"{names}: {fired}"
        finally:
            lab.run("heal")


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """The outcome of each plan and each fault that was asked for, by name, as it comes."""
    params = [
        (item.function, item.callspec.params) for item in request.session.items if hasattr(item, "callspec")
    ]
    plans = [given["plan"] for function, given in params if function is test_alerts]
    names = [given["name"] for function, given in params if function is test_signs_of_a_fault]
    used = [plan for plan in PLANS if plan in plans or len(names) > 1 or (plan == REAL and names)]
    to_one = {plan: deque() for plan in used}
    to_any = deque()
    for name in names:
        to_one.get(ONLY_IN.get(name), to_any).append(name)
    results = {name: Future() for name in plans + names}
    begun = {plan: Event() for plan in plans}
    for plan, event in begun.items():
        results[plan].add_done_callback(lambda _, event=event: event.set())
    folder = tmp_path_factory.mktemp("labs")

    def record(name, act, *arguments):
        try:
            results[name].set_result(act(*arguments))
        except Exception as error:
            results[name].set_exception(error)

    def work(plan):
        backend = (
            "jaeger"
            if plan == REAL and backends.find("jaeger") and backends.find("collector")
            else "embedded"
        )
        assert not (IN_CI and plan == REAL and backend == "embedded"), "CI runs `make tools` first"
        with running(Lab(folder, f"lab-{plan}", {"TRACE_BACKEND": backend}), "--workers", WORKERS) as lab:
            if plan in plans:
                record(plan, carry_out, lab, plan, begun)
            for name in chain(taken_from(to_one[plan]), taken_from(to_any)):
                record(name, undisturbed, check, lab, name)

    def work_or_tell_all(plan):
        try:
            work(plan)
        except Exception as error:
            for result in results.values():
                if not result.done():
                    result.set_exception(error)

    with ThreadPoolExecutor(len(PLANS)) as pool:
        for plan in used:
            pool.submit(work_or_tell_all, plan)
        yield results


@pytest.mark.timeout(600)
@pytest.mark.parametrize("plan", PLANS)
def test_alerts(outcomes, plan):
    outcomes[plan].result()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", catalogue.faults())
def test_signs_of_a_fault(outcomes, name):
    outcomes[name].result()


def test_what_is_told_of_alerts_is_tried_of_all_faults():
    tried = [name for plan in PLANS.values() for names in plan for name in names]
    # Without Prometheus there is nothing that could fire.
    assert sorted([*tried, "prometheus-away"]) == sorted(catalogue.faults())
    for names in chain(*PLANS.values()):
        assert len({bool(catalogue.find(name).alert) for name in names}) == 1


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


def test_healing_one_fault_leaves_the_others(lab):
    for name in ("rng-slow", "worker-labels", "rng-paused"):
        lab.run("break", name)
    assert lab.run("heal", "worker-labels") == "worker-labels: healed\n"
    assert sorted(on(lab)) == ["rng-paused", "rng-slow"]
    assert lab.run("heal", "rng-paused") == "rng-paused: healed\n"
    assert on(lab) == ["rng-slow"]
    assert lab.run("heal", "rng-paused") == "rng-paused was not on\n"
    lab.run("heal")


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
    # A test before this one may have had the fault on.
    poll_until(f"no {series}", lambda: lab.prometheus.query(series) == [])
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
