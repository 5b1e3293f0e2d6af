"""rng, hasher and webui, with requests that are almost right."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import strategies
from tests.fuzz.checks import send
from tests.fuzz.client import Answer, Client, Request
from tests.fuzz.conftest import SERVICES
from tests.support import poll_until, samples

MAX_BYTES = 2**20

WEBUI_PATHS = ["/", "/json", "/history", "/latency", "/plotly.min.js", "/static/webui.js", "/static/"]


def check_one_line(answer: Answer) -> None:
    """An error of a service is one line of text; some are of the server below, which says nothing."""
    if answer.status >= 400 and answer.body:
        assert answer.header("content-type").startswith("text/plain"), answer
        assert answer.body.count(b"\n") <= 1, answer


@given(strategies.requests(["/", "/32", "/0"], ["size"]))
def test_rng(clients: dict[str, Client], some: list[Request]) -> None:
    for request, answer in zip(some, send(clients["rng"], *some), strict=True):
        check_one_line(answer)
        if answer.status == 200 and request.method == b"GET":
            size = re.fullmatch(rb"/(\d+)", request.target.partition(b"?")[0])
            assert len(answer.body) == int(size[1]) if size else answer.body.startswith(b"RNG running on ")


@given(strategies.requests(["/"], ["body"]))
def test_hasher(clients: dict[str, Client], some: list[Request]) -> None:
    for request, answer in zip(some, send(clients["hasher"], *some), strict=True):
        check_one_line(answer)
        if answer.status == 200 and request.method == b"POST":
            assert answer.text == hashlib.sha256(request.body).hexdigest()


@given(strategies.requests(WEBUI_PATHS, ["version", "now"]))
def test_webui(clients: dict[str, Client], some: list[Request]) -> None:
    for answer in send(clients["webui"], *some):
        check_one_line(answer)


@given(st.binary(max_size=3000) | st.integers(MAX_BYTES - 2, MAX_BYTES + 2).map(bytes))
def test_a_hash_is_that_of_the_whole_body_or_there_is_none(clients: dict[str, Client], body: bytes) -> None:
    (answer,) = send(clients["hasher"], Request(method=b"POST", body=body))
    if len(body) <= MAX_BYTES:
        assert (answer.status, answer.text) == (200, hashlib.sha256(body).hexdigest())
    else:
        assert answer.status == 413


@pytest.mark.parametrize("name", SERVICES)
def test_the_client_chooses_no_label_of_a_metric(clients, servers, name):
    """Each combination of labels is a time series of its own: so many bad paths must not make as many."""
    send(clients[name], *(Request(b"/no-such-%d" % number, b"BAD%d" % number) for number in range(20)))
    text = "\n".join(samples(servers[name].metrics))
    routes = set(re.findall(r'http_route="(.*?)"', text))
    methods = set(re.findall(r'http_request_method="(.*?)"', text))
    assert routes <= {"", "/", "/<int:size>", "/static/<path:filename>", *WEBUI_PATHS}
    assert "_OTHER" in methods
    assert methods <= {"_OTHER", "CONNECT", *(method.decode() for method in strategies.METHODS)}
    assert "no-such" not in text


@pytest.mark.parametrize("name", SERVICES)
def test_no_span_of_a_bad_request_is_lost(clients, servers, name):
    """One attribute that cannot be sent would take its whole batch along."""
    exported = 'otel_sdk_exporter_span_exported_total{error_type="%s"}'
    before = samples(servers[name].metrics)
    hosts = (b"127.0.0.1:" + b"9" * 30, b"127.0.0.1:" + b"9" * 5000, b"\xff", b"127.0.0.1:\xd9\xa3")
    send(clients[name], *(Request(headers=((b"Host", host),)) for host in hosts))
    poll_until(
        "their spans",
        lambda: samples(servers[name].metrics)[exported % ""] >= before[exported % ""] + len(hosts),
    )
    lost = exported % "export_failed"  # those of before met a store that was busy with a bomb
    assert samples(servers[name].metrics)[lost] == before[lost]
