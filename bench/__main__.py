"""The benchmarks: `make bench`, or `python -m bench [NAME ...]`.

Prints a table for each one, and writes it as JSON and as a picture to bench/results/; `make docs` then makes
docs/measurements.md of them. Exit codes: 0 each goal is met, 1 one is missed, 2 wrong use.
"""

import importlib
import sys

from bench.command import conclude, parser, results_folder

NAMES = ("loops", "parts", "steps", "workers", "spans", "searches", "start", "faults")


def main() -> int:
    """Run the benchmarks that the command line names; return 1 if a goal is missed."""
    command = parser("python -m bench", __doc__, short="a minute or so each")
    known = ", ".join(NAMES)
    command.add_argument("names", nargs="*", metavar="NAME", help=f"any of {known}; all by default")
    options = command.parse_args()
    if unknown := sorted(set(options.names) - set(NAMES)):
        command.error(f"there is no benchmark {', '.join(unknown)}: {known} is accepted")
    results = results_folder(command, options)
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
        met &= conclude(report, results, benchmark.draw)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
