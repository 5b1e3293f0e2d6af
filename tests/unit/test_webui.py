"""webui: its JSON, the speed, and what it says while Redis or Prometheus is away."""

import json
import math
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import redis
import requests
from common.redis_client import connect
from common.server import Listen
from common.settings import SettingError
from prometheus_client import REGISTRY, CollectorRegistry
from webui.counters import Counters, Reading
from webui.instrumented import CountersCollector, InstrumentedCounters
from webui.latency import LatencyQuery
from webui.sampler import OUTAGE, SETTLING, SHORTEST_WINDOW, WINDOW, Sampler, Speedometer
from webui.webui import Settings, create_app

from tests.support import (
    free_ports,
    listens,
    poll_until,
    process,
    redis_process,
    samples,
    service_environment,
    web_service,
)


def readings(counter, seconds, phase=0.0):
    """Return one reading a second of a counter, a function of the time."""
    return [Reading(second + phase, counter(second + phase), coins=0) for second in range(1, seconds)]


def worker_counter(loop, start=0.0):
    """Return the counter of one worker, which adds its loops when a second has passed since it last did."""
    loops = math.ceil(1 / loop)

    def counter(now):
        return max(0, math.floor((now - start) / (loops * loop))) * loops

    return counter


def speeds(all_readings):
    speedometer = Speedometer()
    return [speedometer.update(reading) for reading in all_readings]


# --- the speed


def test_the_derivation_of_the_error():
    times = range(-10, 11)
    assert sum(t * t for t in times) == 770
    assert sum(abs(t) for t in times) == 110
    assert round(4 / math.sqrt(12) / math.sqrt(770), 2) == 0.04
    assert round(4 / 2 * 110 / 770, 2) == 0.29


def errors_of_one_worker(loop):
    known = [speeds(readings(worker_counter(loop), 250, phase / 10))[WINDOW:] for phase in range(10)]
    return [speed - 1 / loop for found in known for speed in found]


@pytest.mark.parametrize("loop", [0.25, 0.3, 0.31, 0.32, 0.33, 0.334])
def test_the_speed_of_one_worker_stays_within_the_derived_error(loop):
    assert max(map(abs, errors_of_one_worker(loop))) <= 0.29


@pytest.mark.parametrize("loop", [0.305, 0.31, 0.315, 0.32])
def test_the_speed_of_one_worker_has_the_derived_standard_deviation(loop):
    assert math.sqrt(statistics.mean(error**2 for error in errors_of_one_worker(loop))) <= 0.042


def test_the_speed_of_ten_workers_stays_within_one_percent():
    workers = [worker_counter(1.0, start=number / 10) for number in range(10)]
    known = speeds(readings(lambda now: sum(counter(now) for counter in workers), 250))[WINDOW:]
    assert all(speed == pytest.approx(10, rel=0.01) for speed in known)


def test_no_speed_is_shown_before_it_can_be_known():
    found = speeds(readings(worker_counter(0.31), 30))
    assert found[:SHORTEST_WINDOW] == [None] * SHORTEST_WINDOW
    assert None not in found[SHORTEST_WINDOW:]


def test_a_speed_of_zero_is_a_speed():
    assert speeds(readings(lambda now: 100, 30))[-1] == 0


def test_a_counter_that_falls_starts_the_window_anew():
    before = readings(lambda now: int(1000 + 10 * now), 60)
    after = [Reading(r.time + 60, r.hashes, 0) for r in readings(lambda now: int(10 * now), 60)]
    found = speeds(before + after)[len(before) :]
    assert found[:SHORTEST_WINDOW] == [None] * SHORTEST_WINDOW
    assert all(speed == pytest.approx(10) for speed in found[SHORTEST_WINDOW:])


@pytest.mark.parametrize("away", [4, 19, 60])
@pytest.mark.parametrize("handed_in_late", [0, 5, 11])
def test_no_spike_after_an_outage(away, handed_in_late):
    """What ten workers counted while Redis was away comes in all at once, at their own next try."""

    def counter(now):
        return 10 * int(100 if 100 <= now < 100 + away + handed_in_late else now)

    found = speeds([r for r in readings(counter, 250) if not 100 < r.time < 100 + away])
    after = found[100:]
    assert after[:SETTLING] == [None] * SETTLING
    assert None not in after[SETTLING + SHORTEST_WINDOW :]
    assert all(speed == pytest.approx(10, rel=0.01) for speed in after if speed is not None)


def test_a_reading_or_two_that_fail_leave_no_gap():
    found = speeds([r for r in readings(worker_counter(0.31), 60) if not 40 < r.time < 40 + OUTAGE])
    assert None not in found[SHORTEST_WINDOW:]


def test_a_clock_that_was_set_back_starts_the_window_anew():
    late = [Reading(r.time + 3600, r.hashes, 0) for r in readings(lambda now: int(10 * now), 60)]
    found = speeds(late + readings(lambda now: int(600 + 10 * now), 60))[len(late) :]
    assert found[: SETTLING + SHORTEST_WINDOW] == [None] * (SETTLING + SHORTEST_WINDOW)
    assert found[-1] == pytest.approx(10)


# --- the application, with a real Redis


class NoPrometheus(LatencyQuery):
    """Asks a port where nobody listens."""

    def __init__(self):
        super().__init__(f"http://127.0.0.1:{free_ports(1)[0]}")


@contextmanager
def application(url):
    """The application's test client and its sampler, which the test itself lets read."""
    with connect(url) as client:
        counters = Counters(client)
        sampler = Sampler(counters)
        yield create_app(counters, sampler, NoPrometheus()).test_client(), sampler


@pytest.fixture
def app(redis_url):
    with application(redis_url) as (client, sampler):
        yield client, sampler


@pytest.fixture
def client(app):
    return app[0]


@pytest.fixture
def store(redis_url):
    with redis.Redis.from_url(redis_url) as connection:
        yield connection


def test_json_as_the_classic_webui_answers(client, store):
    store.set("hashes", 123456789)
    store.hset("wallet", mapping={"0abc": b"\0\xff", "0def": b"x"})
    answer = client.get("/json")
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    now = answer.json["now"]
    assert answer.json == {"coins": 2, "hashes": 123456789, "now": now}
    assert now == pytest.approx(time.time(), abs=5)
    assert [type(answer.json[key]) for key in ("coins", "hashes", "now")] == [int, int, float]


def test_json_before_the_first_loop(client):
    assert (client.get("/json").json["hashes"], client.get("/json").json["coins"]) == (0, 0)


@pytest.mark.parametrize(
    "value",
    ["<script>alert(1)</script>", "", "-1", "1.5", "\N{FULLWIDTH DIGIT NINE}", "9" * 5000, b"\xff\xfe"],
)
def test_what_is_no_count_is_refused(app, store, value):
    client, sampler = app
    store.set("hashes", value)
    answer = client.get("/json")
    if value == "":  # nothing counted
        assert answer.json["hashes"] == 0
        return
    assert answer.status_code == 503
    assert answer.json["error"].startswith("Redis: hashes is '")
    assert answer.json["error"].endswith("', where a count is expected")
    assert len(answer.json["error"]) < 120
    sampler.sample()
    assert client.get("/history").json["error"] == answer.json["error"]


def test_a_key_of_another_type_is_refused(client, store):
    store.rpush("hashes", 1)
    answer = client.get("/json")
    assert answer.status_code == 503
    assert answer.json["error"].startswith("Redis: WRONGTYPE")


def test_history(app, store):
    client, sampler = app
    assert client.get("/history").json["time"] == []
    store.set("hashes", 7)
    store.hset("wallet", "0a", "b")
    sampler.sample()
    store.set("hashes", 11)
    sampler.sample()
    answer = client.get("/history").json
    assert answer["error"] == ""
    assert (answer["hashes"], answer["coins"], answer["speed"]) == ([7, 11], [1, 1], [None, None])
    assert answer["time"] == sorted(answer["time"])
    assert answer["now"] == pytest.approx(answer["time"][-1], abs=5)


def test_redis_goes_and_comes_back(tmp_path):
    (port,) = free_ports(1)
    url = f"redis://127.0.0.1:{port}"
    with ExitStack() as stack:
        client, sampler = stack.enter_context(application(url))
        with redis_process(tmp_path / "redis", port):
            with redis.Redis.from_url(url) as connection:
                connection.set("hashes", 5)
            sampler.sample()
            assert client.get("/json").json["hashes"] == 5
        started = time.monotonic()
        away = client.get("/json")
        sampler.sample()
        assert time.monotonic() - started < 2
        assert away.status_code == 503
        assert list(away.json) == ["error"]
        assert away.json["error"].startswith("Redis: ")
        assert away.text.count("\n") == 1
        history = client.get("/history").json
        assert history["error"] == away.json["error"]
        assert history["hashes"] == [5]
        with redis_process(tmp_path / "redis", port):
            assert client.get("/json").json["hashes"] == 5
            sampler.sample()
            history = client.get("/history").json
            assert (history["error"], history["hashes"]) == ("", [5, 5])


def test_a_redis_that_hangs_is_given_up():
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        application(f"redis://127.0.0.1:{silent.getsockname()[1]}") as (client, _),
    ):
        started = time.monotonic()
        assert client.get("/json").status_code == 503
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("path", ["/", "/json", "/history", "/latency", "/static/webui.css", "/nowhere"])
def test_security_headers_are_on_every_answer(client, path):
    with client.get(path) as answer:
        headers = answer.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/json", 405), ("PUT", "/", 405)]
)
def test_bad_input_is_answered_in_one_line(client, method, path, status):
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.text.startswith(f"{method} {path} is not served here: ")
    assert answer.text.count("\n") == 1


def test_the_chart_library_comes_from_its_package(client):
    page = client.get("/").text
    address = page.partition('src="/plotly.min.js')[2].partition('"')[0]
    with client.get(f"/plotly.min.js{address}") as answer:
        assert answer.status_code == 200
        assert answer.content_type == "text/javascript; charset=utf-8"
        assert {"max-age=31536000", "immutable"} <= set(answer.headers["Cache-Control"].split(", "))
        assert b"plotly.js v" in answer.data[:200]


# --- Prometheus, where it fails (tests/browser has a real one)


class Failing(BaseHTTPRequestHandler):
    """Answers each request in the way that its server is told to."""

    def do_GET(self):
        self.server.asked.set()
        if self.server.body is None:
            self.server.released.wait(10)
            return
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_):
        pass


@contextmanager
def failing_prometheus(status=200, body=None):
    """A server that answers with `body`, or not at all; yield it and its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        server.status, server.body = status, body
        server.asked, server.released = threading.Event(), threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


EMPTY = {"status": "success", "data": {"resultType": "matrix", "result": []}}


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (500, b"oh", "answers with an error, 500"),
        (503, json.dumps(EMPTY).encode(), "answers with an error, 503"),
        (200, b"<html>", "does not answer as Prometheus does"),
        (200, b"null", "does not answer as Prometheus does"),
        (200, b"\xff", "does not answer as Prometheus does"),
        (200, b'{"data": {"result": [1]}}', "does not answer as Prometheus does"),
        (
            200,
            b'{"data": {"result": [{"metric": {"job": "rng"}, "values": [[1, "x"]]}]}}',
            "does not answer as",
        ),
        (200, None, "does not answer within 1 s"),
    ],
)
def test_a_prometheus_that_fails(redis_url, status, body, problem):
    with failing_prometheus(status, body) as (_, url), connect(redis_url) as connection:
        counters = Counters(connection)
        client = create_app(counters, Sampler(counters), LatencyQuery(url)).test_client()
        started = time.monotonic()
        answer = client.get("/latency")
        assert time.monotonic() - started < 2
        assert answer.status_code == 503
        assert answer.text.count("\n") == 1
        assert answer.json["error"].startswith(f"Prometheus at {url} {problem}")


def test_a_prometheus_that_is_away(client):
    answer = client.get("/latency")
    assert answer.status_code == 503
    assert answer.json["error"].endswith(" cannot be reached")


def test_what_is_not_a_number_is_no_latency():
    values = [[int(time.time()) // 5 * 5, "NaN"], [int(time.time()) // 5 * 5 - 5, "0.1"]]
    result = {"data": {"result": [{"metric": {"job": "rng"}, "values": values}]}}
    with failing_prometheus(200, json.dumps(result).encode()) as (_, url):
        latencies = LatencyQuery(url).read()
    series = latencies.views["service"]["rng"]["p50"]
    assert len(series) == len(latencies.time)
    assert [value for value in series if value is not None] == [0.1]
    json.dumps(latencies.views, allow_nan=False)


def test_a_prometheus_that_hangs_holds_up_one_request_only(redis_url, tmp_path):
    with (
        failing_prometheus() as (server, prometheus_url),
        web_service(
            "webui", tmp_path / "log", REDIS_URL=redis_url, PROMETHEUS_URL=prometheus_url, WEBUI_THREADS=2
        ) as (url, _),
    ):
        first = threading.Thread(target=requests.get, args=(f"{url}/latency",), kwargs={"timeout": 5})
        first.start()
        assert server.asked.wait(5)
        started = time.monotonic()
        assert [requests.get(f"{url}/latency", timeout=5).status_code for _ in range(3)] == [503] * 3
        assert requests.get(f"{url}/history", timeout=5).ok
        assert requests.get(f"{url}/json", timeout=5).ok
        assert first.is_alive()
        assert time.monotonic() - started < 0.9
        first.join()


# --- the process


def test_its_metrics_tell_the_counters(redis_url, store):
    store.set("hashes", 41)
    store.hset("wallet", "0a", "b")
    registry = CollectorRegistry()
    with connect(redis_url) as connection:
        registry.register(CountersCollector(Counters(connection)))
        store.incr("hashes")
        assert registry.get_sample_value("dockercoins_hashes_total") == 42
        assert registry.get_sample_value("dockercoins_coins") == 1
        assert registry.get_sample_value("dockercoins_redis_up") == 1
        store.set("hashes", "many")
        assert registry.get_sample_value("dockercoins_hashes_total") is None
        assert registry.get_sample_value("dockercoins_coins") is None
        assert registry.get_sample_value("dockercoins_redis_up") == 0


def test_only_the_reads_for_a_request_are_measured(redis_url):
    def measured(command):
        labels = {"db_system_name": "redis", "db_operation_name": command, "error_type": ""}
        return REGISTRY.get_sample_value("db_client_operation_duration_seconds_count", labels) or 0

    before = measured("GET"), measured("HLEN")
    with connect(redis_url) as connection:
        Sampler(Counters(connection)).sample()
        assert (measured("GET"), measured("HLEN")) == before
        assert InstrumentedCounters(connection).read().hashes == 0
    assert (measured("GET"), measured("HLEN")) == (before[0] + 1, before[1] + 1)


def test_the_process_reads_by_itself_and_tells_its_metrics(redis_url, store, tmp_path):
    store.set("hashes", 3)
    with web_service("webui", tmp_path / "log", REDIS_URL=redis_url) as (url, metrics_url):
        hashes = poll_until(
            "two samples", lambda: requests.get(f"{url}/history", timeout=5).json()["hashes"][1:]
        )
        assert hashes == [3]
        assert requests.get(f"{url}/json", timeout=5).json()["hashes"] == 3
        told = samples(metrics_url)
        assert told["dockercoins_hashes_total"] == 3
        assert told["dockercoins_redis_up"] == 1
        labels = 'db_operation_name="GET",db_system_name="redis",error_type=""'
        assert told[f"db_client_operation_duration_seconds_count{{{labels}}}"] == 1
        labels = 'http_request_method="GET",http_response_status_code="200",http_route="/json"'
        assert told[f"http_server_request_duration_seconds_count{{{labels}}}"] == 1


def test_the_process_starts_without_redis_and_ends_on_sigterm(tmp_path):
    port, metrics_port, redis_port = free_ports(3)
    environment = service_environment(
        PORT=port, METRICS_PORT=metrics_port, REDIS_URL=f"redis://127.0.0.1:{redis_port}"
    )
    log = tmp_path / "log"
    with process(sys.executable, "-m", "webui.webui", log=log, env=environment) as child:
        poll_until("webui", lambda: listens(port))
        assert requests.get(f"http://127.0.0.1:{port}/json", timeout=5).status_code == 503
        told = samples(f"http://127.0.0.1:{metrics_port}/metrics")
        assert told["dockercoins_redis_up"] == 0
        assert "dockercoins_hashes_total" not in told
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=5) == 0
    # An outage is one line, however long it is.
    assert [json.loads(line)["severity"] for line in log.read_text().splitlines()] == ["WARNING"]


def test_without_telemetry_nothing_of_it_is_loaded():
    code = "import sys, webui.webui; print({'telemetry', 'prometheus_client', 'plotly'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=service_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_without_telemetry_the_process_works(redis_url, tmp_path):
    with web_service("webui", tmp_path / "log", REDIS_URL=redis_url, TELEMETRY="off") as (url, metrics_url):
        assert requests.get(f"{url}/json", timeout=5).json()["hashes"] == 0
        with pytest.raises(requests.ConnectionError):
            requests.get(metrics_url, timeout=5)


def test_settings_come_from_the_environment(monkeypatch):
    for name in ("REDIS_URL", "PROMETHEUS_URL", "WEBUI_THREADS", "PORT", "LISTEN_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert Settings.from_environment() == Settings(
        "redis://redis:6379", "http://prometheus:9090", Listen("0.0.0.0", 80, 64)
    )
    monkeypatch.setenv("REDIS_URL", "http://redis")
    with pytest.raises(SettingError, match=r"^REDIS_URL='http://redis' is not usable: a URL like redis://"):
        Settings.from_environment()
