"""Grading: exercises, answers and progress. The live tests in tests/labs judge on running labs."""

import json
import math
import os
import subprocess
from dataclasses import replace
from time import time
from types import SimpleNamespace

import pytest
import requests

from tests.live.conftest import WORKSHOP
from tests.spans import new_trace_id, request, resource_spans, span
from tests.unit.test_tracestore_process import running as running_store
from workshop.clients import Jaeger, Prometheus, Series
from workshop.grading import exercises, grade, progress, promql
from workshop.grading.alerts import FEWEST_MOMENTS, Replay, recorded, replay
from workshop.grading.answers import Expected, choice, number, text, trace
from workshop.grading.checks import Check, Failed, Waiting, check, run_all
from workshop.grading.history import Period
from workshop.grading.live import Live
from workshop.grading.progress import Record
from workshop.lab import ROOT, LabError, SettingError

NOBODY = "http://127.0.0.1:9"
NOWHERE = Live(Prometheus(NOBODY), Jaeger(NOBODY), lambda name: [], since=0)


@pytest.fixture
def lab(tmp_path):
    """What progress needs of a lab: its name and its folder."""
    return SimpleNamespace(project="test", state=tmp_path / "state" / "test")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of an exercise of this test's own, the only one there is."""
    monkeypatch.setattr(exercises, "LABS", tmp_path / "labs")
    folder = tmp_path / "labs" / "07-test"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# Lab 07: a title\n\nTime: 20 minutes.\n")
    (folder / "hints.md").write_text("# Hints\n\n## One\n\nfirst\n\n## Two\n\nsecond\n")
    (folder / "solution.md").write_text("# Solution\n\nso\n")
    (folder / "check.py").write_text(
        "from workshop.grading.answers import choice\n"
        "from workshop.grading.checks import check\n"
        '@check("all is well")\n'
        "def well(live):\n"
        "    return 'it is'\n"
        '@choice("Which?", a="this", b="that")\n'
        "def which_one(live):\n"
        "    return 'b'\n"
    )
    return folder


def workshop(folder, *arguments, code):
    """Run `workshop` where no lab runs; return what it prints."""
    done = subprocess.run(
        [WORKSHOP, *arguments],
        env={**os.environ, "WORKSHOP_STATE": str(folder), "COMPOSE_PROJECT_NAME": "grading"},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == code, printed
    assert "Traceback" not in printed
    return printed


# ---- numbers


def three(tolerance):
    @number("How many?", unit="s")
    def how_many(live):
        return Expected(3, tolerance, "three, more or less", "up")

    return how_many


@pytest.mark.parametrize("value", ["3", "2.9", "3.1", " 3.10 ", "3s", "3 s"])
def test_a_number_within_the_tolerance(value):
    assert three(0.1).answer(value, NOWHERE).state == "passed"


@pytest.mark.parametrize("value", ["2.899", "3.101", "-3", "30"])
def test_a_number_outside_of_the_tolerance(value):
    found = three(0.1).answer(value, NOWHERE)
    assert found.state == "failed"
    assert found.expected == "three, more or less"
    assert value in found.seen
    assert found.query == "up"
    assert "3.0" not in found.expected + found.query, "the answer is not given away"


@pytest.mark.parametrize("value", ["abc", "", "nan", "inf", "3,1", "3 ms"])
def test_what_is_no_number(value):
    with pytest.raises(SettingError, match=r"a number, in s like 12\.3 is accepted"):
        three(0.1).answer(value, NOWHERE)


def test_a_number_of_tolerance_zero_is_exact():
    assert three(0).answer("3", NOWHERE).state == "passed"
    assert three(0).answer("3.01", NOWHERE).state == "failed"


# ---- choices and texts


@choice("Which?", a="this", b="that")
def which_one(live):
    return "b"


@pytest.mark.parametrize(
    ("value", "state"), [("b", "passed"), ("B", "passed"), ("b)", "passed"), ("a", "failed")]
)
def test_a_choice(value, state):
    assert which_one.answer(value, NOWHERE).state == state


@pytest.mark.parametrize("value", ["c", "", "ab", "that"])
def test_what_is_no_choice(value):
    with pytest.raises(SettingError, match="one of a, b is accepted"):
        which_one.answer(value, NOWHERE)


def test_the_name_of_a_function_is_that_of_the_question():
    assert which_one.name == "which-one"


def test_a_text_is_judged_by_its_function():
    @text("Which coin?", accepts="a coin")
    def coin(value, live):
        if value not in live.keys("wallet"):
            raise Failed("a coin", "none")
        return value

    rich = Live(Prometheus(NOBODY), Jaeger(NOBODY), lambda name: ["0a"], since=0)
    assert coin.answer("0a", rich).state == "passed"
    assert coin.answer("0a", NOWHERE).state == "failed"


# ---- traces


@trace("A trace with a loop")
def looping(live, trace):
    if not any(span["operationName"] == "loop" for span in trace["spans"]):
        raise Failed("a loop", "none")
    return "a loop"


@pytest.mark.parametrize("value", ["", "abc", "0" * 31, "0" * 33, "g" * 32, "../../api/services"])
def test_what_is_no_trace_id(value):
    with pytest.raises(SettingError, match="32 hexadecimal digits are accepted"):
        looping.answer(value, NOWHERE)


def test_a_trace_is_fetched_and_looked_at(tmp_path):
    loop, other = new_trace_id(), new_trace_id()
    spans = [span("loop", trace_id=loop), span("GET", trace_id=other)]
    with running_store(tmp_path) as (_, otlp, query):
        requests.post(otlp, json=request(resource_spans("worker", *spans)), timeout=5).raise_for_status()
        live = Live(Prometheus(NOBODY), Jaeger(query.removesuffix("/api")), lambda name: [], since=0)
        assert looping.answer(loop, live).state == "passed"
        assert looping.answer(loop.upper(), live).state == "passed"
        assert looping.answer(other, live).state == "failed"
        unknown = looping.answer(new_trace_id(), live)
        assert unknown.state == "failed"
        assert "none with this ID" in unknown.seen


# ---- PromQL: how two results are compared. That Prometheus gives them is for the live tests.


def series(values, **labels):
    return Series(labels, {1000.0 + 2 * i: value for i, value in enumerate(values)})


def agreement(seen, expected, by=()):
    return promql._agreement(promql._by(seen, by), promql._by(expected, by))


STEADY, RAMP = [3.2] * 60, [3.2] * 30 + [3.2 + 0.4 * i for i in range(15)] + [9.6] * 15


@pytest.mark.parametrize(
    ("seen", "good"),
    [
        (RAMP, True),
        ([value * 1.049 for value in RAMP], True),
        ([value * 1.06 for value in RAMP], False),
        ([RAMP[0], *RAMP[:-1]], True),  # a recording rule is one evaluation late
        ([RAMP[0]] * 8 + RAMP[:-8], False),  # a longer window is later
        (STEADY, False),
        ([-value for value in RAMP], False),
    ],
)
def test_values_agree_within_the_tolerance(seen, good):
    share = agreement([series(seen)], [series(RAMP)])
    assert (share >= promql.AGREEMENT) is good


def test_labels_that_do_not_matter_are_ignored():
    assert agreement([series(STEADY, job="worker")], [series(STEADY)]) == 1


def test_each_series_counts():
    two = [series(STEADY, instance="a"), series(RAMP, instance="b")]
    assert agreement(two, two, by=("instance",)) == 1
    assert agreement(two[:1], two, by=("instance",)) < promql.AGREEMENT
    with pytest.raises(ValueError, match="''"):
        promql._by(two, ("job",))


def test_a_value_where_the_reference_has_none_is_no_agreement():
    nothing = [float("nan")] * 30 + [1.0] * 30
    assert agreement([series(nothing)], [series(nothing)]) == 1
    assert agreement([series([0.0] * 30 + [1.0] * 30)], [series(nothing)]) < 0.6


# ---- alerts: what is made of the times at which one fires. That Prometheus tells them is for the live tests.

# A failure from 100 to 130; the alert fires from 112 to 138.
SEEN = Replay("errors > 1", [float(time) for time in range(60, 200, 2)], frozenset(range(112, 139, 2)))


def test_an_alert_that_fires_in_time():
    SEEN.must_fire(100, 112, "a result within 12 s")
    with pytest.raises(Failed) as failure:
        SEEN.must_fire(100, 111, "a result within 11 s")
    assert (failure.value.expected, failure.value.seen) == ("a result within 11 s", "none in 11 s")
    assert failure.value.query == SEEN.expression


def test_an_alert_that_is_quiet():
    SEEN.must_be_quiet(SEEN.within(60, 110), "no result before")
    SEEN.must_be_quiet(SEEN.outside([(100, 138)]), "no result while all is healthy")
    with pytest.raises(Failed) as failure:
        SEEN.must_be_quiet(SEEN.within(130, 149), "no result afterwards")
    assert failure.value.seen == "one for 10 s of 20 s", "at 130, 132, 134, 136 and 138 of ten moments"


def test_too_little_healthy_time_is_waited_for():
    healthy = SEEN.outside([(60, 100), (112, 300)])
    assert healthy == [102, 104, 106, 108, 110]
    assert len(healthy) == FEWEST_MOMENTS
    with pytest.raises(Waiting) as waiting:
        SEEN.outside([(60, 104), (112, 300)])
    assert waiting.value.seconds == 4, "two moments are missing"


def test_prometheus_is_not_asked_where_there_is_no_moment():
    """Right after a reset: an end before the start is a mistake for Prometheus, and nobody is there here."""
    assert replay(NOWHERE, "up", 1000.5, 1001.5).moments == []
    assert recorded(replace(NOWHERE, now=1001.5), "up", 1000.5) == {}


def test_a_window_since_the_work_counts_is_exact():
    """A window in whole seconds would begin 0.4 s too late, or 0.4 s too early."""
    since = exercises.load(ROOT / "labs/03-counters/check.py").since
    assert since(replace(NOWHERE, since=1000.5, now=1009.9)) == "[9400ms]"
    assert since(replace(NOWHERE, since=1000.5, now=1010.1)) == "[9600ms]"


def test_a_prediction_just_before_the_failure_counts():
    """What failed first did so at any moment of the two seconds after the start."""
    failure = exercises.load(ROOT / "labs/13-slo/check.py").Failure(1000, 1010)
    assert [failure.had_begun(when) for when in (999, 1001.9, 1002, 1005)] == [False, False, True, True]


# Lab 13: of 10 requests in 2 s 3 fail, which is a burn rate of 30. So 10 % of the budget of 2 hours are 24 s.
@pytest.mark.parametrize(("seconds", "dear"), [(6, math.inf), (22, math.inf), (26, 26), (40, 26)])
def test_what_a_failure_costs(seconds, dear):
    failure = exercises.load(ROOT / "labs/13-slo/check.py").Failure(0, 0)
    for end in range(2, seconds + 1, 2):
        failure = failure.longer(end, 10, 3)
    assert failure.seconds == seconds
    assert failure.cost == pytest.approx(seconds / 240)
    assert (failure.requests, failure.failed) == (5 * seconds, 1.5 * seconds)
    # The sum of twelve binary fractions may be just below 10 % at 24 s.
    assert failure.dear == dear or (dear == 26 and failure.dear == 24)


# ---- checks


@check("good")
def good(live):
    return "seen"


@check("bad")
def bad(live):
    raise Failed("this", "that", "up")


@check("early")
def early(live):
    raise Waiting("data", 11.6)


def test_what_comes_of_checks():
    found = run_all([good, bad, early], NOWHERE)
    assert [(result.name, result.state) for result in found] == [
        ("good", "passed"),
        ("bad", "failed"),
        ("early", "waiting"),
    ]
    assert (found[1].expected, found[1].seen, found[1].query) == ("this", "that", "up")
    assert found[2].seen == "data: 12 s to go"
    assert run_all([], NOWHERE) == []


def test_a_backend_that_is_away_is_an_error_of_its_own():
    away = Check("away", "away", lambda live: str(live.prometheus.scalar("up")))
    with pytest.raises(LabError, match="cannot be reached"):
        run_all([good, away], NOWHERE)


def test_a_period_that_was_long_enough_stays_so_when_it_ends():
    going_on = Period(2, start=0, end=35, goes_on=True)
    over = Period(2, start=0, end=35, goes_on=False)
    assert (going_on.seconds, over.seconds) == (30, 25)


# ---- exercises


def test_an_exercise_is_found_by_its_number(folder):
    for name in ("7", "07", "07-test"):
        assert exercises.choose(name).title == "a title"
    assert exercises.choose("7").minutes == 20
    with pytest.raises(SettingError, match="there is no lab '8': 07 is accepted"):
        exercises.choose("8")


def test_an_unknown_question_names_those_that_there_are(folder):
    with pytest.raises(SettingError, match="lab 07 has no question 'what': which-one is accepted"):
        exercises.choose("7").question("what")


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("def well(:\n", "check.py, line 1: invalid syntax"),
        ("\nimport nothing_of_this_name\n", "check.py, line 2: ModuleNotFoundError: No module named"),
        ("\n\n1 / 0\n", "check.py, line 3: ZeroDivisionError: division by zero"),
    ],
)
def test_a_check_that_cannot_be_loaded_is_one_line(folder, code, complaint):
    (folder / "check.py").write_text(code)
    with pytest.raises(LabError) as error:
        _ = exercises.choose("7").checks
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_a_page_that_is_missing_is_one_line(folder):
    (folder / "solution.md").unlink()
    with pytest.raises(LabError, match=r"solution.md cannot be read: No such file"):
        _ = exercises.choose("7").solution


# ---- hints and solutions


def test_hints_come_in_order_and_the_last_one_stays(lab, folder):
    exercise = exercises.choose("7")
    hints = [grade.next_hint(lab, exercise) for _ in range(3)]
    assert hints == [(1, 2, "first"), (2, 2, "second"), (2, 2, "second")]
    assert progress.read(lab)["07"].hints == 2


def test_the_solution_is_locked_until_the_exercise_is_passed(lab, folder):
    exercise = exercises.choose("7")
    with pytest.raises(LabError, match="lab 07 is not passed yet"):
        grade.solution(lab, exercise, spoil=False)
    assert "so" in grade.solution(lab, exercise, spoil=True)
    progress.write(lab, "07", Record(passed=time()))
    assert "so" in grade.solution(lab, exercise, spoil=False)


# ---- progress


def test_progress_is_kept_in_a_readable_file_beside_the_data(lab):
    record = Record(since=5, hints=1)
    record.answer("q", "1", right=False)
    record.answer("q", "2", right=True)
    progress.write(lab, "02", record)
    progress.write(lab, "01", Record(passed=7))
    file = progress.file_of(lab)
    assert not file.is_relative_to(lab.state), "`down --volumes` removes that folder"
    assert list(json.loads(file.read_text())) == ["01", "02"]
    assert progress.read(lab) == {"01": Record(passed=7), "02": record}
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_wrong_answer_does_not_undo_a_right_one():
    record = Record()
    for value, right in (("1", False), ("2", True), ("3", False)):
        record.answer("q", value, right=right)
    answer = record.answers["q"]
    assert (answer.value, answer.right, answer.tries) == ("2", True, 3)
    assert record.right_answers() == {"q": ("2", answer.time)}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"02": 1}', '{"02": {"hints": 1}}', '{"02": {"answers": {"q": {}}}}']
)
def test_a_damaged_file_is_one_line_and_stays_as_it_is(lab, text):
    file = progress.file_of(lab)
    file.parent.mkdir(parents=True)
    file.write_text(text)
    for action in (lambda: progress.read(lab), lambda: progress.write(lab, "01", Record())):
        with pytest.raises(LabError) as error:
            action()
        assert "is damaged" in str(error.value)
        assert "\n" not in str(error.value)
    assert file.read_text() == text


def test_one_may_join_anywhere(lab):
    """What comes next is what was worked on last, or if that is passed, the next one that is not."""
    numbers = [exercise.number for exercise in exercises.find()]
    assert grade.current(lab).number == numbers[0] == "00"
    progress.write(lab, "06", Record(since=5))
    assert grade.current(lab).number == "06"
    progress.write(lab, "06", Record(since=5, passed=6))
    assert grade.current(lab).number == "07"
    record = Record()
    record.answer("why", "a", right=False)
    progress.write(lab, "02", record)
    assert grade.current(lab).number == "02"
    progress.write(lab, numbers[-1], Record(since=1, passed=time() + 60))
    assert grade.current(lab).number == "00", "the others come again"
    for each in numbers:
        progress.write(lab, each, Record(since=7))  # `reset --all`
    assert grade.current(lab).number == "00"
    for each in numbers:
        progress.write(lab, each, Record(passed=7))
    assert grade.current(lab) is None


# ---- the commands, where no lab runs


def test_list_and_next(tmp_path):
    rows = json.loads(workshop(tmp_path, "list", "--json", code=0))
    assert [row["number"] for row in rows][:2] == ["00", "01"]
    assert rows[0]["current"]
    assert rows[0]["state"] == "open"
    printed = workshop(tmp_path, "list", code=0)
    assert all(row["title"] in printed for row in rows)
    assert "\x1b" not in printed  # no colours where there is no terminal
    assert f"read {rows[0]['folder']}/README.md" in workshop(tmp_path, "next", code=0)


@pytest.mark.parametrize("command", ["check", "watch", "reset", "query up", "answer 02 why c"])
def test_a_lab_that_does_not_run_is_one_line(tmp_path, command):
    printed = workshop(tmp_path, *command.split(), code=1)
    assert printed.startswith("the lab 'grading' is not running: ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("command", ["check 77", "answer 77", "hint 77", "solution 77", "reset 77"])
def test_an_unknown_lab_names_those_that_there_are(tmp_path, command):
    printed = workshop(tmp_path, *command.split(), code=2)
    assert printed.startswith("there is no lab '77': 00, 01")
    assert printed.count("\n") == 1


def test_answers_are_asked_for_on_a_terminal_only(tmp_path):
    printed = workshop(tmp_path, "answer", "02", code=2)
    assert "QUESTION is one of twice, ten-times" in printed
    assert "lab 02 has no question 'what'" in workshop(tmp_path, "answer", "02", "what", "1", code=2)


def test_hints_and_the_solution_as_text(tmp_path):
    assert workshop(tmp_path, "hint", "02", code=0).startswith("**Hint 1 of ")
    assert workshop(tmp_path, "hint", "2", code=0).startswith("**Hint 2 of ")
    assert "not passed yet" in workshop(tmp_path, "solution", "02", code=1)
    assert workshop(tmp_path, "solution", "02", "--spoil", code=0).startswith("# Solution of lab 02")


def test_a_damaged_progress_file_is_one_line(tmp_path):
    (tmp_path / "grading.progress.json").write_text("{")
    assert "grading.progress.json is damaged" in workshop(tmp_path, "list", code=1)
