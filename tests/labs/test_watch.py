"""`workshop watch` and `check` on a lab: how quick they are, how they end, and what a terminal shows."""

import os
import pty
import re
import signal
import subprocess
import threading
from contextlib import contextmanager
from time import monotonic

from tests.live.conftest import WORKSHOP
from tests.live.conftest import lab as lab  # the fixture
from tests.support import poll_until
from workshop.grading.exercises import find
from workshop.lab import ROOT

# What a change may take until it is shown, and what a check may take.
SHOWN_SECONDS = 3
CHECK_SECONDS = 5


@contextmanager
def watching(lab):
    """Run `workshop watch`; yield the process and the list of its lines, which grows."""
    lines = []
    with subprocess.Popen(
        [WORKSHOP, "watch"],
        env={**os.environ, **lab.settings},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as watch:
        reader = threading.Thread(target=lambda: lines.extend(iter(watch.stdout.readline, "")))
        reader.start()
        try:
            yield watch, lines
        finally:
            watch.kill()
            reader.join()


def test_a_change_is_shown_within_3_s_and_ctrl_c_ends_it(lab):
    lab.run("reset", "01")
    with watching(lab) as (watch, lines):
        poll_until("the first state", lambda: any("one worker runs" in line for line in lines), 10)
        assert any("one worker runs" in line and "passed" in line for line in lines)
        poll_until("quiet", lambda: any("question coin-trace" in line for line in lines))
        before = len(lines)
        lab.run("scale", "worker=2")
        changed = monotonic()
        poll_until("the change", lambda: any("one worker runs" in line for line in lines[before:]), 10)
        assert monotonic() - changed < SHOWN_SECONDS
        assert [line for line in lines[before:] if "passed" in line] == []
        lab.run("scale", "worker=1")
        poll_until("the change back", lambda: "passed" in lines[-1])
        answered = len(lines)
        lab.run("answer", "01", "why", "b")
        poll_until("the answer", lambda: any("question why: passed" in line for line in lines[answered:]), 3)
        assert len(lines) - before < 10, "nothing is said twice"
        watch.send_signal(signal.SIGINT)
        assert watch.wait(5) == 0
        assert "Traceback" not in "".join(lines)


@contextmanager
def terminal(lab, *arguments):
    """Run a `workshop` command on a terminal; yield it, the keyboard, and what returns all that it showed."""
    ours, theirs = pty.openpty()
    shown = []
    with subprocess.Popen(
        [WORKSHOP, *arguments],
        env={**os.environ, **lab.settings, "TERM": "xterm-256color", "COLUMNS": "100"},
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as command:
        os.close(theirs)

        def read():
            while True:
                try:
                    data = os.read(ours, 10_000)
                except OSError:  # the other end is closed
                    return
                shown.append(data.decode(errors="replace"))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield command, ours, lambda: "".join(shown)
        finally:
            command.kill()
            command.wait()
            reader.join()
            os.close(ours)


def test_a_terminal_is_drawn_anew_and_left_tidy(lab):
    lab.run("reset", "01")
    with terminal(lab, "watch") as (watch, _, shown):
        poll_until("two pictures", lambda: shown().count("until Ctrl-C") >= 2, 15)
        assert "\x1b[32m✓" in shown(), "green"
        watch.send_signal(signal.SIGINT)
        assert watch.wait(5) == 0
        poll_until("the cursor", lambda: shown().rstrip().endswith("\x1b[?25h"))
        assert "Traceback" not in shown()


def test_questions_are_asked_on_a_terminal(lab):
    lab.run("reset", "01")
    with terminal(lab, "answer", "01", "why") as (answer, keyboard, shown):
        poll_until("the question", lambda: "one of a, b, c, d" in shown(), 10)
        assert "a)  the worker is fast in some seconds" in shown()
        os.write(keyboard, b"x\n")
        poll_until("what is accepted", lambda: "'x' is not usable: one of a, b, c, d is accepted" in shown())
        os.write(keyboard, b"b\n")
        assert answer.wait(10) == 0
        poll_until("the judgement", lambda: re.search(r"✓.* question why", shown()))


def test_a_check_answers_within_5_s_when_prometheus_hangs(lab):
    lab.run("pause", "prometheus")
    try:
        started = monotonic()
        printed = lab.run("check", "02", code=1)
        seconds = monotonic() - started
    finally:
        lab.run("resume", "prometheus")
    assert seconds < CHECK_SECONDS
    assert "does not answer within" in printed
    assert printed.count("\n") == 1


def test_a_check_answers_within_5_s(lab):
    for exercise in find():
        started = monotonic()
        lab.run("check", exercise.number, code=1)
        assert monotonic() - started < CHECK_SECONDS
