"""The embedded trace store: what comes in by OTLP, and what its query API is asked for."""

import gzip
import json
import zlib
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.fuzz import strategies
from tests.fuzz.checks import send
from tests.fuzz.client import Answer, Client, Request
from tests.spans import request as export_request
from tests.spans import resource_spans, span
from workshop.tracestore import otlp

SEARCH = [
    *(
        "service",
        "operation",
        "tag",
        "tags",
        "minDuration",
        "maxDuration",
        "start",
        "end",
        "limit",
        "lookback",
    ),
]
QUERIES = {
    "/api/services": [],
    "/api/services/s/operations": [],
    "/api/operations": ["service", "spanKind"],
    "/api/traces": SEARCH,
    "/api/traces/1": ["start", "end"],
    f"/api/traces/{'a' * 32}": ["raw"],
    "/api/dependencies": ["endTs", "lookback"],
    "/metrics": ["name[]"],
}
QUERY_PATHS = list(QUERIES)
QUERY_NAMES = sorted({name for names in QUERIES.values() for name in names})
KEYS = [
    *("resourceSpans", "resource", "scopeSpans", "scope", "spans", "attributes", "key", "value", "traceId"),
    *("spanId", "parentSpanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano", "events", "links"),
    *(
        "status",
        "code",
        "message",
        "traceState",
        "timeUnixNano",
        "droppedAttributesCount",
        "flags",
        "version",
    ),
    *(
        "stringValue",
        "intValue",
        "doubleValue",
        "boolValue",
        "bytesValue",
        "arrayValue",
        "kvlistValue",
        "values",
    ),
]
ACCEPTED = {200, 400, 413}


def deep(depth: int) -> Any:
    """Return a value of OTLP JSON that lies in so many lists."""
    value: Any = {"stringValue": "core"}
    for _ in range(depth):
        value = {"arrayValue": {"values": [value]}}
    return value


scalars = st.one_of(
    st.none() | st.booleans() | st.floats() | st.text(max_size=10),
    st.integers(-(2**70), 2**70),
    st.sampled_from(
        ["", "0", "-1", "NaN", "Infinity", "1e5", "a" * 32, "0" * 32, "b" * 16, "zz", "\ud800", "=="]
    ),
    st.sampled_from([2**31, 2**32, 2**63, 2**64, 10**400, 1e308, -0.0, strategies.HTML, "x" * 5000]),
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
) | st.integers(0, 300).map(deep)


def honest() -> dict[str, Any]:
    """Return a request with every part that a span can have."""
    one = span(
        "operation",
        tags={
            "text": "a",
            "number": 1,
            "float": 1.5,
            "yes": True,
            "bytes": b"\xff",
            "list": [1],
            "map": {"a": 1},
        },
        kind=3,
        status={"code": 2, "message": "m"},
        links=[{"traceId": "c" * 32, "spanId": "d" * 16}],
        events=[
            {"name": "e", "timeUnixNano": "1", "attributes": [{"key": "k", "value": {"stringValue": "v"}}]}
        ],
    )
    return export_request(resource_spans("s", one, span(parent=one), scope={"name": "scope", "version": "1"}))


def places(document: Any) -> list[tuple[Any, Any]]:
    """Return each place of a document, as a container and a key in it."""
    found: list[tuple[Any, Any]] = []
    if isinstance(document, dict | list):
        for key in document if isinstance(document, dict) else range(len(document)):
            found += [(document, key), *places(document[key])]
    return found


def replaced(changes: list[tuple[int, Any]]) -> dict[str, Any]:
    """Return an honest request with other values in some of its places."""
    document = honest()
    for number, value in changes:
        known = places(document)
        if known:
            container, key = known[number % len(known)]
            container[key] = value
    return document


def damaged(body: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    """Return bytes of which some were replaced, put in, taken out, or cut off."""
    data = bytearray(body)
    for change, number, some in changes:
        at = number % (len(data) + 1)
        match change:
            case "replace":
                data[at : at + len(some)] = some
            case "insert":
                data[at:at] = some
            case "remove":
                del data[at : at + len(some)]
            case "cut":
                del data[at:]
    return bytes(data)


places_and_values = st.lists(st.tuples(st.integers(0, 10_000), documents), min_size=1, max_size=3)
damages = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "remove", "cut"]),
        st.integers(0, 10_000),
        st.binary(min_size=1, max_size=4) | st.sampled_from([b"\xff" * 10, b"\x12\x00", b"\x80" * 20]),
    ),
    max_size=4,
)
encodings = st.sampled_from(["", "", "gzip", "deflate", "br", "GZIP", "gzip, gzip"])


def packed(body: bytes, encoding: str) -> bytes:
    match encoding:
        case "gzip":
            return gzip.compress(body, 1)
        case "deflate":
            return zlib.compress(body, 1)
    return body


def export(client: Client, media_type: str, *sent: tuple[bytes, str]) -> list[Answer]:
    """Send bodies, each in a content encoding; return the answers, all of which must be of OTLP."""
    content_type = (b"Content-Type", media_type.encode())
    requests = []
    for body, encoding in sent:
        headers = (content_type, (b"Content-Encoding", encoding.encode())) if encoding else (content_type,)
        requests.append(Request(b"/v1/traces", b"POST", headers, body))
    answers = send(client, *requests)
    for answer in answers:
        check_otlp(answer, media_type)
    return answers


def check_otlp(answer: Answer, media_type: str) -> None:
    assert answer.status in ACCEPTED, answer
    assert answer.header("content-type") == media_type
    if media_type == otlp.PROTOBUF:
        if answer.status == 200:
            ExportTraceServiceResponse.FromString(answer.body)
        else:
            assert Status.FromString(answer.body).message
    else:
        document = json.loads(answer.body)
        assert answer.status == 200 or document["message"]
    assert len(answer.body) < 1000


several = st.lists(places_and_values, min_size=strategies.REQUESTS, max_size=strategies.REQUESTS)


@given(several)
def test_otlp_json_of_the_wrong_types(clients: dict[str, Client], changes: list[Any]) -> None:
    export(clients["otlp"], otlp.JSON, *((json.dumps(replaced(one)).encode(), "") for one in changes))
    readable(clients["query"])


@given(st.lists(documents, min_size=strategies.REQUESTS, max_size=strategies.REQUESTS), st.lists(damages))
def test_json_that_is_no_otlp(clients: dict[str, Client], some: list[Any], damage: list[Any]) -> None:
    bodies = [json.dumps(one).encode() for one in some] + [
        damaged(json.dumps(honest()).encode(), one) for one in damage
    ]
    export(clients["otlp"], otlp.JSON, *((body, "") for body in bodies))


@given(st.lists(st.tuples(damages, encodings), min_size=strategies.REQUESTS, max_size=strategies.REQUESTS))
def test_otlp_protobuf_that_is_damaged(clients: dict[str, Client], some: list[tuple[Any, str]]) -> None:
    body = otlp.decode(json.dumps(honest()).encode(), otlp.JSON).SerializeToString()
    export(
        clients["otlp"],
        otlp.PROTOBUF,
        *((packed(damaged(body, damage), encoding), encoding) for damage, encoding in some),
        *((damaged(packed(body, encoding), damage), encoding) for damage, encoding in some),
    )
    readable(clients["query"])


def readable(query: Client) -> None:
    """What got into the store must come out of it again."""
    send(
        query,
        Request(b"/api/traces?service=s&limit=5"),
        Request(b"/api/traces?service=service-name-wrong-type&limit=5"),
        Request(b"/api/dependencies"),
    )


@given(strategies.requests(["/v1/traces"], ["x"]))
def test_wrong_requests_to_the_receiver(clients: dict[str, Client], some: list[Request]) -> None:
    send(clients["otlp"], *some)


@given(strategies.requests(QUERY_PATHS, QUERY_NAMES))
def test_the_query_api(clients: dict[str, Client], some: list[Request]) -> None:
    send(clients["query"], *some)


def with_parameters(path: str) -> st.SearchStrategy[str]:
    """Return a path with some of the parameters that it takes, each of any value."""
    values = st.one_of(strategies.numbers, strategies.numbers, strategies.numbers, strategies.texts)
    optional = dict.fromkeys(QUERIES[path], values)
    return st.fixed_dictionaries({}, optional=optional).map(
        lambda chosen: f"{path}?{strategies.encoded({'service': 's'} | chosen)}"
    )


queries = st.sampled_from([path for path in QUERIES if QUERIES[path]]).flatmap(with_parameters)


@given(st.lists(queries, min_size=strategies.REQUESTS, max_size=strategies.REQUESTS))
def test_parameters_of_the_query_api(clients: dict[str, Client], targets: list[str]) -> None:
    send(clients["query"], *(Request(target.encode()) for target in targets))


@pytest.mark.parametrize("count", [101, 2000, 10_000])
def test_a_search_for_very_many_tags(clients, count):
    tags = "&".join(f"tag=a{number}:b" for number in range(count))
    (answer,) = send(clients["query"], Request(f"/api/traces?service=s&{tags}".encode()))
    assert answer.status == 400
    assert "tags" in json.loads(answer.body)["errors"][0]["msg"]
