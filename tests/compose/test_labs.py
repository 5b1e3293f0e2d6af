"""Labs in containers: a student passes them by what the pages tell for Docker, and a reset mends them."""

import json
import re
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.compose.conftest import Stack, running
from tests.labs.attempts import ATTEMPTS
from tests.labs.student import LABS, Student, blocks, session
from tests.standstill import undisturbed
from tests.support import poll_until, taken_from
from workshop.files import write_json

pytestmark = pytest.mark.timeout(300)

# So few that every command for Docker is among theirs, the longest ones first: all take seven minutes more.
PASSED = ("12", "10", "05", "15", "11", "00", "14", "03", "01")
# Projects, each of which takes the next lab when it is done with one.
SIDE_BY_SIDE = 3
FOLDERS = {folder.name[:2]: folder for folder in LABS}

ONE_WORKER = "one worker runs, and all that Prometheus looks at answers"


@dataclass(frozen=True)
class DockerLab:
    """A project as the student of `tests/labs` sees a lab."""

    stack: Stack

    @property
    def ports(self):
        return {f"{name}_PORT": port for name, port in self.stack.ports.items()}

    @property
    def settings(self):
        """The ports are in a file: in the environment they would be those of a second project too."""
        environment = self.stack.environment
        file = Path(environment["WORKSHOP_STATE"]) / "ports.env"
        file.write_text("".join(f"{name}={port}\n" for name, port in self.ports.items()))
        others = {name: value for name, value in environment.items() if name not in self.ports}
        return others | {"COMPOSE_ENV_FILES": str(file)}


def with_student(stack, folder):
    """Return a project with the progress of its student in a folder of the test's own."""
    environment = stack.engine.environment | {"WORKSHOP_STATE": str(folder)}
    return replace(stack, engine=replace(stack.engine, environment=environment))


@pytest.fixture(scope="module")
def student(green, tmp_path_factory):
    return with_student(green, tmp_path_factory.mktemp("student"))


def carry_out(stack, number):
    """Do what the pages of a lab tell for Docker, with wrong answers before the right ones."""
    wrong = "".join(
        f"! command workshop answer {number} {name} '{value}'\n"
        for name, value in ATTEMPTS[number].wrong.items()
    )
    stack.workshop("reset", number)
    return Student(DockerLab(stack)).does(session(FOLDERS[number], wrong, docker=True))


@pytest.fixture(scope="module")
def told(student, make_stack, tmp_path_factory):
    """What was printed when each lab was carried out, and what `workshop check` said then, by number."""
    numbers = deque(PASSED)
    outcomes = {number: Future() for number in PASSED}
    others = [
        with_student(make_stack(f"dockercoins-test-student-{i}"), tmp_path_factory.mktemp("student"))
        for i in range(1, SIDE_BY_SIDE)
    ]

    def tell_some(stack):
        with nullcontext() if stack is student else running(stack):
            for number in taken_from(numbers):
                try:
                    said = undisturbed(carry_out, stack, number)
                    outcomes[number].set_result((said, stack.workshop("check", number)))
                except Exception as error:  # told by the test of this lab; the others go on
                    outcomes[number].set_exception(error)
                    stack.up()  # whatever this one left

    with ThreadPoolExecutor() as pool:
        for ended in [pool.submit(tell_some, stack) for stack in (student, *others)]:
            ended.result()
    return outcomes


def test_every_command_for_docker_is_carried_out():
    def lines(text):
        """Return the lines of some text, whatever the number of workers or of seconds."""
        return set(re.sub(r"\d+", "N", text).splitlines())

    told = {line for lab in LABS for block in blocks(lab / "README.md", "sh docker") for line in lines(block)}
    assert told <= {line for number in PASSED for line in lines(session(FOLDERS[number], docker=True))}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", PASSED)
def test_a_lab_is_passed_with_docker(told, number):
    said, report = told[number].result()
    assert "docker compose " in said
    assert f"passed: `workshop solution {number}`" in report


def test_telemetry_is_what_the_containers_were_started_with(student):
    """Not what a lab without Docker was started with before, and not what is set now."""
    notes = {"port_offset": 0, "ports": {}, "telemetry": "off", "workbench": str(student.workbench)}
    file = Path(student.environment["WORKSHOP_STATE"]) / student.project / "lab.json"
    write_json(file, notes)
    student.workshop("reset", "01")
    assert states(student)[ONE_WORKER] == "passed"
    student.workshop("break", "rng-slow", "--for", "1s")

    student.compose("up", "--detach", "--no-build", "--no-deps", "rng", TELEMETRY="off")
    try:
        assert "TELEMETRY=off" in student.workshop("check", "01", code=1, stderr=True)
        assert "TELEMETRY=on" in student.workshop("break", "rng-slow", code=1, stderr=True)
    finally:
        student.up()
    poll_until("all healthy", student.healthy, 60)


def states(student):
    """Return the state of each check and question of lab 01."""
    report = json.loads(student.workshop("check", "01", "--json", code=1))
    return {result["title"]: result["state"] for result in report["results"]}


def test_a_reset_brings_the_start_back(student):
    student.up(workers=2)
    student.compose("stop", "hasher")
    student.compose("pause", "rng")
    student.workshop("reset", "01")
    poll_until("all healthy", student.healthy, 60)
    assert len(student.containers("worker")) == 1
    assert [title for title, state in states(student).items() if state == "passed"] == [ONE_WORKER]


def test_a_service_on_the_workbench_takes_the_place_of_its_image(student):
    up = 'up{job="rng"}'
    student.workshop("reset", "00")
    assert student.prometheus.scalar(up) == 0, "it has no telemetry"
    assert "rng is the one on the workbench" in student.workshop("status")
    student.workshop("reset", "01")
    assert student.prometheus.scalar(up) == 1
    assert not (student.workbench / "rng").exists()
