"""The trace store as a process: how it starts, what it says, how it ends."""

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
import requests

from tests.spans import request, resource_spans, span
from tests.support import poll_until, process
from workshop.tracestore.app import MAX_BODY_BYTES

COMMAND = (sys.executable, "-m", "workshop.tracestore", "--otlp-port=0", "--query-port=0")


@contextmanager
def running(folder, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str, str]]:
    """Run a store; yield its process, the URL where spans come in and that of the query API."""
    log = folder / "tracestore.log"
    with process(*COMMAND, *options, log=log) as child:
        urls = poll_until("the addresses in the log", lambda: re.findall(r"http://[^ ,]+", log.read_text()))
        yield child, *urls
        child.terminate()
        assert child.wait(10) == 0
    assert "Traceback" not in log.read_text()


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=30)


def test_spans_in_and_out(tmp_path):
    with running(tmp_path, "--max-spans=100") as (_, otlp, query):
        for _ in range(12):
            spans = [span() for _ in range(10)]
            requests.post(otlp, json=request(resource_spans("s", *spans)), timeout=5).raise_for_status()
        assert len(requests.get(f"{query}/traces?service=s", timeout=5).json()["data"]) == 100
    assert (tmp_path / "tracestore.log").read_text().count("\n") == 1  # nothing but the addresses


def test_each_port_answers_its_own_api_only(tmp_path):
    with running(tmp_path) as (_, otlp, query):
        assert requests.get(otlp.replace("/v1/traces", "/api/services"), timeout=5).status_code == 404
        assert requests.post(query.replace("/api", "/v1/traces"), json={}, timeout=5).status_code == 404


def test_metrics_of_the_process(tmp_path):
    with running(tmp_path) as (child, _, query):
        text = requests.get(query.replace("/api", "/metrics"), timeout=5).text
        assert "dockercoins_tracestore_spans_stored 0.0" in text
        if sys.platform == "linux":
            resident = float(re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)[1])
            assert resident == pytest.approx(psutil.Process(child.pid).memory_info().rss, rel=0.2)
            assert resident < 60e6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_with_0(tmp_path, number):
    with running(tmp_path) as (child, _, _):
        child.send_signal(number)
        assert child.wait(10) == 0


def test_it_ends_under_load(tmp_path):
    with running(tmp_path) as (child, otlp, query):
        stop = threading.Event()
        answers: list[int] = []

        def load(call) -> None:
            while not stop.is_set():
                try:
                    answers.append(call().status_code)
                except requests.RequestException:
                    return

        body = request(resource_spans("s", *(span() for _ in range(200))))
        calls = [lambda: requests.post(otlp, json=body, timeout=5)]
        calls.append(lambda: requests.get(f"{query}/traces?service=s", timeout=5))
        threads = [threading.Thread(target=load, args=(call,)) for call in calls * 2]
        for thread in threads:
            thread.start()
        poll_until("some answers", lambda: len(answers) > 20)
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
        stop.set()
        for thread in threads:
            thread.join()
        assert set(answers) == {200}


@pytest.mark.parametrize("option", ["--otlp-port", "--query-port"])
def test_a_port_in_use(option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run(f"{option}={port}")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == f"trace store: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_host_that_is_not_of_this_machine():
    result = run("--host=192.0.2.1")  # reserved for documentation
    assert result.returncode == 1
    assert result.stderr.startswith("trace store: cannot listen on 192.0.2.1:0: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--otlp-port=70000", "argument --otlp-port: '70000' is not a port: 0 (any) to 65535 is accepted"),
        ("--query-port=x", "argument --query-port: 'x' is not a port"),
        (
            "--max-spans=99",
            "argument --max-spans: '99' is not a number of spans: 100 to 10000000 is accepted",
        ),
        ("--max-spans=-5", "argument --max-spans: '-5' is not a number of spans"),
        ("--nothing", "unrecognized arguments: --nothing"),
    ],
)
def test_wrong_use(option, text):
    result = run(option)
    assert result.returncode == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_a_body_far_too_large_is_not_read(tmp_path):
    with running(tmp_path) as (_, otlp, _):
        host, port = re.match(r"http://(.*):(\d+)", otlp).groups()
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(
                b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES * 100)
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body(tmp_path):
    with running(tmp_path) as (_, otlp, _query):
        parts = iter([b'{"resource', b'Spans":[]}'])
        answer = requests.post(otlp, parts, headers={"Content-Type": "application/json"}, timeout=5)
        assert (answer.status_code, answer.json()) == (200, {})
