"""The worker's loop, its books and its end: a real worker process, real rng, hasher and Redis."""

import json
import re
import signal
import socket
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest
import redis
import requests
from common.redis_client import connect
from worker import worker as worker_module
from worker.instrumented import ERRORS, InstrumentedWorker
from worker.ledger import Ledger
from worker.worker import MAX_BACKOFF, Settings, Worker, backoff

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
from workshop.clients import Jaeger


@contextmanager
def worker(folder, **settings):
    """Run a worker; yield the process, the URL of its metrics, and a function that reads its log."""
    (metrics_port,) = free_ports(1)
    env = service_environment(METRICS_PORT=metrics_port, **settings)
    log = folder / "worker.log"

    def lines():
        return [json.loads(line) for line in log.read_text().splitlines()]

    with process(sys.executable, "-m", "worker.worker", log=log, env=env) as child:
        poll_until("the worker's metrics", lambda: listens(metrics_port))
        yield child, f"http://127.0.0.1:{metrics_port}/metrics", lines


def end(child, signum=signal.SIGTERM):
    """End a worker; return its exit code and the seconds that it took."""
    started = monotonic()
    child.send_signal(signum)
    return child.wait(timeout=10), monotonic() - started


def loops_told(lines):
    """Return the loops that a worker says it made, at its end."""
    return int(re.fullmatch(r"stopped after (\d+) loops", lines()[-1]["body"])[1])


@pytest.fixture
def upstream(tmp_path):
    """rng and hasher without delay."""
    with (
        web_service("rng", tmp_path / "rng.log", RNG_DELAY=0) as (rng, _),
        web_service("hasher", tmp_path / "hasher.log", HASHER_DELAY=0) as (hasher, _),
    ):
        yield {"RNG_URL": rng, "HASHER_URL": hasher, "WORKER_DELAY": 0}


@pytest.mark.parametrize("telemetry", ["on", "off"])
def test_hashes_and_coins_are_those_of_the_loops(tmp_path, upstream, redis_url, telemetry):
    client = redis.Redis.from_url(redis_url)
    env = service_environment(
        METRICS_PORT=free_ports(1)[0], REDIS_URL=redis_url, TELEMETRY=telemetry, **upstream
    )
    with process(sys.executable, "-m", "worker.worker", log=tmp_path / "log", env=env) as child:
        poll_until("300 hashes", lambda: int(client.get("hashes") or 0) > 300)
        assert end(child)[0] == 0
    loops = int(re.search(r"stopped after (\d+) loops", (tmp_path / "log").read_text())[1])
    assert int(client.get("hashes")) == loops
    wallet = client.hgetall("wallet")
    assert all(digest.startswith(b"0") for digest in wallet)
    assert {len(data) for data in wallet.values()} == {32}
    # Binomial with p = 1/16: six standard deviations, passed once in a billion runs.
    assert abs(len(wallet) - loops / 16) < 6 * (loops * 15 / 256) ** 0.5


def test_a_coin_is_the_hash_of_its_bytes(tmp_path, upstream, redis_url):
    client = redis.Redis.from_url(redis_url)
    with worker(tmp_path, REDIS_URL=redis_url, **upstream):
        poll_until("a coin", lambda: client.hlen("wallet"))
    digest, data = next(iter(client.hgetall("wallet").items()))
    answer = requests.post(upstream["HASHER_URL"], data=data, timeout=5)
    assert answer.content == digest


def test_no_loop_is_lost_or_counted_twice_while_redis_is_killed_five_times(tmp_path, upstream):
    (port,) = free_ports(1)
    folder = tmp_path / "redis"
    with worker(tmp_path, REDIS_URL=f"redis://127.0.0.1:{port}", **upstream) as (child, metrics, lines):
        for _ in range(5):
            with redis_process(folder, port) as server:
                wait_for_hashes(port, 100)
                server.kill()
            poll_until("loops in hand", lambda: samples(metrics)["dockercoins_worker_loops_in_hand"] > 50)
        with redis_process(folder, port):
            code, _ = end(child)
            assert code == 0
            assert int(redis.Redis(port=port).get("hashes")) == loops_told(lines)


def wait_for_hashes(port, count):
    """Wait until so many more hashes are in Redis."""
    with redis.Redis(port=port) as client:
        goal = int(client.get("hashes") or 0) + count
        poll_until(f"{goal} hashes", lambda: int(client.get("hashes") or 0) >= goal)


def test_a_flush_whose_reply_was_lost_is_not_applied_twice(redis_url):
    client = redis.Redis.from_url(redis_url)
    with detour(redis_url) as (url, lose_next_reply):
        ledger = Ledger(connect(url))
        ledger.loops = 4
        ledger.store_loops()
        ledger.loops = 9
        lose_next_reply.set()
        with pytest.raises(redis.ConnectionError):
            ledger.store_loops()
        assert int(client.get("hashes")) == 9  # Redis took it, and the worker does not know
        assert ledger.in_hand == 5
        ledger.loops = 11
        ledger.store_loops()
        assert int(client.get("hashes")) == 11
        assert ledger.in_hand == 0


@contextmanager
def detour(redis_url):
    """Yield the URL of a way to Redis, and an event; once that is set, the next reply is lost."""
    target = redis.Redis.from_url(redis_url).get_connection_kwargs()
    lose_next_reply = threading.Event()

    def serve(server):
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client, socket.create_connection((target["host"], target["port"])) as upstream:
                while command := client.recv(65536):
                    upstream.sendall(command)
                    reply = upstream.recv(65536)
                    if lose_next_reply.is_set():
                        lose_next_reply.clear()
                        break
                    client.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=[server])
        thread.start()
        try:
            yield f"redis://127.0.0.1:{server.getsockname()[1]}", lose_next_reply
        finally:
            server.shutdown(socket.SHUT_RDWR)


def test_only_what_is_in_hand_is_added_after_redis_was_emptied(redis_url):
    ledger, client = Ledger(connect(redis_url)), redis.Redis.from_url(redis_url)
    ledger.loops = 100
    ledger.store_loops()
    client.flushall()
    ledger.loops = 103
    ledger.store_loops()
    assert int(client.get("hashes")) == 3


def test_backoff_grows_to_ten_seconds_at_most_and_is_random():
    for failures, longest in [(1, 0.2), (3, 0.8), (6, 6.4), (7, MAX_BACKOFF), (10_000, MAX_BACKOFF)]:
        pauses = [backoff(failures) for _ in range(2000)]
        assert 0 <= min(pauses) < 0.1 * longest
        assert 0.9 * longest < max(pauses) <= longest


@pytest.mark.parametrize("status", [204, 302, 404, 500])
def test_an_answer_that_is_not_2xx_is_an_error_and_no_hash(tmp_path, upstream, redis_url, status):
    with answering(f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\nLocation: /\r\n\r\n") as url:
        settings = upstream | {"HASHER_URL": url, "REDIS_URL": redis_url}
        with worker(tmp_path, **settings) as (child, metrics, lines):
            if status == 204:  # a 2xx with nothing in it is no coin, and no error
                poll_until("loops", lambda: samples(metrics)["dockercoins_worker_loops_total"] > 0)
                return
            error = f'dockercoins_worker_errors_total{{error_type="{status}",phase="hasher"}}'
            poll_until("two errors", lambda: samples(metrics).get(error, 0) >= 2)
            assert samples(metrics)["dockercoins_worker_loops_total"] == 0
            assert end(child)[0] == 0
            assert f"{url}/ answered {status}; next loop in" in str(lines())
    assert redis.Redis.from_url(redis_url).get("hashes") is None


def is_whole(request):
    """Tell whether an HTTP request has arrived with all of its body."""
    head, end_of_head, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
    return bool(end_of_head) and len(body) >= int(length[1] if length else 0)


@contextmanager
def answering(text, connections=None):
    """Yield the URL of a server that answers everything with the same text; it hangs if that is empty.

    `connections` gets each connection that it accepts.
    """
    connections = [] if connections is None else connections
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                connections.append(client)
                threading.Thread(target=answer, args=[client], daemon=True).start()

        def answer(client):
            request = b""
            try:
                while part := client.recv(65536):
                    request += part
                    if text and is_whole(request):
                        client.sendall(text.encode())
                        request = b""
            except OSError:
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for client in connections:
                with suppress(OSError):  # the other end may be gone
                    client.shutdown(socket.SHUT_RDWR)
                client.close()
            thread.join(5)


def idle_worker(kind=Worker, rng="http://127.0.0.1:9", hasher="http://127.0.0.1:9"):
    """Return a worker in this process, which does nothing by itself; Redis is away."""
    return kind(Settings(delay=0, rng_url=rng, hasher_url=hasher, redis_url="redis://127.0.0.1:9"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("service", ["rng", "hasher"])
def test_a_service_that_never_answers_is_an_error(monkeypatch, service):
    monkeypatch.setattr(worker_module, "HTTP_TIMEOUT", (1, 0.5))
    errors = ERRORS.labels(service, "ReadTimeout")
    before = errors._value.get()
    with answering("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1") as there, answering("") as hanging:
        urls = {"rng": there, "hasher": there, service: hanging}
        with pytest.raises(requests.ReadTimeout):
            idle_worker(InstrumentedWorker, **urls).loop()
    assert errors._value.get() == before + 1


@pytest.mark.parametrize("kind", [Worker, InstrumentedWorker])
def test_connections_to_rng_and_hasher_are_kept(kind):
    text = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"
    to_rng, to_hasher = [], []
    with answering(text, to_rng) as rng, answering(text, to_hasher) as hasher:
        mining = idle_worker(kind, rng, hasher)
        for _ in range(20):
            mining.loop()
    assert mining.ledger.loops == 20
    assert (len(to_rng), len(to_hasher)) == (1, 1)


def test_the_alarm_may_go_off_while_a_failure_is_dealt_with(monkeypatch):
    """The loop fails just before its time is over: the count in hand is flushed all the same."""
    mining, flushed = idle_worker(), []

    def fail():
        mining.stopping.set()
        raise requests.ConnectionError

    def ring(failures):
        mining.give_up(signal.SIGALRM, None)

    monkeypatch.setattr(mining, "loop", fail)
    monkeypatch.setattr(mining, "flush", lambda: flushed.append(mining.ledger.in_hand))
    monkeypatch.setattr(worker_module, "backoff", ring)
    before = signal.getsignal(signal.SIGALRM)
    try:
        mining.run()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert flushed == [0]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_at_the_signal_to_stop_the_count_is_flushed(tmp_path, upstream, redis_url, signum):
    client = redis.Redis.from_url(redis_url)
    with worker(tmp_path, REDIS_URL=redis_url, **upstream) as (child, metrics, lines):
        poll_until("some loops", lambda: samples(metrics)["dockercoins_worker_loops_in_hand"] > 10)
        code, seconds = end(child, signum)
        assert (code, seconds < 5) == (0, True)
        assert int(client.get("hashes")) == loops_told(lines)


def test_a_worker_stops_within_five_seconds_when_everything_hangs(tmp_path, upstream, redis_url):
    """rng never answers; the collector takes the spans and never says so."""
    with answering("") as rng, answering("") as collector:
        settings = upstream | {"RNG_URL": rng, "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        with worker(tmp_path, REDIS_URL=redis_url, **settings) as (child, metrics, lines):
            phase = 'dockercoins_worker_phase_duration_seconds_count{phase="sleep"}'
            poll_until("the first loop", lambda: samples(metrics)[phase] > 0)
            code, seconds = end(child)
            assert code == 0
            assert seconds < 5
            assert loops_told(lines) == 0


def test_a_worker_stops_within_five_seconds_when_redis_hangs_too(tmp_path, upstream):
    """It has loops in hand, which are lost then, and it says so."""
    with answering("") as hanging:
        redis_url, collector = hanging.replace("http", "redis"), hanging
        settings = upstream | {"REDIS_URL": redis_url, "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        with worker(tmp_path, **settings) as (child, metrics, lines):
            in_hand = "dockercoins_worker_loops_in_hand"
            poll_until("loops in hand", lambda: samples(metrics)[in_hand] > 0)
            code, seconds = end(child)
            assert code == 1
            assert seconds < 5
            assert re.search(r"Redis: .*; lost: \d+ loops", lines()[-1]["body"])


@contextmanager
def trace_store(folder):
    """Run the lab's own trace store; yield the URL that takes spans, and a client of its query API."""
    otlp_port, query_port = free_ports(2)
    ports = ("--otlp-port", str(otlp_port), "--query-port", str(query_port))
    with process(sys.executable, "-m", "workshop.tracestore", *ports, log=folder / "store.log"):
        poll_until("the trace store", lambda: listens(otlp_port) and listens(query_port))
        yield f"http://127.0.0.1:{otlp_port}", Jaeger(f"http://127.0.0.1:{query_port}")


def test_at_its_end_the_worker_sends_its_last_spans(tmp_path, upstream, redis_url):
    """The last of all is that of the last flush, the only one outside of a loop."""
    with trace_store(tmp_path) as (collector, jaeger):
        settings = upstream | {"WORKER_DELAY": 0.02, "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        with worker(tmp_path, REDIS_URL=redis_url, **settings) as (child, metrics, _):
            poll_until("loops in hand", lambda: samples(metrics)["dockercoins_worker_loops_in_hand"] > 5)
            assert end(child)[0] == 0
        spans = [span for trace in jaeger.traces("worker", limit=1500) for span in trace["spans"]]
        roots = {span["operationName"] for span in spans if not span["references"]}
        assert roots == {"loop", "EVALSHA"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which signals a process ignores")
def test_the_alarm_of_the_last_loop_cannot_kill_the_worker_at_its_end(tmp_path, upstream, redis_url):
    """Python stops handling signals some time before the process ends; the last spans give time to look."""

    def ignored(child):
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{child.pid}/status").read_text().splitlines()
        )
        return int(status["SigIgn"], 16) >> (signal.SIGALRM - 1) & 1

    with answering("") as collector:
        settings = upstream | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        with worker(tmp_path, REDIS_URL=redis_url, **settings) as (child, metrics, _):
            poll_until("loops", lambda: samples(metrics)["dockercoins_worker_loops_total"] > 0)
            child.terminate()
            poll_until("SIGALRM ignored", lambda: ignored(child), timeout=5)
            assert child.wait(5) == 0


def test_a_worker_that_cannot_flush_says_what_is_lost(tmp_path, upstream):
    (port,) = free_ports(1)
    with worker(tmp_path, REDIS_URL=f"redis://127.0.0.1:{port}", **upstream) as (child, metrics, lines):
        poll_until("some loops", lambda: samples(metrics)["dockercoins_worker_loops_total"] > 10)
        code, seconds = end(child)
        assert code == 1
        assert seconds < 5
        assert re.search(r"Redis: .*; lost: \d+ loops", lines()[-1]["body"])


def test_coins_wait_for_redis(tmp_path, upstream):
    (port,) = free_ports(1)
    with worker(tmp_path, REDIS_URL=f"redis://127.0.0.1:{port}", **upstream) as (child, metrics, _):
        poll_until("coins", lambda: samples(metrics)["dockercoins_worker_coins_total"] > 20)
        with redis_process(tmp_path / "redis", port):
            end(child)
            coins = redis.Redis(port=port).hlen("wallet")
    assert coins > 20


def test_a_collector_that_is_away_costs_spans_and_nothing_else(tmp_path, upstream, redis_url):
    """Spans beyond the queue's capacity are dropped without a word, and counted."""
    with worker(tmp_path, REDIS_URL=redis_url, **upstream) as (child, metrics, lines):
        dropped = 'otel_sdk_processor_span_processed_total{error_type="queue_full"}'
        poll_until("dropped spans", lambda: samples(metrics)[dropped] > 1000, timeout=60)
        told = samples(metrics)
        assert told["otel_sdk_processor_span_queue_size"] <= told["otel_sdk_processor_span_queue_capacity"]
        assert told['otel_sdk_exporter_span_exported_total{error_type=""}'] == 0
        end(child)
        assert {line["severity"] for line in lines()} == {"INFO"}


def test_a_worker_is_as_fast_without_a_collector_as_with_one(tmp_path, upstream, redis_url):
    """Three workers at the same time: their collectors take the spans, refuse them, or never answer."""
    (nobody,) = free_ports(1)
    with ExitStack() as stack:
        taking, _ = stack.enter_context(trace_store(tmp_path))
        collectors = {
            "takes": taking,
            "refuses": f"http://127.0.0.1:{nobody}",
            "hangs": stack.enter_context(answering("")),
        }
        metrics = {}
        for name, collector in collectors.items():
            (tmp_path / name).mkdir()
            settings = upstream | {"REDIS_URL": redis_url, "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
            _, metrics[name], _ = stack.enter_context(worker(tmp_path / name, **settings))

        def loops():
            return {n: samples(url)["dockercoins_worker_loops_total"] for n, url in metrics.items()}

        before = loops()
        poll_until("1500 more loops", lambda: loops()["takes"] > before["takes"] + 1500, timeout=120)
        done = {name: count - before[name] for name, count in loops().items()}
        assert min(done["refuses"], done["hangs"]) >= 0.9 * done["takes"], done
