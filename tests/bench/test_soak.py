"""`make soak`: what it reports, and a short one for real."""

import json
import mmap
import subprocess
import sys
from collections import Counter

import psutil
import pytest

from bench import soak
from workshop.lab import ROOT


def test_growth_is_that_of_the_most():
    assert soak.row("rng", [90_000_000, 100_000_000, 80_000_000], [95_000_000, 110_000_000]) == {
        "program": "rng", "warm": 100, "soak": 110, "growth": pytest.approx(0.1),
    }  # fmt: skip


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is of files")
def test_memory_is_that_which_is_not_of_files(tmp_path):
    me = psutil.Process()
    before = soak.not_of_files(me)
    for flags in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
        with mmap.mmap(-1, 32_000_000, flags | mmap.MAP_ANONYMOUS) as memory:
            memory.write(bytes(32_000_000))
            assert (
                31e6 < soak.not_of_files(me) - before < 70e6
            )  # the bytes that were written may be there still
    file = tmp_path / "file"
    file.write_bytes(bytes(32_000_000))
    before = soak.not_of_files(me)
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as memory:
        assert sum(memory[:: mmap.PAGESIZE]) == 0
        assert me.memory_info().rss - before > 31e6
        assert soak.not_of_files(me) - before < 5e6


def test_no_span_at_all_is_no_success():
    assert [goal.met for goal in soak.goals_of_spans(exported=0, lost=Counter())] == [False, True]
    goals = soak.goals_of_spans(exported=10, lost=Counter({"the queue of a service was full": 3}))
    assert [goal.met for goal in goals] == [True, False]
    assert goals[1].text == "spans lost (the queue of a service was full: 3)"


def test_a_short_soak(tmp_path):
    command = [sys.executable, "-m", "bench.soak", "--short", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    programs = {row["program"] for row in json.loads((tmp_path / "soak.json").read_text())["rows"]}
    assert {"redis", "rng", "hasher", "webui", "worker-1", "prometheus", "jaeger", "supervisor"} <= programs
