"""The trace store's web applications: bad input, partial success, and what Jaeger would not answer."""

import gzip
import json
import re
import tracemalloc

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.spans import new_span_id, new_trace_id, request, resource_spans, span
from workshop.tracestore import otlp
from workshop.tracestore.app import MAX_BODY_BYTES, create_otlp_app, create_query_app
from workshop.tracestore.store import TraceStore


@pytest.fixture
def store():
    return TraceStore(max_spans=100)


@pytest.fixture
def receiver(store):
    return create_otlp_app(store).test_client()


@pytest.fixture
def query(store):
    return create_query_app(store).test_client()


def export(receiver, *parts):
    return receiver.post("/v1/traces", json=request(*parts))


def tags_of(query, sent):
    (trace,) = query.get(f"/api/traces/{sent['traceId']}").json["data"]
    return {tag["key"]: (tag["type"], tag["value"]) for tag in trace["spans"][0]["tags"]}


# What comes in


def test_full_success_has_no_partial_success(receiver):
    answer = export(receiver, resource_spans("s", span()))
    assert (answer.status_code, answer.content_type, answer.json) == (200, "application/json", {})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"traceId": ""}, "has the trace ID ''"),
        ({"traceId": "ab"}, "has the trace ID 'ab'"),
        ({"traceId": "0" * 32}, "has the trace ID '00000000000000000000000000000000'"),
        ({"traceId": "a" * 34}, "has the trace ID 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"),
        ({"spanId": ""}, "has the span ID ''"),
        ({"spanId": "0" * 16}, "has the span ID '0000000000000000'"),
        ({"spanId": "a" * 14}, "has the span ID 'aaaaaaaaaaaaaa'"),
        ({"parentSpanId": "ab"}, "has the parent span ID 'ab'"),
        ({"links": [{"traceId": "ab", "spanId": "a" * 16}]}, "has a link"),
        ({"links": [{"traceId": "a" * 32, "spanId": ""}]}, "has a link"),
        ({"startTimeUnixNano": str(2**63)}, "starts or ends after the year 2262"),
        ({"endTimeUnixNano": str(2**64 - 1)}, "starts or ends after the year 2262"),
    ],
)
@pytest.mark.parametrize("encoding", [otlp.JSON, otlp.PROTOBUF])
def test_invalid_spans_are_rejected_one_by_one(store, receiver, query, fields, reason, encoding):
    good, bad = span("good"), {**span("bad"), **fields}
    body = json.dumps(request(resource_spans("s", bad, good, bad))).encode()
    if encoding == otlp.PROTOBUF:
        body = otlp.decode(body, otlp.JSON).SerializeToString()
    answer = receiver.post("/v1/traces", data=body, content_type=encoding)
    assert answer.status_code == 200
    if encoding == otlp.PROTOBUF:
        partial = ExportTraceServiceResponse.FromString(answer.data).partial_success
        rejected, message = partial.rejected_spans, partial.error_message
    else:
        rejected = int(answer.json["partialSuccess"]["rejectedSpans"])
        message = answer.json["partialSuccess"]["errorMessage"]
    assert rejected == 2
    assert message.startswith(f"rejected: 2; first: span 'bad' of 's' {reason}")
    assert store.counts() == (3, 2, 0, 1, 1)
    assert query.get("/api/services/s/operations").json["data"] == ["good"]


def test_a_parent_of_zeros_is_none(receiver, query):
    sent = span(parentSpanId="0" * 16)
    assert export(receiver, resource_spans("s", sent)).json == {}
    (trace,) = query.get(f"/api/traces/{sent['traceId']}").json["data"]
    assert trace["spans"][0]["references"] == []
    assert trace["spans"][0]["warnings"] is None


def test_a_link_to_nothing_is_dropped_with_a_warning(receiver, query):
    sent = span(links=[{"traceId": "0" * 32, "spanId": "1" * 16}])
    export(receiver, resource_spans("s", sent))
    (trace,) = query.get(f"/api/traces/{sent['traceId']}").json["data"]
    assert trace["spans"][0]["references"] == []
    assert trace["spans"][0]["warnings"] == ["Invalid span reference removed"]


def test_the_same_spans_in_json_and_in_protobuf(store, receiver, query):
    sent = span(tags={"bytes": b"\x00\xff", "list": [1, "a"]}, links=[span()])
    body = json.dumps(request(resource_spans("s", sent))).encode()
    assert receiver.post("/v1/traces", data=body, content_type=otlp.JSON).status_code == 200
    decoded = otlp.decode(body, otlp.JSON)
    assert decoded.resource_spans[0].scope_spans[0].spans[0].trace_id.hex() == sent["traceId"]
    protobuf = decoded.SerializeToString()
    assert receiver.post("/v1/traces", data=protobuf, content_type=otlp.PROTOBUF).status_code == 200
    assert store.counts().spans == 1  # the second is an exact copy


def test_json_with_unknown_fields_and_other_spellings(receiver, query):
    sent = span(kind="SPAN_KIND_SERVER", status={"code": "STATUS_CODE_ERROR"}, unknown={"a": []})
    sent["startTimeUnixNano"] = int(sent["startTimeUnixNano"])
    sent["traceId"] = sent["traceId"].upper()
    sent["links"] = None
    assert export(receiver, resource_spans("s", sent)).json == {}
    assert tags_of(query, sent) == {
        "span.kind": ("string", "server"),
        "otel.status_code": ("string", "ERROR"),
        "error": ("bool", True),
    }


def assert_status(answer, code, text):
    assert answer.status_code == code
    if answer.content_type == otlp.PROTOBUF:
        message = Status.FromString(answer.data).message
    else:
        assert answer.content_type == otlp.JSON
        assert answer.json["code"] == 3
        message = answer.json["message"]
    assert text in message
    assert "\n" not in message
    assert "Traceback" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "is not valid OTLP JSON: Expecting value"),
        (b'{"resourceSpans"', "is not valid OTLP JSON: Expecting ':' delimiter"),
        (b"[]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b'"text"', "is not a JSON object"),
        (b'{"resourceSpans": ["\\ud800"]}', "surrogates not allowed"),
        (b"\xff", "is not valid OTLP JSON: 'utf-8' codec can't decode"),
        (b"[" * 10_000, "is not valid OTLP JSON: maximum recursion depth exceeded"),
        (b'{"a":' * 10_000, "is not valid OTLP JSON: maximum recursion depth exceeded"),
        (b'{"resourceSpans": 1}', "is not valid OTLP JSON: "),
        (b'{"resourceSpans": [1]}', "is not valid OTLP JSON: "),
        (b'{"resourceSpans": {"scopeSpans": []}}', "is not valid OTLP JSON: "),
        (b'{"resourceSpans": "x"}', "is not valid OTLP JSON: "),
        (json.dumps(request(resource_spans("s", span(traceId="xyz")))).encode(), "traceId 'xyz' is not hexa"),
        (json.dumps(request(resource_spans("s", span(traceId="a" * 31)))).encode(), "is not hexadecimal"),
        (json.dumps(request(resource_spans("s", span(traceId=5)))).encode(), "traceId"),
        (json.dumps(request(resource_spans("s", span(name=5)))).encode(), "name field: "),
        (json.dumps(request(resource_spans("s", span(endTimeUnixNano=-1)))).encode(), "endTimeUnixNano"),
        (json.dumps(request(resource_spans("s", span(kind=[])))).encode(), "kind"),
        (json.dumps(request(resource_spans("s", span(startTimeUnixNano="1" * 5000)))).encode(), "startTime"),
    ],
)
def test_malformed_json(store, receiver, body, text):
    assert_status(receiver.post("/v1/traces", data=body, content_type=otlp.JSON), 400, text)
    assert store.counts() == (0, 0, 0, 0, 0)


def deep_attribute(depth: int) -> bytes:
    request_ = ExportTraceServiceRequest()
    value = request_.resource_spans.add().resource.attributes.add(key="k").value
    for _ in range(depth):
        value = value.array_value.values.add()
    return request_.SerializeToString()


@pytest.mark.parametrize(
    "body", [b"\xff\xff\xff", b"\x0a\x05", b"\x0a\x02\x12", b"not protobuf at all", deep_attribute(200)]
)
def test_malformed_protobuf(store, receiver, body):
    answer = receiver.post("/v1/traces", data=body, content_type=otlp.PROTOBUF)
    assert_status(answer, 400, "is not valid OTLP protobuf: ")
    assert store.counts() == (0, 0, 0, 0, 0)


def test_nested_values(receiver, query):
    sent = span(tags={"deep": None})
    value: object = "core"
    for _ in range(20):
        value = [value]
    sent["attributes"] = span(tags={"deep": value})["attributes"]
    assert export(receiver, resource_spans("s", sent)).json == {}
    assert tags_of(query, sent)["deep"] == ("string", "[" * 20 + '"core"' + "]" * 20)


@pytest.mark.parametrize(
    ("encoding", "body", "code", "text"),
    [
        ("gzip", b"", 400, "is not valid gzip"),
        ("gzip", b"{}", 400, "is not valid gzip"),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-1], 400, "ends too early"),
        ("gzip", gzip.compress(b"{}", mtime=0) + b"x", 400, "too late"),
        ("deflate", b"{}", 400, "is not valid deflate"),
        ("br", b"{}", 400, "'br' is not known: gzip, deflate or none is accepted"),
        ("gzip, gzip", b"{}", 400, "'gzip, gzip' is not known"),
        ("gzip", gzip.compress(b"[" * 1000, mtime=0), 400, "maximum recursion depth"),
    ],
)
@pytest.mark.parametrize("content_type", [otlp.JSON, otlp.PROTOBUF])
def test_content_encodings(receiver, encoding, body, code, text, content_type):
    if content_type == otlp.PROTOBUF and "recursion" in text:
        text = "is not valid OTLP protobuf"
    headers = {"Content-Encoding": encoding}
    answer = receiver.post("/v1/traces", data=body, content_type=content_type, headers=headers)
    assert_status(answer, code, text)


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 10 * MAX_BODY_BYTES])
def test_a_gzip_bomb_is_not_inflated(receiver, size):
    bomb = gzip.compress(bytes(size), compresslevel=9)
    headers = {"Content-Encoding": "gzip"}
    answer = receiver.post("/v1/traces", data=bomb, content_type=otlp.JSON, headers=headers)
    assert_status(answer, 413, f"at most {MAX_BODY_BYTES} bytes are accepted")


def test_no_more_is_inflated_than_accepted():
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(otlp.TooLargeError):
        otlp.decompress(bomb, "gzip", 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_body_that_is_too_large(receiver):
    answer = receiver.post("/v1/traces", data=bytes(MAX_BODY_BYTES + 1), content_type=otlp.PROTOBUF)
    assert_status(answer, 413, f"at most {MAX_BODY_BYTES} bytes are accepted")


def test_a_body_as_large_as_accepted(receiver):
    body = b"{}".ljust(MAX_BODY_BYTES)
    for data, headers in ((body, {}), (gzip.compress(body), {"Content-Encoding": "gzip"})):
        answer = receiver.post("/v1/traces", data=data, content_type=otlp.JSON, headers=headers)
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "content_type", "code", "text"),
    [
        ("GET", "/v1/traces", None, 405, "the method GET is not accepted here; accepted: POST"),
        ("OPTIONS", "/v1/traces", None, 405, "accepted: POST"),
        ("POST", "/v1/traces", None, 415, "the content type '' is not known: application/x-protobuf and"),
        ("POST", "/v1/traces", "text/html", 415, "the content type 'text/html' is not known"),
        ("POST", "/v1/metrics", None, 404, "/v1/metrics is not served here"),
        ("GET", "/api/services", None, 404, "/api/services is not served here"),
        ("GET", "/metrics", None, 404, "/metrics is not served here"),
    ],
)
def test_wrong_use_of_the_receiver(receiver, method, path, content_type, code, text):
    answer = receiver.open(path, method=method, content_type=content_type)
    assert answer.status_code == code
    assert answer.content_type == "text/plain; charset=utf-8"
    assert text in answer.text
    assert answer.text.count("\n") == 1
    if code == 405:
        assert answer.headers["Allow"] == "POST"


# What goes out


@pytest.mark.parametrize(
    ("written", "shown"), [("NaN", "nan"), ("Infinity", "inf"), ("-Infinity", "-inf"), (-0.0, -0.0)]
)
def test_numbers_that_json_cannot_say(receiver, query, written, shown):
    sent = span(attributes=[{"key": "x", "value": {"doubleValue": written}}])
    export(receiver, resource_spans("s", sent))
    answer = query.get(f"/api/traces/{sent['traceId']}")
    json.loads(answer.data, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    kind, value = tags_of(query, sent)["x"]
    assert (kind, str(value).lower().removesuffix("inity")) == ("float64", str(shown))


def test_a_number_that_json_cannot_say_in_a_list(receiver, query):
    sent = span(attributes=[{"key": "x", "value": {"arrayValue": {"values": [{"doubleValue": "NaN"}]}}}])
    export(receiver, resource_spans("s", sent))
    assert tags_of(query, sent)["x"] == ("string", "")


@pytest.mark.parametrize(
    ("method", "path", "code", "text"),
    [
        ("GET", "/", 404, "/ is not served here"),
        ("GET", "/api/nothing", 404, "/api/nothing is not served here"),
        ("GET", "/v1/traces", 404, "/v1/traces is not served here"),
        ("POST", "/api/traces", 405, "the method POST is not accepted here; accepted: GET, HEAD"),
        ("DELETE", "/api/traces/1", 405, "accepted: GET, HEAD"),
    ],
)
def test_wrong_use_of_the_query_api(query, method, path, code, text):
    answer = query.open(path, method=method)
    assert answer.status_code == code
    assert answer.json["data"] is None
    (error,) = answer.json["errors"]
    assert error["code"] == code
    assert text in error["msg"]
    if code == 405:
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"minDuration": "5"}, "unable to parse param 'minDuration': '5' is not a duration such as 400ms"),
        ({"minDuration": "9" * 30 + "h"}, "is longer than 292 years"),
        ({"minDuration": "1s" * 100}, "is not a duration"),
        ({"start": "x" * 10_000}, "is not a whole number of 64 bits"),
        (
            {"limit": "2147483648"},
            "unable to parse param 'limit': '2147483648' is not a whole number of 32 bits",
        ),
        ({"tags": '{"a":1}'}, 'such as {"http.response.status_code":"500"}'),
        ({"tags": "[" * 100_000}, "maximum recursion depth"),
        ({"tag": "x" * 1000}, "expecting key:value, received: " + "x" * 80),
        ({"tag": [f"a{n}:" for n in range(101)]}, "101 tags are too many to search for: up to 100 are"),
    ],
)
def test_what_is_said_of_wrong_parameters(query, parameters, text):
    answer = query.get("/api/traces", query_string={"service": "s", **parameters})
    assert answer.status_code == 400
    message = answer.json["errors"][0]["msg"]
    assert text in message
    assert len(message) < 200


def test_times_beyond_all_bounds(receiver, query):
    export(receiver, resource_spans("s", span()))
    largest = 2**63 - 1
    for parameters in ({"start": -largest, "end": largest}, {"start": -largest}, {"end": largest}):
        answer = query.get("/api/traces", query_string={"service": "s", **parameters})
        assert len(answer.json["data"]) == 1
    for end in (-largest, -1, largest):
        answer = query.get("/api/dependencies", query_string={"endTs": end, "lookback": largest})
        assert answer.status_code == 200


def test_no_services(query):
    assert query.get("/api/services").json == {
        "data": None,
        "total": 0,
        "limit": 0,
        "offset": 0,
        "errors": None,
    }


def test_as_many_traces_as_the_store_can_hold(query):
    assert query.get("/api/traces?service=s&limit=100").status_code == 200
    assert query.get("/api/traces?service=s&limit=101").status_code == 500


def test_metrics(receiver, query):
    export(receiver, resource_spans("s", *(span() for _ in range(60)), span(traceId="")))
    export(receiver, resource_spans("s", *(span(trace_id=new_trace_id()) for _ in range(70))))
    answer = query.get("/metrics")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    samples = dict(re.findall(r"^(dockercoins\S+) (\S+)$", answer.text, re.MULTILINE))
    assert {name: float(value) for name, value in samples.items()} == {
        "dockercoins_tracestore_spans_received_total": 131,
        "dockercoins_tracestore_spans_rejected_total": 1,
        "dockercoins_tracestore_spans_evicted_total": 30,
        "dockercoins_tracestore_spans_stored": 100,
        "dockercoins_tracestore_traces_stored": 100,
    }
    types = dict(re.findall(r"^# TYPE (dockercoins\S+) (\S+)$", answer.text, re.MULTILINE))
    assert set(types) == set(samples)
    assert all((kind == "counter") == name.endswith("_total") for name, kind in types.items())


@pytest.mark.parametrize("version", ["abc", "1.x", "9" * 5000, "\xff"])
@pytest.mark.parametrize("media_type", ["text/plain", "application/openmetrics-text"])
def test_metrics_in_a_version_that_is_none(query, media_type, version):
    answer = query.get("/metrics", headers={"Accept": f"{media_type};version={version}"})
    assert answer.status_code == 200
    assert "dockercoins_tracestore_spans_stored 0.0" in answer.text


def test_rejected_spans_are_counted_and_not_kept(receiver):
    body = otlp.decode(json.dumps(request(resource_spans("s"))).encode(), otlp.JSON)
    for _ in range(50_000):
        body.resource_spans[0].scope_spans[0].spans.add()
    tracemalloc.start()
    batch = otlp.check(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (batch.rejected, batch.groups) == (50_000, [])
    assert peak < 50_000 * 20  # a text for each takes some 200 bytes


def test_strange_texts_survive(receiver, query):
    text = "\u2028<script>alert('x')</script>\x00\U0001f600"
    sent = span(text, tags={text: text}, spanId=new_span_id())
    export(receiver, resource_spans(text, sent))
    assert tags_of(query, sent) == {text: ("string", text)}
    answer = query.get("/api/traces", query_string={"service": text, "tags": json.dumps({text: text})})
    assert answer.json["data"][0]["spans"][0]["operationName"] == text
