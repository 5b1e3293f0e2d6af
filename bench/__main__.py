"""The benchmarks: `make bench`, or `python -m bench [NAME ...]`.

Prints a table for each one, and writes it as JSON and as a picture to bench/results/; `make docs` then makes
docs/measurements.md of them. Exit codes: 0 each goal is met, 1 one is missed, 2 wrong use.
"""

import argparse
import importlib
import sys
from pathlib import Path

from bench.report import RESULTS

NAMES = ("loops", "steps", "workers", "spans", "searches", "start", "faults")


def main() -> int:
    """Run the benchmarks that the command line names; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(
        "python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)}; all by default")
    parser.add_argument("--short", action="store_true", help="a minute or so each; not for the documents")
    parser.add_argument(
        "--results", type=Path, metavar="FOLDER", help="where to write; with --short nowhere, if not said"
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(NAMES)):
        parser.error(f"there is no benchmark {', '.join(unknown)}: {', '.join(NAMES)} is accepted")
    results = options.results or (None if options.short else RESULTS)
    if results:
        try:
            results.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"--results {results}: {error.strerror}; a folder is accepted")
    met = True
    for name in options.names or NAMES:
        benchmark = importlib.import_module(f"bench.{name}")
        try:
            report = benchmark.run(short=options.short)
        except KeyboardInterrupt:
            print("interrupted; what it started is stopped", file=sys.stderr)
            return 1
        except AssertionError as error:  # a command of the lab failed
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        report.show()
        if results:
            report.save(results, benchmark.draw)
        met &= all(goal.met for goal in report.goals)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
