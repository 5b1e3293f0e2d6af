"""The benchmarks: `make bench`, or `python -m bench [NAME ...]`.

Prints a table for each one, and writes it as JSON and as a picture to bench/results/.
Exit codes: 0 each goal is met, 1 one is missed, 2 wrong use.
"""

import argparse
import importlib
import sys
from pathlib import Path

from bench.report import RESULTS

NAMES = ("loops",)


def main() -> int:
    """Run the benchmarks that the command line names; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(
        "python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)}; all by default")
    parser.add_argument("--short", action="store_true", help="a minute or so each; not for the documents")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where to write")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(unknown)}: {', '.join(NAMES)} is accepted")
    met = True
    for name in options.names or NAMES:
        benchmark = importlib.import_module(f"bench.{name}")
        report = benchmark.run(short=options.short)
        report.show()
        report.save(options.results, benchmark.draw)
        met &= all(goal.met for goal in report.goals)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
