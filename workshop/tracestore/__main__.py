"""Run the trace store: `python -m workshop.tracestore`."""

import argparse
import logging
import signal
import socket
import sys
from collections.abc import Sequence

from waitress.server import create_server  # type: ignore[import-untyped]

from workshop.tracestore.app import MAX_BODY_BYTES, create_otlp_app, create_query_app
from workshop.tracestore.store import TraceStore


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 (any) to 65535 is accepted")
    return int(text)


def _count(text: str) -> int:
    # As in Jaeger, a search for more traces than can be there is refused; without a limit it is for 100.
    if not (text.isascii() and text.isdigit() and 100 <= int(text) <= 10_000_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of spans: 100 to 10000000 is accepted")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m workshop.tracestore", description="A small trace backend.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    parser.add_argument("--otlp-port", type=_port, default=4318, help="for spans, by OTLP/HTTP (%(default)s)")
    parser.add_argument("--query-port", type=_port, default=16686, help="for Jaeger's API (%(default)s)")
    parser.add_argument("--max-spans", type=_count, default=100_000, help="how many to keep (%(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C, then return 0; return 1 if an address cannot be had."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sockets = []
    for port in (options.otlp_port, options.query_port):
        try:
            sockets.append(socket.create_server((options.host, port)))
        except OSError as error:
            reason = str(error.strerror).partition(" (")[0]  # Python says the address a second time
            print(f"trace store: cannot listen on {options.host}:{port}: {reason}", file=sys.stderr)
            return 1
    # It would write a line for each request that waits for a thread, however shortly.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    otlp_socket, query_socket = sockets
    store = TraceStore(options.max_spans)
    # One loop for both: each server enters its sockets in the same map. Each has its own threads, so that a
    # slow query keeps no span waiting. The app says what is wrong with a body that is too large; one that is
    # larger still is not even read.
    common = {"map": {}, "threads": 4, "max_request_body_size": 2 * MAX_BODY_BYTES}
    otlp_server = create_server(create_otlp_app(store), sockets=[otlp_socket], **common)
    query_server = create_server(create_query_app(store), sockets=[query_socket], **common)
    print(
        f"trace store: spans in at http://{options.host}:{otlp_server.effective_port}/v1/traces,"
        f" Jaeger's query API at http://{options.host}:{query_server.effective_port}/api,"
        f" the newest {options.max_spans} spans kept",
        flush=True,
    )
    otlp_server.run()
    query_server.task_dispatcher.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
