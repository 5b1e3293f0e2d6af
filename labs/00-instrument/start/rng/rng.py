"""rng: a web service that gives random bytes, after a small delay.

GET /32     32 random bytes
GET /       who is running here

It serves one request at a time (`RNG_THREADS=1`). That is the bottleneck of DockerCoins, and it is
deliberate.
"""

import os
import socket
import time
from dataclasses import dataclass

from common.server import Listen, answer_errors_in_one_line, read_listen, serve
from common.settings import read_count, read_number, run_service, telemetry_wanted
from flask import Flask, Response, abort

MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """What rng takes from its environment; `delay` in seconds."""

    delay: float
    listen: Listen

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the settings; raises `SettingError` for one that is not usable."""
        return cls(
            delay=read_number("RNG_DELAY", 0.1, minimum=0, maximum=60, unit="seconds"),
            listen=read_listen(threads=read_count("RNG_THREADS", 1, minimum=1, maximum=1000, unit="threads")),
        )


def create_app(settings: Settings) -> Flask:
    """Return the web application; it knows nothing of telemetry."""
    app = Flask("rng", static_folder=None)

    @app.get("/")
    def index() -> Response:
        return Response(f"RNG running on {socket.gethostname()}\n", content_type="text/plain")

    @app.get("/<int:size>")
    def random_bytes(size: int) -> Response:
        if size > MAX_BYTES:
            abort(400, f"{size} bytes are too many: GET /0 to GET /{MAX_BYTES} is accepted")
        time.sleep(settings.delay)
        return Response(os.urandom(size), content_type="application/octet-stream")

    answer_errors_in_one_line(app)
    return app


def main() -> int:
    """Serve until SIGTERM."""
    settings = Settings.from_environment()
    app = create_app(settings)
    if telemetry_wanted():
        pass  # nothing yet
    serve(app, settings.listen)
    return 0


if __name__ == "__main__":
    run_service(main)
