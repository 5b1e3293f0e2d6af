"""The progress of a student: one readable file beside the lab's folder, so it outlives the lab's data."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import time
from typing import Any

from workshop.files import write_json
from workshop.lab import Lab, LabError


@dataclass
class Answer:
    """An answer to a question: the last right one, else the last wrong one. `tries` counts both."""

    value: str
    right: bool
    time: float
    tries: int


@dataclass
class Record:
    """What a student did in one exercise; times are Unix times in seconds.

    `since` is the time from which work counts, after a reset. `passed` is the time at which all was good.
    """

    since: float = 0
    passed: float | None = None
    hints: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """How far it is: `open`, `begun` or `passed`."""
        if self.passed:
            return "passed"
        return "begun" if self.hints or self.answers else "open"

    @property
    def latest(self) -> float:
        """The Unix time at which it was worked on last: at a reset, an answer, or when it was passed."""
        return max(self.since, self.passed or 0, *(answer.time for answer in self.answers.values()))

    def right_answers(self) -> dict[str, tuple[str, float]]:
        """Return each question that is answered: the right answer, and its time."""
        return {name: (answer.value, answer.time) for name, answer in self.answers.items() if answer.right}

    def answer(self, question: str, value: str, *, right: bool) -> None:
        """Note an answer; a wrong one does not undo a right one."""
        before = self.answers.get(question)
        tries = before.tries + 1 if before else 1
        if before and before.right and not right:
            before.tries = tries
        else:
            self.answers[question] = Answer(value, right, time(), tries)


def file_of(lab: Lab) -> Path:
    """Return the file of a lab's progress."""
    return lab.state.with_name(f"{lab.project}.progress.json")


def read(lab: Lab) -> dict[str, Record]:
    """Return the records of a lab by the number of the exercise; raises `LabError` if the file is damaged."""
    file = file_of(lab)
    try:
        return {number: _record(fields) for number, fields in json.loads(file.read_text()).items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LabError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LabError(f"{file} is damaged ({error}): mend it, or move it away to start anew") from None


def of(lab: Lab, number: str) -> Record:
    """Return the record of one exercise, an empty one if nothing was done; raises `LabError` as `read`."""
    return read(lab).get(number, Record())


def _record(fields: dict[str, Any]) -> Record:
    answers = {name: Answer(**answer) for name, answer in fields.pop("answers").items()}
    return Record(**fields, answers=answers)


def write(lab: Lab, number: str, record: Record) -> None:
    """Store the record of an exercise; the others stay. The file is never half-written."""
    records = read(lab) | {number: record}
    write_json(file_of(lab), {each: asdict(records[each]) for each in sorted(records)})
