"""What was measured while the machine stood still is measured once more; a process that is stopped tells."""

import signal
import subprocess
import sys
from time import monotonic

import pytest

from tests.support import poll_until
from workshop.lab import ROOT

MEASURING = """
import sys, time
from tests import standstill

def act():
    print("begun", flush=True)
    sys.stdin.readline()
    time.sleep(2 * standstill.TICK_SECONDS)
    {act}

standstill.watch()
try:
    print(standstill.undisturbed(act), len(standstill.told()), flush=True)
except ValueError:
    print("failed", flush=True)
"""


def carry_out(act, still):
    """Return what a process prints that measures, and for the first time stands still for so many seconds."""
    command = [sys.executable, "-c", MEASURING.format(act=act)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            printed = [process.stdout.readline()]
            stopped = monotonic()
            process.send_signal(signal.SIGSTOP)
            poll_until("the end of the standstill", lambda: monotonic() > stopped + still)
            process.send_signal(signal.SIGCONT)
            printed += process.communicate("\n\n")[0].splitlines(keepends=True)
        finally:
            process.kill()
    return "".join(printed).split("\n")[:-1]


@pytest.mark.parametrize(
    ("act", "still", "printed"),
    [
        ("return 1", 2, ["begun", "begun", "1 1"]),
        ("return 1", 0, ["begun", "1 0"]),
        ("raise ValueError", 2, ["begun", "begun", "failed"]),
        ("raise ValueError", 0, ["begun", "failed"]),
    ],
)
def test_what_was_disturbed_is_done_once_more(act, still, printed):
    assert carry_out(act, still) == printed
