"""The state of one exercise: its checks on the live system, and its questions."""

from time import time

from workshop.grading import live, progress
from workshop.grading.answers import Question
from workshop.grading.checks import Result, run_all
from workshop.grading.exercises import Exercise, find
from workshop.grading.progress import Record
from workshop.lab import Lab, LabError


def current(lab: Lab) -> Exercise | None:
    """Return the exercise that was worked on last; if it is passed, the next one that is not.

    So one may join anywhere. Before any work it is the first one, and None when all are passed.
    """
    records, exercises = progress.read(lab), find()
    latest = max(records, key=lambda number: records[number].latest, default="")
    following = [each for each in exercises if each.number >= latest]
    before = [each for each in exercises if each.number < latest]
    return next((each for each in following + before if not records.get(each.number, Record()).passed), None)


def look(lab: Lab, exercise: Exercise) -> live.Live:
    """Return the running lab as the checks of an exercise may see it; raises `LabError` without one."""
    record = progress.of(lab, exercise.number)
    return live.connect(lab, record.since, record.right_answers())


def grade(lab: Lab, exercise: Exercise) -> list[Result]:
    """Check an exercise; note it as passed if all of it is good.

    Raises `LabError` if the lab does not run or a backend does not answer.
    """
    results = run_all(exercise.checks, look(lab, exercise))
    record = progress.of(lab, exercise.number)
    results += [state_of(question, record) for question in exercise.questions.values()]
    if not record.passed and all(result.state == "passed" for result in results):
        record.passed = time()
        progress.write(lab, exercise.number, record)
    return results


def state_of(question: Question, record: Record) -> Result:
    """Return whether a question is answered; it was judged when the answer was given."""
    title = f"question {question.name}"
    answer = record.answers.get(question.name)
    if answer and answer.right:
        return Result(question.name, title, "passed", f"your answer: {answer.value}")
    seen = f"your answer {answer.value!r} is not right" if answer else "no answer yet"
    return Result(question.name, title, "failed", seen)


def answer(lab: Lab, exercise: Exercise, question: Question, value: str) -> Result:
    """Judge an answer and note it, unless there is not enough data to judge it.

    Raises `SettingError` for what is no answer, `LabError` if the lab does not run.
    """
    found = question.answer(value, look(lab, exercise))
    if found.state != "waiting":
        record = progress.of(lab, exercise.number)
        record.answer(question.name, value, right=found.state == "passed")
        progress.write(lab, exercise.number, record)
    return found


def next_hint(lab: Lab, exercise: Exercise) -> tuple[int, int, str]:
    """Return the next hint, with its number and how many there are; the last one again and again."""
    hints = exercise.hints
    if not hints:
        raise LabError(f"lab {exercise.number} has no hints")
    record = progress.of(lab, exercise.number)
    record.hints = min(record.hints + 1, len(hints))
    progress.write(lab, exercise.number, record)
    return record.hints, len(hints), hints[record.hints - 1]


def solution(lab: Lab, exercise: Exercise, *, spoil: bool) -> str:
    """Return the solution of an exercise; raises `LabError` before it is passed, unless `spoil`."""
    if not spoil and not progress.of(lab, exercise.number).passed:
        raise LabError(
            f"lab {exercise.number} is not passed yet: `workshop hint {exercise.number}` helps, "
            f"and `workshop solution {exercise.number} --spoil` shows the solution all the same"
        )
    return exercise.solution
