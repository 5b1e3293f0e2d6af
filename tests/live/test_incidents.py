"""Incidents: a robot that sees what a student sees finds out what is broken."""

import json
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.live.conftest import Lab, running
from tests.live.robot import ailing, diagnose
from tests.support import free_ports, poll_until, process, taken_from
from workshop.faults import incidents
from workshop.faults.signs import WINDOW
from workshop.native.ports import listens

# Side by side: a lab of two workers mostly waits.
LABS = 4
INCIDENTS = [(seed, level) for seed in range(7) for level in incidents.LEVELS][:20]
RIGHT_AT_LEAST = 18
# All that a sign looks back at must be of the time with the fault: its window, two seconds until the next
# scrape, and one until a span arrives.
LOOK_AFTER_SECONDS = WINDOW + 3
HEALTHY_WITHIN_SECONDS = 45


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
def test_a_robot_finds_18_of_20(tmp_path: Path):
    work = deque(INCIDENTS)
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
    assert len(outcomes) == len(INCIDENTS)
    wrong = [outcome for outcome in outcomes if not outcome.right]
    print("not found:", *wrong, sep="\n")
    assert len(outcomes) - len(wrong) >= RIGHT_AT_LEAST, wrong


def test_an_incident_by_hand(lab: Lab):
    printed = lab.run("incident", "start", "--seed", "1", "--level", "3")
    assert "incident 1 of level 3 is under way: 2 things are broken" in printed
    for fault in incidents.choose(1, 3):
        assert fault.name not in printed
        assert fault.cause not in printed
    # Nothing tells the answer meanwhile.
    for command in (("faults",), ("heal",), ("incident", "start")):
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
