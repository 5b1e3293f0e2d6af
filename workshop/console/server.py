"""The console's web server."""

import logging
import signal
import socket
import sys

from waitress.server import create_server  # type: ignore[import-untyped]

from workshop.console.app import create_app
from workshop.console.backends import Backends
from workshop.lab import Lab

HOST = "127.0.0.1"
# Each open dashboard asks for its panels one after the other; a page is quick.
THREADS = 4
# What is asked for is asked of a backend in turn, in up to eight times as many bytes: the embedded trace
# store takes 256 KiB, Prometheus and Jaeger 1 MiB.
MAX_HEADER_BYTES = 16 * 1024
# No page reads a body.
MAX_BODY_BYTES = 64 * 1024


def serve(port: int, backends: Backends, lab: Lab) -> int:
    """Serve on 127.0.0.1 until SIGTERM or Ctrl-C, then return 0; return 1 if the port cannot be had."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # Python says the address a second time
        print(f"console: cannot listen on {HOST}:{port}: {reason}", file=sys.stderr)
        return 1
    app = create_app(backends, lab)
    # It would write a line for each request that waits for a thread, however shortly.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = create_server(
        app,
        sockets=[listener],
        threads=THREADS,
        max_request_header_size=MAX_HEADER_BYTES,
        max_request_body_size=MAX_BODY_BYTES,
    )
    print(f"console: http://{HOST}:{server.effective_port}", flush=True)
    server.run()
    return 0
