"""The command line that the benchmarks and the two trials have in common."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.report import RESULTS, Report


def parser(program: str, description: str | None, *, short: str) -> argparse.ArgumentParser:
    """Return a command line with what all have; `short` says how long a short run takes."""
    made = argparse.ArgumentParser(
        program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--short", action="store_true", help=f"{short}; not for the documents")
    made.add_argument(
        "--results", type=Path, metavar="FOLDER", help="where to write; with --short nowhere, if not said"
    )
    return made


def results_folder(command: argparse.ArgumentParser, options: argparse.Namespace) -> Path | None:
    """Return the folder for the results, made if it is missing; None if they are not to be kept.

    Ends the program, as wrong use, if it cannot be made.
    """
    folder: Path | None = options.results or (None if options.short else RESULTS)
    if folder:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            command.error(f"--results {folder}: {error.strerror}; a folder is accepted")
    return folder


def conclude(report: Report, folder: Path | None, draw: Callable[[Report, Any], None] | None = None) -> bool:
    """Show a report, and save it if there is a folder; return whether each goal is met."""
    report.show()
    if folder:
        report.save(folder, draw)
    return all(goal.met for goal in report.goals)
