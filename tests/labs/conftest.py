"""Every exercise, carried out on real labs: two of them side by side, for the sake of time."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.labs.attempts import ATTEMPTS, EXPRESSIONS
from tests.labs.student import LABS, Student, blocks, session
from tests.live.conftest import Lab, running
from tests.support import poll_until

# Each lab does some of the exercises; both take about as long.
SHARES = (("01", "02", "03"), ("04", "05", "06"))
FOLDERS = {folder.name[:2]: folder for folder in LABS}

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
            self.student.does(f"workshop reset {self.number}")
            self.story["before"] = self.report()
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
            self.story["judged"] = {
                expression: self.student.lab.run("answer", self.number, question, expression, code=None)
                for number, question, expression, _ in EXPRESSIONS
                if number == self.number
            }
            self.story["list"] = json.loads(self.student.lab.run("list", "--json"))
            self.story["queries"] = self.queries()
            self.student.does(f"workshop reset {self.number}")
            self.story["reset"] = self.report()
            self.story["workers"] = self.student.lab.prometheus.scalar('sum(up{job="worker"})')
        except Exception as error:  # told by the tests of this exercise; the others go on
            self.story["error"] = error
        return self.story

    def report_on_deeds(self) -> dict | None:
        """Return the report if it has what the check wants instead of the wrong deeds."""
        report, seen = self.report(), ATTEMPTS[self.number].seen
        return report if any(seen in result["expected"] for result in report["results"]) else None

    def queries(self) -> dict[str, str]:
        """Return what each query of the README gives."""
        shown = blocks(self.folder / "README.md", "promql")
        return {query: self.student.lab.run("query", query.strip(), code=None) for query in shown}


def tell(folder: Path, name: str, numbers: tuple[str, ...]) -> dict[str, Story]:
    with running(Lab(folder, name)) as lab:
        return {number: Tale(Student(lab), number).tell() for number in numbers}


@pytest.fixture(scope="session")
def stories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Story]:
    """The stories of all exercises, by number."""
    folder = tmp_path_factory.mktemp("labs")
    with ThreadPoolExecutor(len(SHARES)) as pool:
        shares = [pool.submit(tell, folder, f"share{i}", numbers) for i, numbers in enumerate(SHARES)]
        return {number: story for share in shares for number, story in share.result().items()}


@pytest.fixture
def story(request: pytest.FixtureRequest, stories: dict[str, Story]) -> Story:
    """The story of the exercise that the test is about; its end, if something went wrong, fails the test."""
    found = stories[request.param]
    if "error" in found:
        raise AssertionError(f"lab {request.param}: {found['error']}")
    return found
