"""Every exercise, carried out on real labs: some of them side by side, for the sake of time."""

import json
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from tests.labs import pictures
from tests.labs.attempts import ATTEMPTS, EXPRESSIONS
from tests.labs.student import GREEN, GREEN_OFFSET, LABS, Student, blocks, session
from tests.live.conftest import Lab, running
from tests.live.conftest import real_trace_backend as real_trace_backend  # the fixture
from tests.standstill import undisturbed
from tests.support import poll_until, taken_from
from workshop.grading.exercises import Exercise
from workshop.native import backends

# Each lab takes the next exercise when it is done with one. A lab mostly waits, so more labs than cores.
SIDE_BY_SIDE = 4
FOLDERS = {folder.name[:2]: folder for folder in LABS}
# For some 4 s after a reset, checks wait for the spans of the first loop.
STARTED_SECONDS = 5
# They are about the Collector, and have a lab with the real one; those of the others have the embedded store.
WITH_COLLECTOR = ("12",)

Story = dict[str, object]
"""What came of each step of an exercise, by name: what was printed, or the error that ended the story."""


class Tale:
    """One exercise on one lab, step by step."""

    def __init__(self, student: Student, number: str) -> None:
        self.student, self.number, self.folder = student, number, FOLDERS[number]
        self.story: Story = {}

    def report(self) -> dict:
        """Return what `workshop check` says now; its exit code must fit."""
        report = json.loads(self.student.lab.run("check", self.number, "--json", code=None))
        self.student.lab.run("check", self.number, code=0 if report["passed"] else 1)
        return report

    def tell(self) -> Story:
        """Do everything, and remember what came of it."""
        attempts = ATTEMPTS[self.number]
        try:
            self.story["before"] = self.report_on_the_start()
            self.student.does(attempts.deeds)
            self.story["wrong deeds"] = poll_until("the check to see it", self.report_on_deeds)
            self.student.does(f"workshop reset {self.number}")
            wrong = "".join(
                f"! command workshop answer {self.number} {name} '{value}'\n"
                for name, value in attempts.wrong.items()
            )
            # One shell: the answers need the variables of the steps.
            file = self.student.lab.folder / f"{self.number}-wrong.json"
            wrong += f"workshop check {self.number} --json > {file}\n"
            self.story["printed"] = self.student.does(session(self.folder, mistakes=wrong))
            self.story["wrong answers"] = json.loads(file.read_text())
            self.story["right"] = self.report()
            pictures.take(self.student, Exercise(self.folder))
            self.story["judged"] = {
                expression: self.student.lab.run("answer", self.number, question, expression, code=None)
                for number, question, expression, _ in EXPRESSIONS
                if number == self.number
            }
            self.story["list"] = json.loads(self.student.lab.run("list", "--json"))
            self.story["queries"] = self.queries()
            self.story["reset"] = self.report_on_the_start()
            self.story["workers"] = self.student.lab.prometheus.scalar('sum(up{job="worker"})')
        except Exception as error:  # told by the tests of this exercise; the others go on
            self.story["error"] = error
        return self.story

    def report_on_the_start(self) -> dict:
        """Return what `workshop check` says after a reset, when it no longer waits for the first data."""
        self.student.does(f"workshop reset {self.number}")
        done = monotonic()
        poll_until(f"{STARTED_SECONDS} s of data", lambda: monotonic() > done + STARTED_SECONDS)
        return self.report()

    def report_on_deeds(self) -> dict | None:
        """Return the report if it has what the check wants instead of the wrong deeds."""
        report, seen = self.report(), ATTEMPTS[self.number].seen
        return report if any(seen in result["expected"] for result in report["results"]) else None

    def queries(self) -> dict[str, str]:
        """Return what each query of the README gives."""
        shown = blocks(self.folder / "README.md", "promql")
        return {query: self.student.lab.run("query", query.strip(), code=None) for query in shown}


@pytest.fixture(scope="session")
def stories(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Story]:
    """The stories of the exercises that the selected tests are about, by number."""
    wanted = {test.callspec.params.get("story") for test in with_parameters(request.session)}
    # The later ones take longer, so they come first: in the end no lab has to be waited for alone.
    numbers = deque(
        number for number in reversed(FOLDERS) if number in wanted and number not in WITH_COLLECTOR
    )
    there = all(backends.find(name) for name in ("collector", "jaeger"))
    about_it = deque(number for number in WITH_COLLECTOR if number in wanted and there)
    folder = tmp_path_factory.mktemp("labs")

    def tell(lab: Lab, number: str) -> Story:
        return Tale(Student(lab), number).tell()

    def tell_some(name: str, numbers: deque[str], trace_backend: str) -> dict[str, Story]:
        told: dict[str, Story] = {}
        settings = {"TRACE_BACKEND": trace_backend}
        # A folder of its own, for one of the exercises starts a second lab in it.
        with running(Lab(folder / name, name, settings, spare_ports=GREEN_OFFSET)) as lab:
            try:
                for number in taken_from(numbers):
                    told[number] = undisturbed(tell, lab, number)
            finally:
                lab.run("down", "--project", GREEN, "--volumes")
        return told

    labs = [(f"student{i}", numbers, "embedded") for i in range(min(SIDE_BY_SIDE, len(numbers)))]
    labs += [("collector", about_it, "jaeger")] if about_it else []
    with ThreadPoolExecutor() as pool:
        tales = [pool.submit(tell_some, *each) for each in labs]
        return {number: story for tale in tales for number, story in tale.result().items()}


def with_parameters(session: pytest.Session) -> list[pytest.Function]:
    """Return the tests that are going to run with parameters."""
    return [item for item in session.items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]


@pytest.fixture
def story(request: pytest.FixtureRequest) -> Story:
    """The story of the exercise that the test is about; its end, if something went wrong, fails the test."""
    if request.param in WITH_COLLECTOR:
        request.getfixturevalue("real_trace_backend")
    found: Story = request.getfixturevalue("stories")[request.param]
    if "error" in found:
        raise AssertionError(f"lab {request.param}: {found['error']}")
    return found
