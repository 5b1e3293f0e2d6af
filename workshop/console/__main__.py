"""Run the console: `python -m workshop.console`."""

import argparse
import sys
from collections.abc import Sequence

from workshop.console.backends import Backends
from workshop.console.server import serve
from workshop.lab import load


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m workshop.console", description="The lab's own pages.")
    parser.add_argument("--port", type=int, default=8010, help="where to listen (%(default)s)")
    for name, url in (
        ("prometheus", "http://127.0.0.1:9090"),
        ("jaeger", "http://127.0.0.1:16686"),
        ("grafana", "http://127.0.0.1:3000"),
    ):
        parser.add_argument(f"--{name}", metavar="URL", default=url, help="its base URL (%(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; return the exit code."""
    options = _parser().parse_args(arguments)
    backends = Backends(options.prometheus, options.jaeger, options.grafana)
    return serve(options.port, backends, load())


if __name__ == "__main__":
    sys.exit(main())
