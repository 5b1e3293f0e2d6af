"""hasher as the classic DockerCoins knows it, and its answers to bad input."""

import hashlib
import socket
import threading
from time import monotonic

import pytest
import requests
from common.server import Listen
from hasher.hasher import MAX_BYTES, Settings, create_app

from tests.support import web_service


@pytest.fixture
def client():
    return create_app(Settings(delay=0, listen=Listen("127.0.0.1", 0, 1))).test_client()


@pytest.mark.parametrize("body", [b"", b"hello", bytes(range(256)), bytes(MAX_BYTES)])
def test_the_hash_of_a_body(client, body):
    answer = client.post("/", data=body, content_type="application/octet-stream")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain")
    assert answer.text == hashlib.sha256(body).hexdigest()


def test_a_form_is_hashed_as_it_was_sent(client):
    """The classic worker sends no content type; curl -d sends that of a form."""
    answer = client.post("/", data=b"a=1&b=2", content_type="application/x-www-form-urlencoded")
    assert answer.text == hashlib.sha256(b"a=1&b=2").hexdigest()


def test_who_is_there(client):
    assert client.get("/").text == f"HASHER running on {socket.gethostname()}\n"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [("POST", "/", bytes(MAX_BYTES + 1), 413), ("PUT", "/", b"", 405), ("POST", "/hash", b"", 404)],
)
def test_bad_input_is_answered_in_one_line(client, method, path, body, status):
    answer = client.open(path, method=method, data=body)
    assert answer.status_code == status
    assert answer.text.count("\n") == 1
    assert "accepted" in answer.text


def test_a_chunked_body_over_the_limit(tmp_path):
    """Such a body does not say beforehand how large it is."""

    def chunks(count):
        yield from (bytes(64 * 1024) for _ in range(count))

    with web_service("hasher", tmp_path / "hasher.log", HASHER_DELAY=0) as (url, _):
        assert (
            requests.post(url, data=chunks(16), timeout=10).text
            == hashlib.sha256(bytes(MAX_BYTES)).hexdigest()
        )
        assert requests.post(url, data=chunks(17), timeout=10).status_code == 413


def test_many_requests_at_a_time(tmp_path):
    with web_service("hasher", tmp_path / "hasher.log", HASHER_DELAY=0.5) as (url, _):
        threads = [threading.Thread(target=lambda: requests.post(url, b"x", timeout=10)) for _ in range(20)]
        started = monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert monotonic() - started < 4 * 0.5  # one at a time would take 10 s
