"""What the two trials, `make soak` and `make chaos`, have in common."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.report import RESULTS, Report
from tests.live.conftest import Lab
from workshop.lab import LabError


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a command line with what both have."""
    made = argparse.ArgumentParser(
        f"python -m bench.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--short", action="store_true", help="a minute or two, for CI; not for the documents")
    made.add_argument(
        "--results", type=Path, metavar="FOLDER", help="where to write; with --short nowhere, if not said"
    )
    return made


@contextmanager
def started(lab: Lab, workers: int) -> Iterator[None]:
    """Run a lab for the time of the block; it is ended also after a Ctrl-C while it starts."""
    try:
        lab.run("up", "--workers", str(workers))
        yield
    finally:
        lab.run("down")


def conclude(command: argparse.ArgumentParser, options: argparse.Namespace, run: Callable[[], Report]) -> int:
    """Run a trial, and show and save its report; return 0 if each goal is met, else 1."""
    folder = options.results or (None if options.short else RESULTS)
    if folder:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            command.error(f"--results {folder}: {error.strerror}; a folder is accepted")
    try:
        report = run()
    except KeyboardInterrupt:
        print("interrupted; the lab is stopped", file=sys.stderr)
        return 1
    except (AssertionError, LabError) as error:  # a command of the lab failed, or the lab is gone
        print(error, file=sys.stderr)
        return 1
    report.show()
    if folder:
        report.save(folder)
    return 0 if all(goal.met for goal in report.goals) else 1
