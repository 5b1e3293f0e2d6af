"""Parts of the classic DockerCoins in place of ours: each of them must not notice.

The classic services are described here by what they send and accept. They know nothing of traces, close each
connection after one answer, and one of them is written in Ruby.
"""

import hashlib
import os
import re
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis
import requests

from tests.support import free_ports, poll_until, process, service_environment, web_service


@contextmanager
def serving(handler):
    """Run a web server of the classic kind; yield its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class ClassicService(BaseHTTPRequestHandler):
    """HTTP/1.0, as Flask's development server of those days spoke it."""

    protocol_version = "HTTP/1.0"

    def answer(self, body, content_type):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class ClassicRng(ClassicService):
    def do_GET(self):
        self.answer(os.urandom(int(self.path[1:])), "application/octet-stream")


class ClassicHasher(ClassicService):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(hashlib.sha256(body).hexdigest().encode(), "text/plain;charset=utf-8")


def test_our_worker_with_a_classic_rng_and_hasher(tmp_path, redis_url):
    client = redis.Redis.from_url(redis_url)
    log = tmp_path / "worker.log"
    with serving(ClassicRng) as rng, serving(ClassicHasher) as hasher:
        settings = {"RNG_URL": rng, "HASHER_URL": hasher, "REDIS_URL": redis_url, "WORKER_DELAY": 0}
        env = service_environment(METRICS_PORT=free_ports(1)[0], **settings)
        with process(sys.executable, "-m", "worker.worker", log=log, env=env) as child:
            poll_until(
                "100 hashes and a coin",
                lambda: int(client.get("hashes") or 0) > 100 and client.hlen("wallet"),
            )
            child.terminate()
            assert child.wait(5) == 0
    assert '"severity": "WARNING"' not in log.read_text(), "a closed connection is no error"
    assert int(client.get("hashes")) == int(re.search(r"stopped after (\d+) loops", log.read_text())[1])
    for digest, data in client.hgetall("wallet").items():
        assert hashlib.sha256(data).hexdigest().encode() == digest


def test_a_classic_worker_with_our_rng_and_hasher(tmp_path):
    """It opens a connection for each request, and sends no traceparent."""
    with (
        web_service("rng", tmp_path / "rng.log", RNG_DELAY=0) as (rng, _),
        web_service("hasher", tmp_path / "hasher.log", HASHER_DELAY=0) as (hasher, _),
    ):
        for _ in range(20):
            data = requests.get(f"{rng}/32", timeout=5).content
            answer = requests.post(
                f"{hasher}/", data=data, headers={"Content-Type": "application/octet-stream"}, timeout=5
            )
            assert len(data) == 32
            assert answer.text == hashlib.sha256(data).hexdigest()


def test_classic_workers_and_webui_with_our_redis_and_webui(tmp_path, redis_url):
    """They share the counter `hashes` and the hash `wallet` with ours, and nothing else."""
    classic = redis.Redis.from_url(redis_url)
    classic.incrby("hashes", 16)
    classic.hset("wallet", "0" * 64, os.urandom(32))
    with web_service("webui", tmp_path / "webui.log", REDIS_URL=redis_url) as (url, _):
        told = requests.get(f"{url}/json", timeout=5).json()
    assert set(told) == {"coins", "hashes", "now"}
    assert (told["coins"], told["hashes"]) == (classic.hlen("wallet"), int(classic.get("hashes"))) == (1, 16)
