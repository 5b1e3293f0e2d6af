"""What the two trials, `make soak` and `make chaos`, have in common."""

import argparse
import sys
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager

from bench.command import conclude, results_folder
from bench.report import Report
from tests.live.conftest import Lab
from workshop.lab import LabError


@contextmanager
def started(lab: Lab, workers: int) -> Iterator[None]:
    """Run a lab for the time of the block; it is ended also after a Ctrl-C while it starts."""
    try:
        lab.run("up", "--workers", str(workers))
        yield
    finally:
        lab.run("down")


def trace_backend(programs: Container[str]) -> str:
    """Return what takes the spans in a lab of these programs, in words."""
    return "Collector and Jaeger" if "otel-collector" in programs else "the embedded trace store"


def carry_out(
    command: argparse.ArgumentParser, options: argparse.Namespace, run: Callable[[], Report]
) -> int:
    """Run a trial, and show and save its report; return 0 if each goal is met, else 1."""
    folder = results_folder(command, options)
    try:
        report = run()
    except KeyboardInterrupt:
        print("interrupted; the lab is stopped", file=sys.stderr)
        return 1
    except (AssertionError, LabError) as error:  # a command of the lab failed, or the lab is gone
        print(error, file=sys.stderr)
        return 1
    return 0 if conclude(report, folder) else 1
