"""hasher: a web service that computes SHA-256, after a small delay.

POST /      the SHA-256 of the body, in hex
GET /       who is running here

It serves many requests at a time.
"""

import hashlib
import socket
import time
from dataclasses import dataclass

from common.server import Listen, answer_errors_in_one_line, read_listen, serve
from common.settings import read_count, read_number, run_service, telemetry_wanted
from flask import Flask, Response, abort, request

MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """What hasher takes from its environment; `delay` in seconds."""

    delay: float
    listen: Listen

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the settings; raises `SettingError` for one that is not usable."""
        return cls(
            delay=read_number("HASHER_DELAY", 0.1, minimum=0, maximum=60, unit="seconds"),
            listen=read_listen(
                threads=read_count("HASHER_THREADS", 64, minimum=1, maximum=1000, unit="threads")
            ),
        )


def create_app(settings: Settings) -> Flask:
    """Return the web application; it knows nothing of telemetry."""
    app = Flask("hasher", static_folder=None)

    @app.get("/")
    def index() -> Response:
        return Response(f"HASHER running on {socket.gethostname()}\n", content_type="text/plain")

    @app.post("/")
    def sha256() -> Response:
        # One byte more than is accepted: of a body that does not tell its length beforehand, Flask silently
        # drops what is over this limit, and the hash of a part would look as good as any other.
        request.max_content_length = MAX_BYTES + 1
        told = request.content_length or 0
        body = request.get_data(cache=False) if told <= MAX_BYTES else b""
        if max(told, len(body)) > MAX_BYTES:
            abort(413, f"the body is too large: up to {MAX_BYTES} bytes are accepted")
        time.sleep(settings.delay)
        return Response(hashlib.sha256(body).hexdigest(), content_type="text/plain")

    answer_errors_in_one_line(app)
    return app


def main() -> int:
    """Serve until SIGTERM."""
    settings = Settings.from_environment()
    app = create_app(settings)
    if telemetry_wanted():
        import telemetry
        from telemetry import http_server

        telemetry.start("hasher")
        http_server.instrument(app)
    serve(app, settings.listen)
    return 0


if __name__ == "__main__":
    run_service(main)
