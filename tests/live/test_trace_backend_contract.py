"""The trace backend's contract: each test runs against the embedded store and against a real Jaeger.

Without a real one its half is skipped, but in CI it fails.
"""

import gzip
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from tests.spans import MILLISECOND, SECOND, new_trace_id, request, resource_spans, span
from tests.support import free_ports, poll_until, process, require
from workshop.lab import ROOT

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


class Backend:
    """A running trace backend."""

    def __init__(self, otlp: str, query: str) -> None:
        self.otlp = otlp
        self.query = query

    def post(self, body: bytes, content_type: str = JSON, **headers: str) -> requests.Response:
        headers = {"Content-Type": content_type, **headers}
        return requests.post(self.otlp, body, headers=headers, timeout=30)

    def export(self, *parts: dict[str, Any]) -> None:
        """Send spans and wait until they can be queried."""
        answer = self.post(json.dumps(request(*parts)).encode())
        assert answer.status_code == 200, answer.text
        assert not answer.json().get("partialSuccess"), answer.text
        for part in parts:
            for scope_spans in part["scopeSpans"]:
                for sent in scope_spans["spans"]:
                    self.wait_for(sent["traceId"], sent["spanId"])

    def wait_for(self, trace_id: str, span_id: str) -> None:
        """Wait until a span can be queried."""

        def there() -> bool:
            answer = self.get(f"traces/{trace_id}")
            return answer.ok and span_id in {one["spanID"] for one in answer.json()["data"][0]["spans"]}

        poll_until(f"span {span_id} of trace {trace_id}", there)

    def get(self, path: str, **parameters: Any) -> requests.Response:
        return requests.get(f"{self.query}/{path}", params=parameters, timeout=30)

    def data(self, path: str, **parameters: Any) -> Any:
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == JSON
        return answer.json()["data"]

    def trace(self, trace_id: str) -> dict[str, Any]:
        """Return a trace, its spans sorted by ID and with their process in place of its number."""
        (trace,) = self.data(f"traces/{trace_id}")
        trace["spans"].sort(key=lambda one: one["spanID"])
        for one in trace["spans"]:
            one["process"] = trace["processes"][one.pop("processID")]
        del trace["processes"]
        return trace

    def find(self, service: str, **parameters: Any) -> list[str]:
        """Return the IDs of the traces that a search finds, in 32 digits."""
        traces = self.data("traces", service=service, **parameters)
        return [trace["traceID"].zfill(32) for trace in traces]


@contextmanager
def run_embedded(folder: Path) -> Iterator[Backend]:
    log = folder / "tracestore.log"
    command = [sys.executable, "-m", "workshop.tracestore", "--otlp-port=0", "--query-port=0"]
    with process(*command, "--max-spans=10000", log=log):
        urls = poll_until("the addresses in the log", lambda: re.findall(r"http://[^ ,]+", log.read_text()))
        yield Backend(*urls)


@contextmanager
def run_jaeger(folder: Path) -> Iterator[Backend]:
    variables = (
        "OTLP_PORT",
        "OTLP_GRPC_PORT",
        "QUERY_PORT",
        "QUERY_GRPC_PORT",
        "HEALTH_PORT",
        "METRICS_PORT",
    )
    ports = free_ports(len(variables))
    env = {"LISTEN_HOST": "127.0.0.1"} | {
        name: str(port) for name, port in zip(variables, ports, strict=True)
    }
    config = str(ROOT / "jaeger" / "config.yaml")
    with process(require("jaeger"), "--config", config, log=folder / "jaeger.log", env=env):
        backend = Backend(
            f"http://127.0.0.1:{env['OTLP_PORT']}/v1/traces", f"http://127.0.0.1:{env['QUERY_PORT']}/api"
        )
        poll_until("Jaeger", lambda: answers(backend))
        yield backend


def answers(backend: Backend) -> bool:
    try:
        return backend.get("services").ok and backend.post(b"{}").ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module", params=[run_embedded, run_jaeger], ids=["embedded", "jaeger"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with request.param(tmp_path_factory.mktemp("backend")) as running:
        yield running


@pytest.fixture
def service(request: pytest.FixtureRequest) -> str:
    """A service name of this test's own."""
    return f"{request.node.name}-{new_trace_id()[:8]}"


def tag(key: str, kind: str, value: object) -> dict[str, object]:
    return {"key": key, "type": kind, "value": value}


# The JSON of traces


def test_every_field_of_a_trace(backend, service):
    start = (time.time_ns() - 20 * SECOND) // 1000 * 1000
    microseconds = start // 1000
    root = span(
        "GET /",
        start=start,
        duration=10_123_456,
        spanId="00000000000000a1",
        kind=2,
        flags=0x101,
        traceState="a=b,c=d",
        tags={"text": "<ü>", "truth": True, "count": 42, "error.type": "timeout"},
        status={"code": 2, "message": "no answer"},
        events=[
            {
                "timeUnixNano": str(start + 1_000_999),
                "name": "exception",
                "attributes": [
                    {"key": "z", "value": {"boolValue": True}},
                    {"key": "a", "value": {"intValue": 1}},
                ],
            },
            {
                "timeUnixNano": str(start + MILLISECOND),
                "name": "ignored",
                "attributes": [{"key": "event", "value": {"stringValue": "own"}}],
            },
            {"timeUnixNano": str(start + MILLISECOND)},
        ],
    )
    other = "1" * 32
    child = span(
        "query",
        parent=root,
        spanId="00000000000000a2",
        start=start + MILLISECOND,
        duration=2 * MILLISECOND,
        kind=3,
        status={"code": 1},
        links=[{"traceId": other, "spanId": "2" * 16}],
    )
    scope = {"name": "a.library", "version": "1.2", "attributes": []}
    backend.export(
        resource_spans(service, root, scope=scope, resource={"zone": "b", "host": "h", "pid": 7}),
        resource_spans("database of " + service, child),
    )
    trace_id = root["traceId"]
    assert backend.trace(trace_id) == {
        "traceID": trace_id,
        "warnings": None,
        "spans": [
            {
                "traceID": trace_id,
                "spanID": "00000000000000a1",
                "operationName": "GET /",
                "references": [],
                "startTime": microseconds,
                "duration": 10123,
                "tags": [
                    tag("count", "int64", 42),
                    tag("error", "bool", True),
                    tag("error.type", "string", "timeout"),
                    tag("otel.scope.name", "string", "a.library"),
                    tag("otel.scope.version", "string", "1.2"),
                    tag("otel.status_code", "string", "ERROR"),
                    tag("otel.status_description", "string", "no answer"),
                    tag("span.kind", "string", "server"),
                    tag("text", "string", "<ü>"),
                    tag("truth", "bool", True),
                    tag("w3c.tracestate", "string", "a=b,c=d"),
                ],
                "logs": [
                    {
                        "timestamp": microseconds + 1000,
                        "fields": [
                            tag("event", "string", "exception"),
                            tag("a", "int64", 1),
                            tag("z", "bool", True),
                        ],
                    },
                    {"timestamp": microseconds + 1000, "fields": [tag("event", "string", "own")]},
                    {"timestamp": microseconds + 1000, "fields": []},
                ],
                "process": {
                    "serviceName": service,
                    "tags": [
                        tag("host", "string", "h"),
                        tag("pid", "int64", 7),
                        tag("zone", "string", "b"),
                    ],
                },
                "warnings": None,
            },
            {
                "traceID": trace_id,
                "spanID": "00000000000000a2",
                "operationName": "query",
                "references": [
                    {"refType": "CHILD_OF", "traceID": trace_id, "spanID": "00000000000000a1"},
                    {"refType": "FOLLOWS_FROM", "traceID": other, "spanID": "2" * 16},
                ],
                "startTime": microseconds + 1000,
                "duration": 2000,
                "tags": [
                    tag("otel.status_code", "string", "OK"),
                    tag("span.kind", "string", "client"),
                ],
                "logs": [],
                "process": {"serviceName": "database of " + service, "tags": []},
                "warnings": None,
            },
        ],
    }


def test_the_envelope_of_an_answer(backend, service):
    sent = span()
    backend.export(resource_spans(service, sent))
    for answer in (backend.get(f"traces/{sent['traceId']}"), backend.get("traces", service=service)):
        body = answer.json()
        assert len(body.pop("data")) == 1
        assert body == {"total": 0, "limit": 0, "offset": 0, "errors": None}


def test_spans_of_one_process_share_it(backend, service):
    root = span()
    parts = [resource_spans(service, one) for one in (root, span(parent=root))]
    backend.export(*parts, resource_spans(service, span(parent=root), resource={"other": "process"}))
    (trace,) = backend.data(f"traces/{root['traceId']}")
    assert sorted(trace["processes"]) == ["p1", "p2"]
    assert {one["processID"] for one in trace["spans"]} == {"p1", "p2"}


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        ("", "string", ""),
        (None, "string", ""),
        (2**53 - 1, "int64", 2**53 - 1),
        (2**53, "int64", str(2**53)),
        (-(2**63), "int64", str(-(2**63))),
        (1.0, "float64", 1),
        (1e-7, "float64", 1e-7),
        (b"\x01\x02\x03", "binary", "AQID"),
        (["x<y", 1, 2.0, 0.5, False, None, b"\x01"], "string", '["x\\u003cy",1,2,0.5,false,null,"AQ=="]'),
        ({"z": "é", "a": [{}]}, "string", '{"a":[{}],"z":"é"}'),
        ([], "string", "[]"),
    ],
)
def test_values_of_tags(backend, service, value, kind, shown):
    sent = span(tags={"key": value})
    backend.export(resource_spans(service, sent, resource={"key": value}))
    (shown_span,) = backend.trace(sent["traceId"])["spans"]
    assert shown_span["tags"] == [tag("key", kind, shown)]
    assert shown_span["process"]["tags"] == [tag("key", kind, shown)]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("", "empty-service-name"), (5, "service-name-wrong-type"), (None, "service-name-wrong-type")],
)
def test_a_service_name_that_is_not_usable(backend, name, shown):
    sent = span()
    backend.export(resource_spans(name, sent))
    assert backend.trace(sent["traceId"])["spans"][0]["process"] == {"serviceName": shown, "tags": []}
    assert sent["traceId"] in backend.find(shown)


def test_a_resource_without_service_name(backend):
    sent = span()
    backend.export({"scopeSpans": [{"spans": [sent]}]})
    process = backend.trace(sent["traceId"])["spans"][0]["process"]
    assert process == {"serviceName": "missing-service-name", "tags": []}


def test_the_kinds_of_spans(backend, service):
    root = span("kind 0")
    backend.export(
        resource_spans(service, root, *(span(f"kind {n}", parent=root, kind=n) for n in range(1, 6)))
    )
    shown = {
        one["operationName"]: [t["value"] for t in one["tags"] if t["key"] == "span.kind"]
        for one in backend.trace(root["traceId"])["spans"]
    }
    assert shown == {
        "kind 0": [],
        "kind 1": ["internal"],
        "kind 2": ["server"],
        "kind 3": ["client"],
        "kind 4": ["producer"],
        "kind 5": ["consumer"],
    }


def test_references_of_links(backend, service):
    root = span()
    mate = {"traceId": root["traceId"], "spanId": "c" * 16}
    other = {"traceId": "0" * 16 + "d" * 16, "spanId": "e" * 16}
    child_of = [{"key": "opentracing.ref_type", "value": {"stringValue": "child_of"}}]
    linked = span(trace_id=root["traceId"], links=[other, mate])
    twice = span(parent=root, links=[{"traceId": root["traceId"], "spanId": root["spanId"]}])
    backend.export(
        resource_spans(service, root, linked, twice),
        resource_spans(service, foreign := span(links=[{**other, "attributes": child_of}])),
    )
    shown = {one["spanID"]: one["references"] for one in backend.trace(root["traceId"])["spans"]}
    of_mate = {"refType": "FOLLOWS_FROM", "traceID": root["traceId"], "spanID": "c" * 16}
    of_other = {"refType": "FOLLOWS_FROM", "traceID": "d" * 16, "spanID": "e" * 16}
    assert shown[linked["spanId"]] == [of_mate, of_other]
    assert shown[twice["spanId"]] == [of_mate | {"spanID": root["spanId"]}]
    assert backend.trace(foreign["traceId"])["spans"][0]["references"] == [of_other | {"refType": "CHILD_OF"}]


def test_a_span_that_ends_before_it_starts(backend, service):
    start = 1_700_000_000_000_500_000
    sent = span(start=start, duration=-2_000_500_000)
    backend.export(resource_spans(service, sent))
    (shown,) = backend.trace(sent["traceId"])["spans"]
    assert shown["duration"] == 0
    assert shown["tags"] == []
    assert shown["warnings"] == [
        "Negative duration detected, sanitizing end timestamp. Original end timestamp: "
        "2023-11-14 22:13:18 +0000 UTC, adjusted to: 2023-11-14 22:13:20.000500001 +0000 UTC"
    ]


@pytest.mark.parametrize(
    ("offset", "duration", "warnings"),
    [
        (0, 100 * MILLISECOND, None),
        (50 * MILLISECOND, 50 * MILLISECOND, None),
        (51 * MILLISECOND, 50 * MILLISECOND, "-26ms"),
        (-1, 50 * MILLISECOND, "25.000001ms"),
        (-1500, 101 * MILLISECOND, "1.5µs"),
        (1, 101 * MILLISECOND, None),
        (-3_723_500 * MILLISECOND, 100 * MILLISECOND, "1h2m3.5s"),
        (-5, 100 * MILLISECOND, "5ns"),
    ],
)
def test_a_child_that_does_not_fit_into_its_parent(backend, service, offset, duration, warnings):
    root = span("root", duration=100 * MILLISECOND)
    start = int(root["startTimeUnixNano"]) + offset
    backend.export(resource_spans(service, root, span("child", parent=root, start=start, duration=duration)))
    shown = {one["operationName"]: one["warnings"] for one in backend.trace(root["traceId"])["spans"]}
    assert shown == {
        "root": None,
        "child": warnings
        and [f"clock skew adjustment disabled; not applying calculated delta of {warnings}"],
    }


def test_a_span_without_its_parent(backend, service):
    orphan = span(parentSpanId="0123456789abcdef")
    backend.export(resource_spans(service, orphan))
    assert backend.trace(orphan["traceId"])["spans"][0]["warnings"] == [
        "invalid parent span IDs=0123456789abcdef; skipping clock skew adjustment"
    ]


def test_a_copy_of_a_span_is_shown_once(backend, service):
    sent = span()
    later = span(parent=sent)
    for part in (sent, sent, later):
        backend.export(resource_spans(service, part))
    assert len(backend.trace(sent["traceId"])["spans"]) == 2


def test_another_span_of_the_same_id(backend, service):
    sent = span("one")
    backend.export(resource_spans(service, sent, {**sent, "name": "two"}))
    shown = backend.trace(sent["traceId"])["spans"]
    assert {one["operationName"] for one in shown} == {"one", "two"}
    warnings = [one["warnings"] for one in shown if one["warnings"]]
    assert warnings == [["duplicate span IDs; skipping clock skew adjustment"]]


def test_a_trace_that_comes_in_parts(backend, service):
    root = span()
    backend.export(resource_spans(service, span(parent=root)))
    backend.export(resource_spans(f"other {service}", root))
    assert len(backend.trace(root["traceId"])["spans"]) == 2
    assert backend.find(service) == backend.find(f"other {service}") == [root["traceId"]]


@pytest.mark.parametrize("compression", list(Compression))
def test_spans_of_the_sdk(backend, service, compression):
    provider = TracerProvider(resource=Resource({"service.name": service, "service.namespace": "lab"}))
    provider.add_span_processor(
        SimpleSpanProcessor(OTLPSpanExporter(backend.otlp, compression=compression, timeout=10))
    )
    tracer = provider.get_tracer("lab", "3")
    with (
        tracer.start_as_current_span("loop") as loop,
        tracer.start_as_current_span("GET", kind=SpanKind.CLIENT) as call,
    ):
        call.set_attribute("http.response.status_code", 503)
        call.record_exception(OSError("refused"))
        call.set_status(StatusCode.ERROR, "503")
    provider.shutdown()
    trace_id = f"{loop.get_span_context().trace_id:032x}"
    for sent in (loop, call):
        backend.wait_for(trace_id, f"{sent.get_span_context().span_id:016x}")
    shown = {one["operationName"]: one for one in backend.trace(trace_id)["spans"]}
    assert shown["GET"]["references"] == [
        {"refType": "CHILD_OF", "traceID": trace_id, "spanID": shown["loop"]["spanID"]}
    ]
    assert shown["GET"]["tags"] == [
        tag("error", "bool", True),
        tag("http.response.status_code", "int64", 503),
        tag("otel.scope.name", "string", "lab"),
        tag("otel.scope.version", "string", "3"),
        tag("otel.status_code", "string", "ERROR"),
        tag("otel.status_description", "string", "503"),
        tag("span.kind", "string", "client"),
    ]
    (log,) = shown["GET"]["logs"]
    assert log["fields"][0] == tag("event", "string", "exception")
    assert tag("exception.message", "string", "refused") in log["fields"]
    assert shown["loop"]["process"]["serviceName"] == service
    assert tag("service.namespace", "string", "lab") in shown["loop"]["process"]["tags"]


# Traces by ID


def test_a_trace_id_can_be_written_in_several_ways(backend, service):
    sent = span(trace_id=f"{0:018x}ab{new_trace_id()[:12]}")
    backend.export(resource_spans(service, sent))
    short = sent["traceId"].removeprefix("0" * 16)
    for written in (sent["traceId"], sent["traceId"].upper(), short, short.lstrip("0")):
        (trace,) = backend.data(f"traces/{written}")
        assert trace["traceID"] == trace["spans"][0]["traceID"] == short
    assert backend.data("traces", service=service)[0]["traceID"] == short


@pytest.mark.parametrize("trace_id", ["1", "0" * 32, "f" * 32])
def test_no_such_trace(backend, trace_id):
    answer = backend.get(f"traces/{trace_id}")
    assert answer.status_code == 404
    assert answer.json() == error(404, "trace not found")


@pytest.mark.parametrize("trace_id", ["x", "+1", "0" * 33, "%20"])
def test_a_trace_id_that_is_none(backend, trace_id):
    assert_error(backend.get(f"traces/{trace_id}"), 400)


def error(code: int, message: str) -> dict[str, Any]:
    return {
        "data": None,
        "total": 0,
        "limit": 0,
        "offset": 0,
        "errors": [{"code": code, "msg": message}],
    }


def assert_error(answer: requests.Response, code: int) -> None:
    assert answer.status_code == code, answer.text
    message = answer.json()["errors"][0]["msg"]
    assert answer.json() == error(code, message)
    assert message
    assert "\n" not in message


# Services and operations


def test_services(backend, service):
    names = {f"{service} {n}" for n in range(3)}
    backend.export(*(resource_spans(name, span()) for name in names))
    answer = backend.get("services").json()
    assert names <= set(answer["data"])
    assert answer["total"] == len(answer["data"]) == len(set(answer["data"]))
    assert answer["errors"] is None


@pytest.mark.parametrize("name", ["a/b", "a b", "50%", "é", "a?b=c&d", "a+b", "service/operations"])
def test_operations_of_a_service_with_a_difficult_name(backend, service, name):
    name = f"{name} {service}"
    backend.export(resource_spans(name, span("one")))
    assert backend.data(f"services/{quote(name, safe='')}/operations") == ["one"]
    assert backend.data("operations", service=name) == [{"name": "one", "spanKind": ""}]
    assert len(backend.find(name)) == 1


def test_operations(backend, service):
    spans = [
        span("both", kind=2),
        span("both", kind=3),
        span("both", kind=3),
        span("inner", kind=1),
        span("bare"),
    ]
    backend.export(resource_spans(service, *spans))
    answer = backend.get(f"services/{service}/operations").json()
    assert sorted(answer["data"]) == ["bare", "both", "inner"]
    assert answer["total"] == 3
    answer = backend.get("operations", service=service).json()
    assert sorted((one["name"], one["spanKind"]) for one in answer["data"]) == [
        ("bare", ""),
        ("both", "client"),
        ("both", "server"),
        ("inner", "internal"),
    ]
    assert answer["total"] == 4
    for kind, expected in (("client", ["both"]), ("internal", ["inner"]), ("CLIENT", []), ("none", [])):
        found = backend.data("operations", service=service, spanKind=kind)
        assert [one["name"] for one in found] == expected


def test_operations_of_an_unknown_service(backend, service):
    answer = backend.get(f"services/{service}/operations").json()
    assert answer == {"data": None, "total": 0, "limit": 0, "offset": 0, "errors": None}
    assert backend.data("operations", service=service) == []


def test_operations_of_no_service(backend):
    answer = backend.get("operations")
    assert answer.status_code == 400
    assert answer.json() == error(400, "parameter 'service' is required")


# Search


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ({"text": "a:b=c"}, True),
        ({"text": "a"}, False),
        ({"count": "42"}, True),
        ({"count": "42.0"}, False),
        ({"truth": "true"}, True),
        ({"truth": "True"}, False),
        ({"truth": "1"}, False),
        ({"one": "1"}, True),
        ({"one": "1.0"}, False),
        ({"half": "0.5"}, True),
        ({"many": "10000000000000000"}, True),
        ({"many": "1e+16"}, False),
        ({"huge": "1e+21"}, True),
        ({"little": "0.00001"}, True),
        ({"tiny": "1e-7"}, True),
        ({"bytes": "AQID"}, True),
        ({"list": "[1,2]"}, True),
        ({"map": '{"a":"\\u003c","b":null}'}, True),
        ({"empty": ""}, True),
        ({"nothing": ""}, True),
        ({"absent": ""}, False),
        ({"of.resource": "r"}, True),
        ({"of.scope": "s"}, True),
        ({"of.event": "e"}, True),
        ({"of.link": "l"}, False),
        ({"text": "a:b=c", "of.resource": "r", "of.event": "e", "of.scope": "s"}, True),
        ({"text": "a:b=c", "of.resource": "x"}, False),
        ({"service.name": "SERVICE"}, True),
        ({"Text": "a:b=c"}, False),
        ({}, True),
        # What Jaeger shows as tags without their being attributes cannot be searched for.
        ({"span.kind": "server"}, False),
        ({"otel.status_code": "OK"}, False),
        ({"otel.scope.name": "a.library"}, False),
        ({"w3c.tracestate": "a=b"}, False),
    ],
)
def test_search_by_tags(backend, service, tags, found):
    values = {
        "text": "a:b=c",
        "count": 42,
        "truth": True,
        "one": 1.0,
        "half": 0.5,
        "many": 1e16,
        "huge": 1e21,
    }
    values |= {"little": 1e-5, "tiny": 1e-7, "bytes": b"\x01\x02\x03", "list": [1, 2.0], "empty": ""}
    values |= {"map": {"b": None, "a": "<"}, "nothing": None}
    sent = span(
        tags=values,
        kind=2,
        traceState="a=b",
        status={"code": 1},
        events=[{"name": "e", "attributes": [{"key": "of.event", "value": {"stringValue": "e"}}]}],
        links=[
            {
                "traceId": "1" * 32,
                "spanId": "2" * 16,
                "attributes": [{"key": "of.link", "value": {"stringValue": "l"}}],
            }
        ],
    )
    scope = {"name": "a.library", "attributes": [{"key": "of.scope", "value": {"stringValue": "s"}}]}
    backend.export(resource_spans(service, sent, scope=scope, resource={"of.resource": "r"}))
    tags = {key: service if value == "SERVICE" else value for key, value in tags.items()}
    expected = [sent["traceId"]] if found else []
    assert backend.find(service, tags=json.dumps(tags)) == expected
    assert backend.find(service, tag=[f"{key}:{value}" for key, value in tags.items()]) == expected


def test_the_last_of_several_tags_counts(backend, service):
    backend.export(resource_spans(service, span(tags={"a": "1"})))
    one, two = '{"a":"1"}', '{"a":"2"}'
    assert len(backend.find(service, tags=[two, one])) == 1
    assert len(backend.find(service, tags=[one, two])) == 0
    assert len(backend.find(service, tags=one, tag="a:2")) == 1


def test_one_span_must_have_it_all(backend, service):
    root = span("root", tags={"a": "1"}, duration=SECOND)
    child = span("child", parent=root, tags={"b": "2"})
    backend.export(resource_spans(service, root), resource_spans(f"other {service}", child))
    assert len(backend.find(service, operation="root", tags='{"a":"1"}', minDuration="1s")) == 1
    assert backend.find(service, tags='{"a":"1","b":"2"}') == []
    assert backend.find(service, operation="child") == []
    assert backend.find(service, tags='{"b":"2"}') == []
    assert backend.find(service, operation="root", maxDuration="1ms") == []
    assert len(backend.find(f"other {service}", operation="child", maxDuration="1ms")) == 1


def test_a_found_trace_is_whole(backend, service):
    root = span("root")
    backend.export(resource_spans(service, root, *(span(f"child {n}", parent=root) for n in range(5))))
    (trace,) = backend.data("traces", service=service, operation="child 3")
    (by_id,) = backend.data(f"traces/{root['traceId']}")
    assert {one["operationName"] for one in trace["spans"]} == {
        one["operationName"] for one in by_id["spans"]
    }
    assert len(trace["spans"]) == 6


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"minDuration": "400ms"}, True),
        ({"minDuration": "400000001ns"}, False),
        ({"minDuration": "0.4s"}, True),
        ({"minDuration": ".4s"}, True),
        ({"minDuration": "0.401s"}, False),
        ({"minDuration": "400000us"}, True),
        ({"minDuration": "400000µs"}, True),
        ({"minDuration": "400000μs"}, True),
        ({"minDuration": "0m0.4s"}, True),
        ({"minDuration": "1m"}, False),
        ({"minDuration": "1h30m"}, False),
        ({"minDuration": "-1s"}, True),
        ({"minDuration": "0"}, True),
        ({"minDuration": ""}, True),
        ({"maxDuration": "400ms"}, True),
        ({"maxDuration": "399999999ns"}, False),
        ({"maxDuration": "1.2s"}, True),
        ({"maxDuration": "-1s"}, False),
        ({"minDuration": "400ms", "maxDuration": "400ms"}, True),
        ({"minDuration": "100ms", "maxDuration": "300ms"}, False),
    ],
)
def test_search_by_duration(backend, service, parameters, found):
    backend.export(resource_spans(service, span(duration=400 * MILLISECOND)))
    assert len(backend.find(service, **parameters)) == found


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [(0, 0, True), (-5, 5, True), (1, 5, False), (-5, -1, False), (None, 0, True), (0, None, True)],
)
def test_search_by_time(backend, service, start, end, found):
    microseconds = time.time_ns() // 1000 - 10_000_000
    backend.export(resource_spans(service, span(start=microseconds * 1000)))
    parameters = {"start": start, "end": end}
    given = {name: microseconds + offset for name, offset in parameters.items() if offset is not None}
    assert len(backend.find(service, **given)) == found


@pytest.mark.parametrize(("age", "found"), [(60, 1), (47 * 3600, 1), (49 * 3600, 0), (-60, 0)])
def test_search_of_the_last_two_days(backend, service, age, found):
    backend.export(resource_spans(service, span(start=time.time_ns() - age * SECOND)))
    assert len(backend.find(service)) == found
    assert len(backend.find(service, lookback="1s")) == found  # a parameter of Jaeger's web pages only


def test_the_newest_traces_come_first(backend, service):
    now = time.time_ns()
    sent = [span(start=now - age * SECOND) for age in (10, 30, 20, 40)]
    for one in sent:
        backend.export(resource_spans(service, one))
    backend.export(resource_spans(service, span(parent=sent[0], start=now - SECOND)))
    newest_first = [one["traceId"] for one in reversed(sent)]
    assert backend.find(service) == newest_first
    assert backend.find(service, limit=2) == newest_first[:2]
    assert backend.find(service, limit="+1") == newest_first[:1]


def test_a_hundred_traces_if_no_limit_is_given(backend, service):
    backend.export(resource_spans(service, *(span() for _ in range(101))))
    assert len(backend.find(service)) == 100
    assert len(backend.find(service, limit="")) == 100
    assert len(backend.find(service, limit=101)) == 101


def test_nothing_found(backend, service):
    answer = backend.get("traces", service=service)
    assert answer.status_code == 200
    assert answer.json() == {"data": [], "total": 0, "limit": 0, "offset": 0, "errors": None}


@pytest.mark.parametrize(
    ("parameters", "code", "message"),
    [
        ({"service": ""}, 400, "parameter 'service' is required"),
        (
            {"minDuration": "2ms", "maxDuration": "1ms"},
            400,
            "'maxDuration' should be greater than 'minDuration'",
        ),
        ({"limit": "0"}, 500, "search depth must be greater than 0 and less than max traces"),
        ({"limit": "-1"}, 500, "search depth must be greater than 0 and less than max traces"),
        ({"limit": "2000000000"}, 500, "search depth must be greater than 0 and less than max traces"),
        ({"tag": "novalue"}, 400, "malformed 'tag' parameter, expecting key:value, received: novalue"),
    ],
)
def test_parameters_refused_in_the_same_words(backend, parameters, code, message):
    answer = backend.get("traces", **{"service": "any", **parameters})
    assert answer.status_code == code
    assert answer.json() == error(code, message)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("start", "end") for value in ("x", "1.5", "1e9", " 1", "9223372036854775808")]
    + [
        (name, value)
        for name in ("minDuration", "maxDuration")
        for value in ("5", "5x", " 1s", "1e3ms", "s", "-")
    ]
    + [("limit", value) for value in ("abc", "1.5", "1_0", "99999999999", "٣")]
    + [("tags", value) for value in ("", "x", "[]", "3", '{"a":1}', '{"a":{}}', '{"a":"b"')],
)
def test_parameters_refused(backend, name, value):
    answer = backend.get("traces", service="any", **{name: value})
    assert_error(answer, 400)
    if name != "limit":
        assert f"'{name}'" in answer.json()["errors"][0]["msg"]


# Dependencies


def calls(backend: Backend, service: str, **parameters: Any) -> dict[tuple[str, str], int]:
    """Return the calls between services of a test."""
    links = backend.data("dependencies", **parameters)
    return {
        (one["parent"].removesuffix(service), one["child"].removesuffix(service)): one["callCount"]
        for one in links
        if one["parent"].endswith(service) and one["child"].endswith(service)
    }


def test_dependencies(backend, service):
    now = time.time_ns()
    start = now - 60 * SECOND
    later = start + SECOND // 2
    for _ in range(3):
        root = span("loop", start=start, duration=SECOND)
        call = span("GET", parent=root, start=later)
        served = span("GET", parent=call, start=later)
        orphan = span("GET", trace_id=root["traceId"], parentSpanId="f" * 16, start=later)
        link = {"traceId": root["traceId"], "spanId": root["spanId"]}
        stored = span("SET", parent=served, start=later, links=[link])
        backend.export(
            resource_spans(f"worker{service}", root, call),
            resource_spans(f"rng{service}", served, orphan),
            resource_spans(f"store{service}", stored),
        )
    expected = {("worker", "worker"): 3, ("worker", "rng"): 3, ("rng", "store"): 3}
    milliseconds = now // MILLISECOND
    assert calls(backend, service) == expected
    assert calls(backend, service, endTs=milliseconds) == expected
    assert calls(backend, service, endTs=milliseconds, lookback=60_100) == expected
    assert calls(backend, service, endTs=milliseconds, lookback=59_900) == {}
    assert calls(backend, service, endTs=milliseconds - 58_900, lookback=5_000) == expected
    assert calls(backend, service, endTs=milliseconds - 59_100, lookback=5_000) == {}
    assert calls(backend, service, endTs=milliseconds + 25 * 3_600_000) == {}


def test_no_dependencies(backend):
    answer = backend.get("dependencies", endTs=1000, lookback=1000)
    assert answer.json() == {"data": [], "total": 0, "limit": 0, "offset": 0, "errors": None}


@pytest.mark.parametrize(
    ("parameters", "code"),
    [({"endTs": "x"}, 400), ({"lookback": "5s"}, 400), ({"lookback": "1.5"}, 400), ({"lookback": "-5"}, 500)],
)
def test_dependency_parameters_refused(backend, parameters, code):
    assert_error(backend.get("dependencies", **parameters), code)


# OTLP/HTTP


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", "Application/JSON"])
@pytest.mark.parametrize("compress", [False, True])
def test_json_in_json_out(backend, content_type, compress):
    body = b'{"resourceSpans": [], "unknown": {"field": 1}}'
    headers = {"Content-Encoding": "gzip"} if compress else {}
    answer = backend.post(gzip.compress(body) if compress else body, content_type, **headers)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == JSON
    assert not answer.json().get("partialSuccess")


def test_protobuf_in_protobuf_out(backend):
    answer = backend.post(b"", PROTOBUF)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == PROTOBUF
    assert ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans == 0


@pytest.mark.parametrize(
    ("body", "content_type", "encoding"),
    [
        (b"", JSON, ""),
        (b"{", JSON, ""),
        (b"[]", JSON, ""),
        (b'{"resourceSpans": 3}', JSON, ""),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xy"}]}]}]}', JSON, ""),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": 3}]}]}]}', JSON, ""),
        (b"[" * 100_000, JSON, ""),
        (b"\xff\xff\xff", PROTOBUF, ""),
        (b"\x0a\x05", PROTOBUF, ""),
        (b"{}", JSON, "gzip"),
        (gzip.compress(b"{}" * 100, mtime=0)[:-12], JSON, "gzip"),
        (gzip.compress(b"{}", mtime=0) + b"more", JSON, "gzip"),
        (b"{}", JSON, "br"),
        (b"", PROTOBUF, "br"),
    ],
)
def test_bodies_refused(backend, body, content_type, encoding):
    answer = backend.post(body, content_type, **({"Content-Encoding": encoding} if encoding else {}))
    assert answer.status_code == 400
    assert_status(answer, content_type)


@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
def test_a_bomb_is_refused(backend, content_type):
    bomb = gzip.compress(bytes(100 * 2**20))
    answer = backend.post(bomb, content_type, **{"Content-Encoding": "gzip"})
    assert answer.status_code in (400, 413)  # Jaeger's receiver says 400
    assert_status(answer, content_type)


def assert_status(answer: requests.Response, content_type: str) -> None:
    """An error of OTLP/HTTP is a google.rpc.Status in the encoding of the request."""
    assert answer.headers["Content-Type"] == content_type
    if content_type == JSON:
        status = answer.json()
    else:
        parsed = Status.FromString(answer.content)
        status = {"code": parsed.code, "message": parsed.message}
    assert status["code"] == 3  # INVALID_ARGUMENT
    assert status["message"]
    assert "\n" not in status["message"]


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "json"])
def test_content_types_refused(backend, content_type):
    answer = backend.post(b"{}", content_type)
    assert answer.status_code == 415
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert PROTOBUF in answer.text
    assert JSON in answer.text


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_methods_refused(backend, method):
    answer = requests.request(method, backend.otlp, timeout=30)
    assert answer.status_code == 405
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "POST" in answer.text
