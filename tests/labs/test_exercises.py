"""Each check fails before the work and after wrong attempts, and passes after what the README tells."""

import pytest

from tests.labs.attempts import ATTEMPTS, EXPRESSIONS
from tests.labs.student import LABS
from workshop.grading.exercises import Exercise

# The stories take some minutes, which count for the test that comes first.
pytestmark = pytest.mark.timeout(900)

NUMBERS = [folder.name[:2] for folder in LABS]
each_exercise = pytest.mark.parametrize("story", NUMBERS, indirect=True, ids=NUMBERS)
FOLDERS = dict(zip(NUMBERS, LABS, strict=True))


def states(report):
    return {result["name"]: result["state"] for result in report["results"]}


def test_every_exercise_has_its_wrong_attempts():
    assert list(ATTEMPTS) == NUMBERS
    for number, attempts in ATTEMPTS.items():
        assert attempts.wrong.keys() == Exercise(FOLDERS[number]).questions.keys()


@each_exercise
def test_the_check_fails_before_the_work(story):
    assert not story["before"]["passed"]
    questions = Exercise(FOLDERS[story["before"]["number"]]).questions
    assert {states(story["before"])[name] for name in questions} == {"failed"}


@each_exercise
def test_the_check_fails_after_doing_something_else(story):
    report = story["wrong deeds"]
    assert not report["passed"]
    (failed,) = {
        result["name"]: result
        for result in report["results"]
        if ATTEMPTS[report["number"]].seen in result["expected"]
    }.values()
    assert failed["state"] == "failed"
    assert failed["seen"]
    assert failed["query"]


@each_exercise
def test_the_check_fails_after_wrong_answers(story):
    report = story["wrong answers"]
    assert not report["passed"]
    for name in Exercise(FOLDERS[report["number"]]).questions:
        assert states(report)[name] == "failed"
        assert f"✗ question {name}\n" in story["printed"], "it was judged"


@each_exercise
def test_the_check_passes_after_what_the_readme_tells(story):
    assert [result for result in story["right"]["results"] if result["state"] != "passed"] == []
    assert story["right"]["passed"]
    (row,) = [row for row in story["list"] if row["number"] == story["right"]["number"]]
    assert row["state"] == "passed"


@pytest.mark.parametrize(
    ("story", "question", "expression", "good"),
    EXPRESSIONS,
    indirect=["story"],
    ids=[f"{number}-{expression}" for number, _, expression, _ in EXPRESSIONS],
)
def test_an_expression_is_judged_by_its_result(story, question, expression, good):
    printed = story["judged"][expression]
    assert printed.startswith(f"{'✓' if good else '✗'} question {question}"), printed
    assert "rate(dockercoins" not in printed.replace(expression, ""), "the answer is not given away"


@each_exercise
def test_every_query_of_the_readme_has_data(story):
    assert all(printed not in ("", "no data\n") for printed in story["queries"].values())
    assert not any("no PromQL" in printed for printed in story["queries"].values())


@each_exercise
def test_reset_brings_the_start_back(story):
    assert story["workers"] == 1
    assert not story["reset"]["passed"]
    assert states(story["reset"]) == states(story["before"])
