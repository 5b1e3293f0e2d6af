"""Incidents: a robot that sees what a student sees finds out what is broken."""

import json
import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, product
from pathlib import Path

import pytest
import requests

from tests.live.conftest import Lab, measured, running
from tests.live.robot import ailing, diagnose
from tests.support import free_ports, poll_until, process, taken_from
from workshop.faults import catalogue, incidents
from workshop.faults.signs import WINDOW
from workshop.native.ports import listens

pytestmark = pytest.mark.usefixtures("in_the_time_for_faults")

# Side by side: a lab of two workers mostly waits.
LABS = 6
WRONG_AT_MOST = 2
# All that a sign looks back at must be of the time with the fault: its window, two seconds until the next
# scrape, and one until a span arrives.
LOOK_AFTER_SECONDS = WINDOW + 3
HEALTHY_WITHIN_SECONDS = 45


def with_every_fault():
    """Return incidents, by seed and level: of the first seeds, those with a fault that was in none before."""
    chosen, missing = [], set(catalogue.faults())
    for seed, level in product(range(1000), incidents.LEVELS):
        names = {fault.name for fault in incidents.choose(seed, level)}
        if names & missing:
            chosen.append((seed, level))
            missing -= names
    assert not missing
    return chosen


@pytest.fixture
def lab(lab: Lab) -> Iterator[Lab]:
    """The lab of the module, in which no incident outlives its test."""
    yield lab
    lab.run("incident", "give-up", code=None)


@dataclass
class Outcome:
    """What the robot made of an incident: its diagnoses, until one was wrong or all were right."""

    seed: int
    level: int
    truth: list[str]
    said: list[str] = field(default_factory=list)
    right: bool = False


def wait_for_a_full_window() -> None:
    started = time.monotonic()
    poll_until("a full window", lambda: time.monotonic() >= started + LOOK_AFTER_SECONDS)


def let_the_robot_solve(lab: Lab, seed: int, level: int) -> Outcome:
    outcome = Outcome(seed, level, [fault.name for fault in incidents.choose(seed, level)])
    assert "under way" in lab.run("incident", "start", "--seed", str(seed), "--level", str(level))
    while True:
        wait_for_a_full_window()
        found = diagnose(lab.prometheus, lab.jaeger)
        if len(found) > 1:
            # One of them may be chance, as few coins are. It will not be there in the next window.
            wait_for_a_full_window()
            found = [fault for fault in found if fault in diagnose(lab.prometheus, lab.jaeger)]
        outcome.said.append(found[0].name if found else "nothing")
        if not found:
            break
        answer = lab.run("incident", "solve", found[0].service, found[0].cause, code=None)
        if "right" not in answer:
            break
        if "points" in answer:
            outcome.right = True
            break
    if not outcome.right:
        lab.run("incident", "give-up")
    poll_until(
        f"a healthy lab after {outcome}",
        lambda: not ailing(lab.prometheus, lab.jaeger),
        HEALTHY_WITHIN_SECONDS,
    )
    return outcome


@pytest.mark.timeout(900)
def test_a_robot_finds_all_but_two(tmp_path: Path):
    incidents_to_solve = with_every_fault()
    assert len(incidents_to_solve) >= 20
    work = deque(incidents_to_solve)
    labs = [Lab(tmp_path / "labs", project=f"class-{number}") for number in range(LABS)]

    def solve_some(lab: Lab) -> list[Outcome]:
        outcomes = []
        with running(lab, "--workers", "2"):
            poll_until(
                "a healthy lab", lambda: not ailing(lab.prometheus, lab.jaeger), HEALTHY_WITHIN_SECONDS
            )
            for seed, level in taken_from(work):
                outcomes.append(let_the_robot_solve(lab, seed, level))
            scores = json.loads(lab.run("incident", "--json"))["scores"]
            # Points are no measure: one of two faults found gives some.
            diagnosed = [score["seconds_to_diagnose"] is not None for score in scores]
            assert diagnosed == [outcome.right for outcome in outcomes]
        return outcomes

    with ThreadPoolExecutor(LABS) as pool:
        outcomes = [outcome for part in pool.map(solve_some, labs) for outcome in part]
    assert len(outcomes) == len(incidents_to_solve)
    wrong = [outcome for outcome in outcomes if not outcome.right]
    measured.append(f"incidents: {len(outcomes)}, not solved: {wrong or 'none'}")
    assert len(wrong) <= WRONG_AT_MOST, wrong


def test_an_incident_by_hand(lab: Lab):
    printed = lab.run("incident", "start", "--seed", "1", "--level", "3")
    assert "incident 1 of level 3 is under way: 2 things are broken" in printed
    for fault in incidents.choose(1, 3):
        assert fault.name not in printed
        assert fault.cause not in printed
    # Nothing tells the answer meanwhile.
    for command in (("faults",), ("heal",), ("break", "rng-lock", "--for", "1s"), ("incident", "start")):
        assert "an incident is under way" in lab.run(*command, code=1)

    assert "detected after 0:" in lab.run("incident", "seen")
    assert "rng slow: no; 1 wrong so far" in lab.run("incident", "solve", "rng", "slow", code=1)
    assert "there is no cause 'slo': slow" in lab.run("incident", "solve", "rng", "slo", code=2)
    assert "there is no service 'mongodb'" in lab.run("incident", "solve", "mongodb", "slow", code=2)
    assert "right" in lab.run("incident", "solve", "rng", "lock")
    assert "2 to find" not in lab.run("incident")
    now = json.loads(lab.run("incident", "--json"))["incident"]
    assert (now["found"], now["left"], now["wrong_answers"]) == (1, 1, 1)
    # What was found already is no answer to the rest.
    assert "no; 2 wrong" in lab.run("incident", "solve", "rng", "lock", code=1)

    before = time.time()
    printed = lab.run("incident", "give-up")
    assert "hasher clock-skew: " in printed
    assert "rng lock: " in printed
    assert "(you found it)" in printed
    assert "no fault is on" in lab.run("faults")
    assert "no incident is under way" in lab.run("incident", "give-up", code=1)
    score = json.loads(lab.run("incident", "--json"))["scores"][-1]
    assert score["found"] == 1
    assert score["points"] == 200 - 2 * incidents.POINTS_PER_WRONG_ANSWER
    assert score["seconds_to_diagnose"] is None
    assert score["seconds_to_detect"] == round(now["seen"] - now["started"], 1)
    assert 0 < score["seconds_to_detect"] < before - now["started"]


def test_times_and_the_first_alert_are_told(lab: Lab):
    seed = next(seed for seed in count() if incidents.choose(seed, 1)[0].name == "hasher-stopped")
    started = time.time()
    lab.run("incident", "start", "--seed", str(seed))
    down = 'ALERTS{alertname="TargetDown", alertstate="firing"}'
    poll_until("the alert", lambda: lab.prometheus.query(down), 30)
    alert_by = time.time() - started
    # The errors of the worker may make another one fire before.
    fired = {sample.labels["alertname"] for sample in lab.prometheus.query('ALERTS{alertstate="firing"}')}
    lab.run("incident", "seen")
    printed = lab.run("incident", "solve", "hasher", "stopped")
    over = time.time() - started
    told = dict(re.findall(r"^(time to detect|time to diagnose|first alert) +(.+)$", printed, re.MULTILINE))
    name, _, after = told.pop("first alert").partition(", after ")
    assert name in fired
    # All of it is told in whole seconds.
    detect, diagnose = (seconds(told[f"time to {what}"]) for what in ("detect", "diagnose"))
    assert 0 < seconds(after) <= alert_by
    assert alert_by - 2 <= detect <= diagnose <= over
    score = json.loads(lab.run("incident", "--json"))["scores"][-1]
    assert (int(score["seconds_to_detect"]), int(score["seconds_to_diagnose"])) == (detect, diagnose)
    assert score["points"] == 100


def seconds(told: str) -> int:
    minutes, _, rest = told.removesuffix(" min").partition(":")
    return 60 * int(minutes) + int(rest)


def test_an_incident_with_a_damaged_file_can_be_ended(lab: Lab):
    lab.run("incident", "start", "--seed", "1", "--level", "3")
    file = lab.folder / lab.project / "faults.json"
    file.write_text("{")
    told = lab.run("incident", "solve", "rng", "lock", code=1)
    assert "`workshop incident give-up` does" in told
    assert "an incident is under way" in lab.run("heal", code=1)
    lab.run("incident", "give-up")
    assert "no fault is on" in lab.run("faults")


def test_a_reset_ends_an_incident(lab: Lab):
    lab.run("incident", "start", "--seed", "1", "--level", "3")
    lab.run("reset", "02")
    assert "no incident is under way" in lab.run("incident", "give-up", code=1)
    assert "no fault is on" in lab.run("faults")


def test_without_telemetry_an_incident_is_refused_and_not_given_away(make_lab):
    blind = make_lab(project="blind", settings={"TELEMETRY": "off"})
    with running(blind):
        told = blind.run("incident", "start", "--seed", "1", "--level", "3", code=1)
        assert "TELEMETRY=on" in told
        assert not [fault.name for fault in catalogue.faults().values() if fault.name in told]
        assert "no incident is under way" in blind.run("incident", "give-up", code=1)
        assert "TELEMETRY=on" in blind.run("break", "rng-slow", code=1)


def test_an_incident_does_not_begin_on_a_broken_lab(lab: Lab):
    lab.run("break", "rng-slow")
    assert "something is broken already: `workshop heal` mends it" in lab.run("incident", "start", code=1)
    lab.run("heal")


def test_the_teachers_page(lab: Lab, tmp_path: Path):
    (port,) = free_ports(1)
    command = (sys.executable, "-m", "workshop.console", "--port", str(port))
    page = f"http://127.0.0.1:{port}/faults/"
    # Students have no such page.
    assert requests.get(f"{lab.url('CONSOLE_PORT')}/faults/", timeout=5).status_code == 404
    settings = {**lab.settings, "WORKSHOP_TEACHER": "1"}
    with process(*command, env=settings, log=tmp_path / "console.log"):
        poll_until("the console", lambda: listens(port))
        assert "No fault is on." in requests.get(page, timeout=5).text
        lab.run("incident", "start", "--seed", "1", "--level", "3")
        text = requests.get(page, timeout=5).text
        assert "Incident 1 of level 3" in text
        assert "hasher clock-skew" in text
        assert '<h2 id="fault-rng-lock">' in text
        lab.run("incident", "give-up")
        assert "No fault is on." in requests.get(page, timeout=5).text
