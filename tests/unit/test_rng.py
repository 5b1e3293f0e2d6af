"""rng as the classic DockerCoins knows it, and its answers to bad input."""

import socket
import threading
from collections import Counter
from time import monotonic

import pytest
import requests
from common.server import Listen
from rng.rng import MAX_BYTES, Settings, create_app
from telemetry.http_server import address_and_port

from tests.support import samples, web_service


@pytest.mark.parametrize(
    ("host", "parts"),
    [
        ("rng", ("rng", 80)),
        ("rng:8001", ("rng", 8001)),
        ("127.0.0.1:8001", ("127.0.0.1", 8001)),
        ("[::1]", ("::1", 80)),
        ("[::1]:8001", ("::1", 8001)),
        ("", ("", 80)),  # what is left of a header that is not usable
    ],
)
def test_the_address_and_the_port_of_a_host_header(host, parts):
    assert address_and_port(host) == parts


@pytest.fixture
def client():
    return create_app(Settings(delay=0, listen=Listen("127.0.0.1", 0, 1))).test_client()


def test_random_bytes(client):
    first, second = client.get("/32"), client.get("/32")
    assert first.status_code == 200
    assert first.content_type == "application/octet-stream"
    assert len(first.data) == len(second.data) == 32
    assert first.data != second.data


def test_every_byte_value_comes_equally_often(client):
    counts = Counter(client.get(f"/{MAX_BYTES}").data)
    expected = MAX_BYTES / 256
    # Pearson's chi-squared statistic with 255 degrees of freedom exceeds 376 once in a million runs.
    assert sum((counts[value] - expected) ** 2 / expected for value in range(256)) < 376


def test_who_is_there(client):
    assert client.get("/").text == f"RNG running on {socket.gethostname()}\n"


@pytest.mark.parametrize("size", [0, 1, MAX_BYTES])
def test_sizes_at_the_limits(client, size):
    assert len(client.get(f"/{size}").data) == size


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", f"/{MAX_BYTES + 1}", 400, f"{MAX_BYTES + 1} bytes are too many: GET /0 to GET /{MAX_BYTES}"),
        ("GET", "/9" * 40, 404, "is not served here: "),
        ("GET", "/-1", 404, "GET /-1 is not served here: "),
        ("GET", "/many", 404, "GET /<int:size> is accepted"),
        ("GET", "/one%0Atwo", 404, "GET /one%0Atwo is not served here: "),
        ("POST", "/32", 405, "POST /32 is not served here: "),
        ("DELETE", "/", 405, "DELETE / is not served here: "),
    ],
)
def test_bad_input_is_answered_in_one_line(client, method, path, status, text):
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.text.count("\n") == 1
    assert text in answer.text


def test_a_wrong_method_names_the_right_ones(client):
    assert set(client.put("/32").headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def together(url: str, count: int) -> float:
    """Send so many requests at the same time; return how long they took all together, in seconds."""
    barrier = threading.Barrier(count)

    def send() -> None:
        barrier.wait()
        assert requests.get(url, timeout=10).ok

    threads = [threading.Thread(target=send) for _ in range(count)]
    started = monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return monotonic() - started


def test_one_request_at_a_time(tmp_path):
    with web_service("rng", tmp_path / "rng.log", RNG_DELAY=0.1) as (url, _):
        assert together(f"{url}/32", 5) >= 0.5


def test_as_many_requests_at_a_time_as_threads(tmp_path):
    with web_service("rng", tmp_path / "rng.log", RNG_DELAY=0.5, RNG_THREADS=5) as (url, _):
        assert together(f"{url}/32", 5) < 2 * 0.5


def test_the_metrics_can_be_read_while_rng_is_busy(tmp_path):
    with web_service("rng", tmp_path / "rng.log", RNG_DELAY=5) as (url, metrics):
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{url}/32", timeout=0.5)
        assert samples(metrics)["http_server_active_requests"] == 1
