"""webui: shows how fast DockerCoins mines, and how long rng and hasher take.

GET /           the page
GET /json       the counters now: {"coins": ..., "hashes": ..., "now": ...}
GET /history    the counters and the speed over the last 250 s, for the chart
GET /latency    the latencies of rng and hasher over the same time, from Prometheus

Times are in seconds since 1970, latencies in seconds, speeds in hashes per second.
"""

import time
from dataclasses import asdict, dataclass
from importlib.metadata import distribution
from pathlib import Path

from common.redis_client import connect
from common.server import Listen, answer_errors_in_one_line, read_listen, serve
from common.settings import read_count, read_url, run_service, telemetry_wanted
from flask import Flask, Response, jsonify, render_template, send_file

from webui.counters import Counters, CountersError
from webui.latency import LatencyQuery, PrometheusError
from webui.sampler import HISTORY, Sampler

# The chart library, as its Python package brings it. Importing that package would cost memory, for a file.
PLOTLY = distribution("plotly")
PLOTLY_JS = Path(str(PLOTLY.locate_file("plotly/package_data/plotly.min.js")))

# The page uses nothing but what this service itself serves, and holds no code or style. The exception is a
# style element that plotly.js makes for its maps: the hash is that of its text, for the plotly.js that is
# installed. (After an upgrade, the browser's console names the new one.)
PLOTLY_STYLE = "sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o="
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; "
    f"style-src 'self' '{PLOTLY_STYLE}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Settings:
    """What webui takes from its environment."""

    redis_url: str
    prometheus_url: str
    listen: Listen

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the settings; raises `SettingError` for one that is not usable."""
        return cls(
            redis_url=read_url("REDIS_URL", "redis://redis:6379", schemes=("redis",)),
            prometheus_url=read_url("PROMETHEUS_URL", "http://prometheus:9090"),
            listen=read_listen(
                # A reader on a slow line holds one while the chart library goes out.
                threads=read_count("WEBUI_THREADS", 64, minimum=1, maximum=1000, unit="threads")
            ),
        )


def create_app(counters: Counters, sampler: Sampler, latency: LatencyQuery) -> Flask:
    """Return the web application; it knows nothing of telemetry."""
    app = Flask("webui")

    @app.get("/")
    def index() -> str:
        return render_template("index.html", plotly_version=PLOTLY.version)

    @app.get("/json")
    def now() -> Response:
        reading = counters.read()
        return jsonify(coins=reading.coins, hashes=reading.hashes, now=reading.time)

    @app.get("/history")
    def history() -> Response:
        now = time.time()
        samples = sampler.since(now - HISTORY)
        return jsonify(
            now=now,
            error=sampler.error,
            time=[sample.reading.time for sample in samples],
            hashes=[sample.reading.hashes for sample in samples],
            coins=[sample.reading.coins for sample in samples],
            speed=[sample.speed for sample in samples],
        )

    @app.get("/latency")
    def latencies() -> Response:
        return jsonify(asdict(latency.read()))

    @app.get("/plotly.min.js")
    def plotly() -> Response:
        response = send_file(PLOTLY_JS, mimetype="text/javascript", max_age=365 * 24 * 60 * 60)
        response.cache_control.immutable = True  # the page asks for it by its version
        return response

    @app.errorhandler(CountersError)
    @app.errorhandler(PrometheusError)
    def unavailable(error: Exception) -> tuple[Response, int]:
        return jsonify(error=str(error)), 503

    @app.after_request
    def secure(response: Response) -> Response:
        response.headers.update(SECURITY_HEADERS)
        return response

    answer_errors_in_one_line(app)
    return app


def main() -> int:
    """Serve until SIGTERM."""
    settings = Settings.from_environment()
    redis = connect(settings.redis_url)
    counters = Counters(redis)
    sampler = Sampler(counters)
    latency = LatencyQuery(settings.prometheus_url)
    if telemetry_wanted():
        import telemetry
        from prometheus_client import REGISTRY
        from telemetry import http_server

        from webui.instrumented import CountersCollector, InstrumentedCounters

        telemetry.start("webui")
        app = create_app(InstrumentedCounters(redis), sampler, latency)
        http_server.instrument(app)
        REGISTRY.register(CountersCollector(counters))
    else:
        app = create_app(counters, sampler, latency)
    sampler.start()
    serve(app, settings.listen)
    return 0


if __name__ == "__main__":
    run_service(main)
