"""The console: what is asked of it, what it shows of hostile spans, and what other sites can do with it."""

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import strategies
from tests.fuzz.checks import check_page, send
from tests.fuzz.client import Client, Request
from tests.fuzz.conftest import examples
from tests.fuzz.test_tracestore import export
from tests.spans import SECOND, attributes, new_span_id, new_trace_id, resource_spans, span
from tests.spans import request as export_request
from workshop.tracestore import otlp

PATHS = [
    *("/", "/dashboards/", "/dashboards/dockercoins-speed", "/dashboards/dockercoins-speed/data"),
    *("/traces/", "/traces/open", "/traces/compare", "/traces/graph", "/traces/1.json"),
    *("/traces/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "/alerts/", "/alerts/runbooks/target-down"),
    *("/labs/", "/labs/01", "/labs/01/state", "/static/traces.css", "/static/"),
    *("/plotly.min.js", "/shared/webui.css", "/shared/webui.js", "/faults/"),
]
# Parameters of the function that makes links.
NOT_FIELDS = ["endpoint", "self", "values", "_external", "_scheme", "_anchor", "_method"]
NAMES = [
    *("service", "operation", "tags", "min", "max", "lookback", "limit", "errors", "sort"),
    *("id", "trace", "a", "b", "from", "to", "panel", "var-service", "version"),
    *NOT_FIELDS,
]
SEARCH = ["/traces/", "/traces/graph", "/traces/compare", "/traces/open"]
# A browser sends such headers, and a page cannot change them: https://www.w3.org/TR/fetch-metadata/
FROM_OTHER_SITES = [
    ((b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"no-cors"), (b"Sec-Fetch-Dest", b"image")),
    ((b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"no-cors"), (b"Sec-Fetch-Dest", b"script")),
    ((b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"cors"), (b"Origin", b"http://evil.example")),
]
AS_HTML = (b"Accept", b"text/html")


@given(strategies.requests(PATHS, NAMES))
def test_wrong_requests(clients: dict[str, Client], some: list[Request]) -> None:
    send(clients["console"], *some)


parameters = st.dictionaries(st.sampled_from(NAMES), strategies.texts, max_size=4)


@given(st.lists(st.tuples(st.sampled_from(SEARCH), parameters), min_size=4, max_size=4))
def test_searches_for_traces(clients: dict[str, Client], some: list[tuple[str, dict[str, str]]]) -> None:
    """With a trace to show: only then the page has links to itself."""
    one = span("operation", start=time.time_ns() - 10 * SECOND)
    export(clients["otlp"], otlp.JSON, (export_body(resource_spans("worker", one)), ""))
    requests = [
        Request(f"{path}?{strategies.encoded({'limit': '20'} | query)}".encode(), headers=(AS_HTML,))
        for path, query in some
    ]
    send(clients["console"], *requests)


others = st.dictionaries(st.sampled_from(NOT_FIELDS), strategies.texts, min_size=1, max_size=4)


@given(others)
def test_a_search_with_fields_of_no_meaning(clients: dict[str, Client], parameters: dict[str, str]) -> None:
    """Once more with a trace to show."""
    one = span("operation", start=time.time_ns() - 10 * SECOND)
    export(clients["otlp"], otlp.JSON, (export_body(resource_spans("shown", one)), ""))
    target = f"/traces/?{strategies.encoded({'service': 'shown', 'limit': '20'} | parameters)}"
    (answer,) = send(clients["console"], Request(target.encode(), headers=(AS_HTML,)))
    assert one["traceId"] in answer.text
    assert "sort=longest" in answer.text


times = (
    st.sampled_from(["now-5m", "now", "now-1d", "0", "1", "99999999999999", "1500", "now-0s"])
    | strategies.texts
)


@given(st.lists(st.tuples(times, times, strategies.texts), min_size=2, max_size=2))
def test_ranges_of_a_dashboard(clients: dict[str, Client], some: list[tuple[str, str, str]]) -> None:
    for start, end, service in some:
        query = strategies.encoded({"from": start, "to": end, "var-service": service, "panel": "2"})
        send(clients["console"], Request(f"/dashboards/dockercoins-services/data?{query}".encode()))


# ---- what is shown

SERVICES = [
    "worker",
    strategies.HTML,
    "..",
    ".",
    "a/b",
    "a?b#c",
    "\0",
    "%2e%2e",
    "x" * 300,
    "\u202eabc",
    "javascript:x",
]
words = st.sampled_from([strategies.HTML, "", "\0", "{{ 7 * 7 }}", "</title>", "x" * 400]) | st.text(
    max_size=20
)
moments = st.sampled_from([0, 1, 2**63 - 2, 10**18]) | st.integers(0, 2**63 - 2)
values = st.one_of(
    words,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.binary(max_size=9),
    st.none(),
)
tags = st.dictionaries(
    words | st.sampled_from(["error", "span.kind", "peer.service", "server.address", "service.peer.name"]),
    values,
    max_size=4,
)


@st.composite
def traces(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """Draw a trace: any texts, any times, and any of its spans (itself too) for the parent of each."""
    trace_id = new_trace_id()
    ids = [new_span_id() for _ in range(draw(st.integers(1, 6)))]
    now = time.time_ns() - 20 * SECOND
    parts = []
    for span_id in ids:
        start = draw(st.just(now) | moments)
        one = span(
            draw(words),
            trace_id=trace_id,
            start=start,
            duration=min(draw(st.integers(0, 2**62)), 2**63 - 2 - start),
            tags=draw(tags),
            spanId=draw(st.just(span_id) | st.sampled_from(ids)),
            parentSpanId=draw(st.sampled_from(["", *ids, "f" * 16])),
            kind=draw(st.integers(0, 5)),
            traceState=draw(words),
            status={"code": draw(st.integers(0, 2)), "message": draw(words)},
            events=[
                {
                    "name": draw(words),
                    "timeUnixNano": str(draw(moments)),
                    "attributes": attributes(draw(tags)),
                }
            ],
            links=[
                {"traceId": draw(st.just(trace_id) | st.just("e" * 32)), "spanId": draw(st.sampled_from(ids))}
            ],
        )
        parts.append(resource_spans(draw(st.sampled_from(SERVICES)), one, resource=draw(tags)))
    return trace_id, parts


def export_body(*parts: dict[str, Any]) -> bytes:
    return json.dumps(export_request(*parts)).encode()


@examples(40)
@given(traces())
def test_what_spans_hold_is_shown_as_text(clients: dict[str, Client], drawn: tuple[str, list[Any]]) -> None:
    trace_id, parts = drawn
    (exported,) = export(clients["otlp"], otlp.JSON, (export_body(*parts), ""))
    assert exported.text == "{}"
    service = parts[0]["resource"]["attributes"][0]["value"]["stringValue"]
    search = strategies.encoded({"service": service, "limit": "20"})
    pages = [
        f"/traces/{trace_id}",
        f"/traces/%20{trace_id}%0A.json",
        f"/traces/?{search}",
        f"/traces/compare?a={trace_id}&b={trace_id}",
        "/traces/graph?limit=20",
    ]
    answers = send(clients["console"], *(Request(path.encode(), headers=(AS_HTML,)) for path in pages))
    assert [answer.status for answer in answers] == [200] * len(pages)
    operation = parts[0]["scopeSpans"][0]["spans"][0]["name"]
    assert operation.strip() in check_page(answers[0].text).text


@given(st.sampled_from(PATHS), strategies.texts)
def test_what_was_asked_for_is_shown_as_text(clients: dict[str, Client], path: str, text: str) -> None:
    query = strategies.encoded(dict.fromkeys(NAMES, text))
    send(clients["console"], Request(f"{path}?{query}".encode(), headers=(AS_HTML,)))


# ---- other sites


@pytest.mark.parametrize("headers", FROM_OTHER_SITES)
@pytest.mark.parametrize("path", PATHS)
def test_another_site_gets_nothing(clients, path, headers):
    (answer,) = send(clients["console"], Request(path.encode(), headers=headers))
    assert answer.status == 403
    assert answer.header("access-control-allow-origin") == ""
    assert answer.header("cross-origin-resource-policy") == "same-origin"


@pytest.mark.parametrize("site", [b"same-origin", b"same-site", b"none"])
def test_the_console_itself_and_the_address_bar_get_the_page(clients, site):
    headers = ((b"Sec-Fetch-Site", site), (b"Sec-Fetch-Mode", b"no-cors"))
    assert send(clients["console"], Request(b"/dashboards/", headers=headers))[0].status == 200


def test_a_link_of_another_site_leads_here(clients):
    headers = (
        (b"Sec-Fetch-Site", b"cross-site"),
        (b"Sec-Fetch-Mode", b"navigate"),
        (b"Sec-Fetch-Dest", b"document"),
    )
    assert send(clients["console"], Request(b"/dashboards/", headers=headers))[0].status == 200


names = st.sampled_from(
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0", "[::1]", "2130706433"]
)
odd = st.from_regex(r"[!-~]{1,40}", fullmatch=True)


@given(st.sampled_from(PATHS), names | odd, st.sampled_from(["", ":80", ":8010", ":x", ":99999"]))
def test_no_other_name_leads_here(clients: dict[str, Client], path: str, name: str, port: str) -> None:
    """A page of another site whose name leads to 127.0.0.1 (DNS rebinding) gets no answer."""
    host = name + port
    ours = re.fullmatch(r"(127\.0\.0\.1|localhost)(:\d+)?", host)
    (answer,) = send(clients["console"], Request(path.encode(), headers=((b"Host", host.encode()),)))
    assert ours or answer.status == 400, answer


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"X"])
@pytest.mark.parametrize("path", PATHS)
def test_nothing_can_be_changed(clients, path, method):
    (answer,) = send(clients["console"], Request(path.encode(), method, body=b"a=b"))
    assert answer.status in (404, 405)


@pytest.mark.parametrize(
    "content_type",
    [b"", b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x"],
)
def test_another_site_sends_no_spans(clients, content_type):
    """These are the types that a page may send to another site without asking it first."""
    headers = ((b"Content-Type", content_type), (b"Origin", b"http://evil.example"))
    body = export_body(resource_spans("from another site", span()))
    (answer,) = send(clients["otlp"], Request(b"/v1/traces", b"POST", headers, body))
    assert answer.status == 415
    (asked,) = send(clients["otlp"], Request(b"/v1/traces", b"OPTIONS", headers))
    assert asked.status == 405
    assert "from another site" not in send(clients["query"], Request(b"/api/services"))[0].text
