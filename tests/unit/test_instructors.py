"""The instructor's guide against the labs that it plans and explains.

Its commands are tried in tests/live and tests/compose.
"""

import re
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tests.compose import test_offline
from tests.guide import blocks, sections
from tests.labs.attempts import ATTEMPTS
from tests.live import test_instructors
from workshop.grading.exercises import Exercise, find
from workshop.lab import DOCKER_PORTS, PORTS, ROOT

SECTIONS = sections()
EXERCISES = find()
PLANS = ("Half a day", "One day", "Two days")
ROW = re.compile(r"^\| (\d\d:\d\d) \| (.*?) +\| +(\d+) \| +(\d*) \|$", re.MULTILINE)
# "- `question`, answer: what was misunderstood. Ask: what helps?"
MISTAKE = re.compile(r"^- `([\w-]+)`, (.+?): ")

Row = tuple[datetime, str, timedelta]


def days(plan: str) -> list[list[Row]]:
    """Return the days of a plan; a row has its beginning, what is done, and how long with the talk."""
    tables = re.findall(r"(?:^\|.*\n)+", SECTIONS[plan], re.MULTILINE)
    return [
        [
            (datetime.strptime(start, "%H:%M"), what, timedelta(minutes=int(minutes) + int(talk or 0)))
            for start, what, minutes, talk in ROW.findall(table)
        ]
        for table in tables
    ]


def planned(plan: str) -> list[tuple[str, Exercise, int]]:
    """Return the labs of a plan in order: the number that it names, the lab, and the minutes."""
    return [
        (number, Exercise((ROOT / "docs" / path).resolve()), int(minutes))
        for _, what, minutes, _ in ROW.findall(SECTIONS[plan])
        for number, path in re.findall(r"\[lab (\d\d)\]\((\.\./labs/[^)]+)\)", what)
    ]


def mistakes(exercise: Exercise) -> list[str]:
    """Return the mistakes that the guide has for a lab, each in one line."""
    text = SECTIONS[heading(exercise)]
    return [" ".join(item.split()) for item in re.split(r"^(?=- )", text, flags=re.MULTILINE) if item.strip()]


def heading(exercise: Exercise) -> str:
    return exercise.text.partition("\n")[0].removeprefix("# ")


# ---- plans


@pytest.mark.parametrize("plan", PLANS)
def test_the_times_of_a_plan_add_up(plan):
    ends = re.findall(r"ntil (\d\d:\d\d)", SECTIONS[plan])
    for day, end in zip(days(plan), ends, strict=True):
        assert len(day) > 8
        for (start, what, duration), (following, _, _) in pairwise(day):
            assert start + duration == following, what
        start, _, duration = day[-1]
        assert start + duration == datetime.strptime(end, "%H:%M")


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_gives_each_lab_the_minutes_of_its_page(plan):
    labs = planned(plan)
    assert len(labs) > 5
    for number, exercise, minutes in labs:
        assert exercise in EXERCISES, exercise.folder
        assert (number, minutes) == (exercise.number, exercise.minutes), exercise.folder


@pytest.mark.parametrize("plan", PLANS)
def test_nobody_sits_for_over_two_hours(plan):
    for day in days(plan):
        since = day[0][0]
        for start, what, duration in day:
            if re.match("a break|lunch", what):
                assert start - since <= timedelta(hours=2)
                since = start + duration
        assert day[-1][0] - since <= timedelta(hours=2)


def test_the_plan_of_two_days_has_all_labs():
    assert sorted(number for number, _, _ in planned("Two days")) == [
        exercise.number for exercise in EXERCISES
    ]


# ---- mistakes


def test_each_lab_has_its_mistakes_in_order():
    told = [name for name in SECTIONS if re.match(r"Lab \d\d: ", name)]
    assert told == [heading(exercise) for exercise in EXERCISES]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.number)
def test_a_mistake_is_one_and_has_a_question_that_helps(exercise):
    found = mistakes(exercise)
    assert sum(bool(MISTAKE.match(item)) for item in found) >= 3
    for item in found:
        if not (mistake := MISTAKE.match(item)):
            continue
        assert "Ask: " in item, item
        assert "?" in item.partition("Ask: ")[2], item
        name, answer = mistake.groups()
        question = exercise.question(name)
        if question.options:
            letter = answer.removesuffix(")")
            (right,) = re.findall(rf"workshop answer {exercise.number} {name} (\w)$", exercise.solution, re.M)
            assert letter in question.options.keys() - {right}, item
        elif re.fullmatch(r"[\d.]+", answer):
            # That it is refused is shown in tests/labs.
            assert answer == ATTEMPTS[exercise.number].wrong[name], item


# ---- commands


def test_every_command_is_tried_somewhere():
    with_commands = {name for name in SECTIONS if blocks(name)}
    assert with_commands == test_instructors.TRIED | test_offline.TRIED


# ---- many students on one machine

WORKERS = 10


def test_labs_so_far_apart_share_no_port():
    text = " ".join(SECTIONS["In one account"].split())
    ((step, labs, again, green),) = re.findall(
        r"\(\(i \* (\d+)\)\).*Up to (\d+) labs that are (\d+) apart.*offset \+ (\d+)", text
    )
    assert step == again
    offsets = [i * int(step) for i in range(int(labs))]
    offsets += [offset + int(green) for offset in offsets]
    first = PORTS["WORKER_METRICS_PORT"]
    own = {port for name, port in PORTS.items() if name not in DOCKER_PORTS}
    own |= set(range(first, first + WORKERS))
    used = [port + offset for offset in offsets for port in own]
    assert len(used) == len(set(used))
    # From there on the system takes ports for outgoing connections (Linux).
    assert max(used) < 32768


def test_so_many_labs_fit_in_the_memory():
    text = SECTIONS["How many"]
    each = [int(numbers) for numbers in re.findall(r"^\| with .*\| +(\d+) \|$", text, re.MULTILINE)]
    rows = re.findall(r"^\| +(\d+) GiB \| +(\d+) \| +(\d+) \|$", text, re.MULTILINE)
    assert len(rows) == 4
    for memory, *labs in rows:
        assert [int(count) for count in labs] == [(int(memory) - 1) * 2**30 // (one * 10**6) for one in each]
    for grown, (with_ten, full) in zip(
        re.findall(r"(\d+)\s+MB in\s", text),
        re.findall(r"\| +(\d+) \| +(\d+) \|$", text.partition("The first two")[0], re.MULTILINE),
        strict=True,
    ):
        assert int(with_ten) + int(grown) == int(full)
