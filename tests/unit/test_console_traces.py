"""The console's pages of traces: the numbers on traces with known answers, and the pages on a real store."""

import json
import random
import re
import time
from itertools import pairwise

import pytest

from tests.live.test_trace_backend_contract import run_embedded, run_jaeger
from tests.spans import MILLISECOND, SECOND, new_trace_id, request, resource_spans, span
from tests.support import free_ports, poll_until
from workshop.console.app import create_app
from workshop.console.backends import Backends
from workshop.console.traces import formats, search
from workshop.console.traces.compare import compare
from workshop.console.traces.critical_path import critical_path, self_time, shares
from workshop.console.traces.graph import covered_seconds, graph, newest, percentile
from workshop.console.traces.layout import LABEL_HEIGHT, LABEL_WIDTH, layout
from workshop.console.traces.model import parse
from workshop.console.traces.waterfall import MAX_NESTED, MAX_ROWS, rows
from workshop.lab import load

TRACE_ID = "ab" * 16
NOWHERE = "http://127.0.0.1:9"


def one(name, start, end, parent=None, *, kind="CHILD_OF", service="s", **tags):
    """Return a span of Jaeger's JSON from `start` to `end`, in microseconds; its ID is its name."""
    references = [{"refType": kind, "traceID": TRACE_ID, "spanID": parent}] if parent else []
    return {
        "spanID": name,
        "operationName": name.rstrip("0123456789"),
        "startTime": start,
        "duration": end - start,
        "processID": service,
        "references": references,
        "tags": [{"key": key.replace("_", "."), "value": value} for key, value in tags.items()],
        "logs": [],
        "warnings": None,
    }


def trace_of(*spans, trace_id=TRACE_ID):
    processes = {raw["processID"]: {"serviceName": raw["processID"], "tags": []} for raw in spans}
    return parse({"traceID": trace_id, "spans": list(spans), "processes": processes})


def path_of(*spans):
    return [(part.span.span_id, part.start, part.end) for part in critical_path(trace_of(*spans).root)]


# The tree


def test_the_tree():
    trace = trace_of(
        one("c2", 60, 80, "r", service="t"),
        one("r", 0, 100),
        one("c1", 10, 50, "r", error=True),
        one("d", 20, 30, "c1"),
    )
    assert [span.span_id for span in trace.spans] == ["r", "c1", "d", "c2"]
    assert (trace.root.span_id, trace.depth, trace.errors, trace.duration) == ("r", 3, 1, 100)
    assert trace.services == {"s": 3, "t": 1}
    assert (trace.roots, len(trace.tops)) == (1, 1)


def test_spans_without_their_parent_come_after_the_roots():
    trace = trace_of(one("lost", 0, 10, "gone"), one("r2", 8, 9), one("r1", 5, 9), one("below", 1, 2, "lost"))
    assert [span.span_id for span in trace.spans] == ["r1", "r2", "lost", "below"]
    assert trace.roots == 2
    assert [row.span.span_id for row in rows(trace, {}, 10) if row.first_orphan] == ["lost"]


def test_only_orphans():
    trace = trace_of(one("b", 3, 10, "gone"), one("a", 0, 4, "gone"))
    assert (trace.root.span_id, trace.roots) == ("a", 0)


@pytest.mark.parametrize("circle", [("a", "a"), ("a", "b", "a"), ("a", "b", "c", "a")])
def test_spans_that_are_their_own_ancestors(circle):
    spans = [one(child, n, 100, parent) for n, (parent, child) in enumerate(pairwise(circle))]
    trace = trace_of(one("r", 0, 100), *spans, one("below", 1, 2, "a"))
    assert sorted(span.span_id for span in trace.spans) == sorted({"r", "below", *circle})
    assert trace.roots == 1
    assert len(trace.tops) == 2


def test_the_parent_is_the_child_of_reference():
    child = one("c", 0, 1, "a", kind="FOLLOWS_FROM")
    child["references"] += one("c", 0, 1, "b")["references"]
    trace = trace_of(one("r", 0, 9), one("a", 0, 9, "r"), one("b", 0, 9, "r"), child)
    assert next(span.parent.span_id for span in trace.spans if span.span_id == "c") == "b"


def test_a_reference_to_another_trace_is_no_parent():
    child = one("c", 0, 1, "r")
    child["references"][0]["traceID"] = "cd" * 16
    assert trace_of(one("r", 0, 1), child).roots == 2


def test_two_spans_of_one_id():
    trace = trace_of(one("r", 0, 9), one("same", 1, 2, "r"), one("same", 3, 4, "r"), one("c", 1, 2, "same"))
    assert len(trace.spans) == 4


def test_a_trace_deeper_than_pythons_stack():
    depth = 10_000
    spans = [one(f"x{n}", n, 3 * depth - n, f"x{n - 1}" if n else None) for n in range(depth)]
    trace = trace_of(*spans)
    assert trace.depth == depth
    assert len(critical_path(trace.root)) == 2 * depth - 1
    shown = rows(trace, {}, trace.duration)
    assert len(shown) == MAX_ROWS
    assert sum(row.closes for row in shown) == sum(row.folds for row in shown) == MAX_NESTED
    assert len(compare(trace, trace)) == depth


# Critical path and self time


@pytest.mark.parametrize(
    ("spans", "path"),
    [
        pytest.param([one("r", 0, 10)], [("r", 0, 10)], id="alone"),
        pytest.param(
            [one("r", 0, 10), one("a", 2, 5, "r"), one("b", 6, 9, "r")],
            [("r", 0, 2), ("a", 2, 5), ("r", 5, 6), ("b", 6, 9), ("r", 9, 10)],
            id="one after the other",
        ),
        pytest.param(
            [one("r", 0, 10), one("a", 1, 5, "r"), one("b", 1, 8, "r")],
            [("r", 0, 1), ("b", 1, 8), ("r", 8, 10)],
            id="at the same time: only the one that ends last",
        ),
        pytest.param(
            [one("r", 0, 10), one("a", 0, 6, "r"), one("b", 4, 10, "r")],
            [("r", 0, 4), ("b", 4, 10)],
            id="overlapping: the first did not end before the second started",
        ),
        pytest.param(
            [one("r", 0, 10), one("a", 2, 8, "r"), one("d", 3, 4, "a")],
            [("r", 0, 2), ("a", 2, 3), ("d", 3, 4), ("a", 4, 8), ("r", 8, 10)],
            id="three levels",
        ),
        pytest.param(
            [one("r", 0, 10), one("a", 6, 99, "r"), one("d", 7, 50, "a")],
            [("r", 0, 6), ("a", 6, 7), ("d", 7, 10)],
            id="outlasts its parent: clipped",
        ),
        pytest.param(
            [one("r", 10, 20), one("a", 5, 15, "r")],
            [("a", 10, 15), ("r", 15, 20)],
            id="a clock behind: clipped",
        ),
        pytest.param(
            [one("r", 10, 20), one("a", 30, 40, "r"), one("b", 1, 9, "r")],
            [("r", 10, 20)],
            id="wholly outside of the parent",
        ),
        pytest.param(
            [one("r", 0, 10), one("a", 2, 8, "r", kind="FOLLOWS_FROM")],
            [("r", 0, 10)],
            id="follows from: the parent did not wait",
        ),
        pytest.param([one("r", 0, 10), one("a", 4, 4, "r")], [("r", 0, 10)], id="takes no time"),
        pytest.param([one("r", 5, 5), one("a", 5, 5, "r")], [], id="nothing takes time"),
    ],
)
def test_critical_path(spans, path):
    assert path_of(*spans) == path


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ([], 10),
        ([(2, 5)], 7),
        ([(2, 5), (5, 6)], 6),
        ([(2, 5), (4, 8)], 4),
        ([(1, 9), (2, 3), (4, 5)], 2),
        ([(-5, 2), (8, 50)], 6),
        ([(-5, 50)], 0),
        ([(20, 30), (-9, -1)], 10),
    ],
)
def test_self_time(children, expected):
    spans = [one(f"c{n}", 100 + start, 100 + end, "r") for n, (start, end) in enumerate(children)]
    assert self_time(trace_of(one("r", 100, 110), *spans).root) == expected


def nested(rng, parallel):
    """Return a random trace in which children lie within their parents, at the same time if `parallel`."""
    spans = [one("x0", 0, 1_000_000)]
    grow = [spans[0]]
    while grow and len(spans) < 200:
        parent = grow.pop(0)
        low, high = parent["startTime"], parent["startTime"] + parent["duration"]
        for _ in range(rng.randrange(4)):
            if high - low < 10:
                break
            start = rng.randrange(low, high)
            end = rng.randrange(start, high + 1)
            spans.append(one(f"x{len(spans)}", start, end, parent["spanID"]))
            grow.append(spans[-1])
            low = parent["startTime"] if parallel else end
    return spans


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("parallel", [False, True])
def test_what_holds_for_every_trace(seed, parallel):
    trace = trace_of(*nested(random.Random(seed), parallel))
    path = critical_path(trace.root)
    # It covers the root without gap or overlap.
    assert [part.start for part in path] == [trace.root.start, *(part.end for part in path[:-1])]
    assert path[-1].end == trace.root.end
    for part in path:
        assert part.span.start <= part.start < part.end <= part.span.end
        # Nobody is on it while one of its own children was waited for.
        covered = [child for child in part.span.children if child.end == part.end and child.duration]
        assert not covered
    table = shares(trace, path)
    assert sum(share.critical for share in table) == trace.root.duration
    assert sum(share.spans for share in table) == len(trace.spans)
    if not parallel:
        # One at a time: each moment is the self time of exactly one span, and all of it is critical.
        assert sum(map(self_time, trace.spans)) == trace.root.duration
        assert all(share.critical == share.self_time for share in table)


def test_notes_on_clocks():
    trace = trace_of(one("r", 1_000, 2_000), one("a", 400, 1_500, "r"), one("b", 1_000, 2_001, "r"))
    notes = {row.span.span_id: row.notes for row in rows(trace, {}, trace.duration)}
    assert "starts 600 µs before its parent" in notes["a"][0]
    assert notes["b"] == []  # a microsecond is rounding
    late = trace_of(one("r", 0, 1_000), one("a", 400, 1_500, "r"))
    assert "ends 500 µs after its parent" in rows(late, {}, 1_500)[1].notes[0]


def test_bars():
    trace = trace_of(one("r", 1_000, 2_000), one("a", 1_250, 1_750, "r"))
    _, row = rows(trace, {}, 2_000)
    assert row.bar == (12.5, 25)
    assert row.offset == 250


# Compare


def test_compare():
    a = trace_of(one("loop", 0, 100), one("get1", 0, 40, "loop"), one("get2", 50, 60, "loop"))
    b = trace_of(one("loop", 0, 300), one("get1", 0, 100, "loop"), one("set", 100, 110, "loop"))
    found = {
        (line.depth, line.operation): (line.a.count, line.b.count, line.difference, line.ratio, line.verdict)
        for line in compare(a, b)
    }
    assert found == {
        (0, "loop"): (1, 1, 200, 2.0, "longer"),
        (1, "get"): (2, 1, 50, 1.0, "longer"),
        (1, "set"): (0, 1, 10, None, "longer"),
    }
    loop = compare(a, b)[0]
    assert (loop.a.self_time, loop.b.self_time) == (50, 190)
    assert {line.verdict for line in compare(a, a)} == {""}


def test_compare_by_the_whole_path():
    a = trace_of(one("r", 0, 9), one("x", 0, 5, "r"), one("same", 0, 1, "x"))
    b = trace_of(one("r", 0, 9), one("y", 0, 5, "r"), one("same", 0, 1, "y"))
    assert [(line.operation, line.a.count, line.b.count) for line in compare(a, b)] == [
        *[("r", 1, 1), ("x", 1, 0), ("same", 1, 0), ("y", 0, 1), ("same", 0, 1)]
    ]


# The graph


def loops(count, gap, duration=100, start=0, service="worker"):
    """Return traces of a call to rng and one to Redis, `gap` microseconds from start to start."""
    found = []
    for number in range(count):
        at = start + number * gap
        found.append(
            trace_of(
                one("loop", at, at + duration + 20, service=service),
                one(
                    "GET",
                    at,
                    at + duration,
                    "loop",
                    service=service,
                    span_kind="client",
                    service_peer_name="rng",
                ),
                one("GET /", at, at + 100, "GET", service="rng", span_kind="server"),
                one(
                    *("SET", at, at + 10, "loop"),
                    service=service,
                    span_kind="client",
                    db_system_name="redis",
                    server_address="127.0.0.1",
                    **({"error": True} if number % 4 == 0 else {}),
                ),
                trace_id=f"{service}{number}",
            )
        )
    return found


def test_graph():
    found = graph(loops(40, gap=100_000))
    edges = {(edge.caller, edge.callee): edge for edge in found.edges}
    assert set(edges) == {("worker", "rng"), ("worker", "redis")}
    assert found.services == ["redis", "rng", "worker"]
    assert found.without_spans == {"redis"}
    assert found.covered == pytest.approx(4)
    assert edges["worker", "rng"].rate == pytest.approx(10)
    assert edges["worker", "redis"].error_share == 0.25
    assert edges["worker", "redis"].tag == ("db.system.name", "redis")


def test_the_latency_of_an_edge_is_that_of_the_caller():
    edges = {edge.callee: edge for edge in graph(loops(20, gap=1_000_000, duration=850_000)).edges}
    assert edges["rng"].p95 == 850_000


@pytest.mark.parametrize(
    ("tags", "callee"),
    [
        ({"service_peer_name": "a", "server_address": "b"}, "a"),
        ({"peer_service": "a", "server_address": "b"}, "a"),
        ({"db_system_name": "a", "server_address": "b"}, "a"),
        ({"server_address": "b"}, "b"),
        ({}, None),
    ],
)
def test_whom_a_client_span_calls(tags, callee):
    edges = graph([trace_of(one("r", 0, 9, service="s", span_kind="client", **tags))]).edges
    assert [edge.callee for edge in edges] == ([callee] if callee else [])


def test_a_call_without_a_client_span():
    (edge,) = graph([trace_of(one("r", 0, 9, service="a"), one("x", 1, 5, "r", service="b"))]).edges
    assert (edge.caller, edge.callee, edge.p95, edge.rate, edge.tag) == ("a", "b", 4, None, None)


def test_a_quiet_service_does_not_look_busier_than_it_is():
    # The worker's ten newest cover a second, webui's three cover an hour.
    busy = loops(10, gap=100_000, start=3_600_000_000)
    quiet = [
        trace_of(one("r", at, at + 9, service="webui"), trace_id=f"w{at}") for at in (0, 10, 3_600_500_000)
    ]
    shown = newest([busy, quiet], limit=10)
    assert len(shown) == 11
    assert covered_seconds(shown) == pytest.approx(0.9 * 11 / 10)
    assert len(newest([busy, quiet], limit=11)) == 13


@pytest.mark.parametrize("starts", [[], [5], [5, 5]])
def test_no_rate_without_a_time(starts):
    assert covered_seconds([trace_of(one("r", at, at + 1)) for at in starts]) is None


@pytest.mark.parametrize(
    ("durations", "share", "expected"),
    [
        ([7], 0.95, 7),
        (range(1, 101), 0.95, 95),
        (range(1, 21), 0.95, 19),
        (range(1, 11), 0.95, 10),
        ([3, 1], 0.5, 1),
    ],
)
def test_percentile(durations, share, expected):
    assert percentile(list(durations), share) == expected


@pytest.mark.parametrize(
    "edges",
    [
        [],
        [("a", "a")],
        [("a", "b"), ("b", "a")],
        [("a", "b"), ("b", "c"), ("c", "a"), ("a", "c")],
        [(f"n{i}", f"n{j}") for i in range(30) for j in range(30) if (i * 7 + j * 3) % 11 == 0],
    ],
    ids=["none", "self", "pair", "circle", "thirty services"],
)
def test_layout(edges):
    nodes = sorted({node for edge in edges for node in edge} | {"alone"})
    drawing = layout(nodes, edges)
    assert set(drawing.nodes) == set(nodes)
    assert set(drawing.paths) == set(drawing.labels) == set(edges)
    assert len({(point.x, point.y) for point in drawing.nodes.values()}) == len(nodes)
    for point in (*drawing.nodes.values(), *drawing.labels.values()):
        assert 0 < point.x < drawing.width
        assert 0 < point.y < drawing.height
    labels = list(drawing.labels.values())
    for number, label in enumerate(labels):
        for other in labels[:number]:
            assert abs(label.x - other.x) >= LABEL_WIDTH or abs(label.y - other.y) >= LABEL_HEIGHT


def test_callers_stand_left_of_whom_they_call():
    drawing = layout(["db", "front", "shop"], [("front", "shop"), ("shop", "db"), ("front", "db")])
    assert drawing.nodes["front"].x < drawing.nodes["shop"].x < drawing.nodes["db"].x


# The form


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("", 0),
        ("100ms", 100_000),
        ("1.5s", 1_500_000),
        ("250us", 250),
        ("250µs", 250),
        ("2m", 120_000_000),
        ("1 s", 10**6),
    ],
)
def test_durations(text, microseconds):
    assert search.parse_duration(text) == microseconds


@pytest.mark.parametrize("text", ["\u0665ms", "5", "ms", "-1s", "1e3s", "1h", "1.s", "9" * 100 + "s", "<b>"])
def test_durations_refused(text):
    with pytest.raises(search.FieldError, match="is no duration; accepted: 100ms"):
        search.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        ('a=b  c="d e" f=', {"a": "b", "c": "d e", "f": ""}),
        (r'a="say \"x\" \\"', {"a": 'say "x" \\'}),
        ("a=b=c", {"a": "b=c"}),
        ('{"a": "b", "c d": "e"}', {"a": "b", "c d": "e"}),
        ("{}", {}),
    ],
)
def test_tags(text, tags):
    assert search.parse_tags(text) == tags


@pytest.mark.parametrize(
    "text", ["x", "a b=c", "=b", 'a="b', 'a="b"c', "{", '{"a": 1}', '{"a": {}}', "[1]", 'a="\\x"']
)
def test_tags_refused(text):
    with pytest.raises(search.FieldError, match=r"^[^\n]+$"):
        search.parse_tags(text)


@pytest.mark.parametrize("text", ["error=true", "span.kind=client", '{"otel.status_code": "ERROR"}'])
def test_what_jaeger_cannot_search_for_is_said(text):
    with pytest.raises(search.FieldError, match="Jaeger cannot search for"):
        search.parse_tags(text)


@pytest.mark.parametrize("value", ["rng", "two words", 'a "quoted" one', "back\\slash", "new\nline", "ü"])
def test_a_tag_is_read_as_it_was_written(value):
    assert search.parse_tags(search.logfmt("key", value)) == {"key": value}


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        *[(0, "0"), (999, "999 µs"), (1_500, "1.5 ms"), (99_940, "99.9 ms"), (102_345, "102 ms")],
        *[(1_234_567, "1.23 s"), (90_000_000, "1.5 min")],
    ],
)
def test_durations_as_text(microseconds, text):
    assert formats.duration(microseconds) == text


def test_differences_as_text():
    assert formats.signed_duration(1_500) == "+1.5 ms"
    assert formats.signed_duration(-1_500) == "\N{MINUS SIGN}1.5 ms"
    assert (formats.signed_percent(0.126), formats.signed_percent(-0.001)) == ("+13 %", "0 %")


# The pages: the same with the embedded store and with a real Jaeger


class Console:
    """The console in front of a trace backend."""

    def __init__(self, backend):
        self.backend = backend
        self.export = backend.export
        jaeger_url = backend.query.removesuffix("/api")
        self.client = create_app(Backends(NOWHERE, jaeger_url, NOWHERE), load()).test_client()

    def get(self, path, code=200, **parameters):
        """Return the text of a page, with its white space made plain."""
        answer = self.client.get(
            f"/traces{path}", query_string=parameters or None, headers={"Accept": "text/html"}
        )
        assert answer.status_code == code, answer.text
        assert "Content-Security-Policy" in answer.headers
        return re.sub(r"\s+", " ", answer.text)

    def found(self, **parameters):
        """Return the IDs of the traces in the table of a search, in its order."""
        return re.findall(r'name="trace" value="(\w+)"', self.get("/", **parameters))


@pytest.fixture(scope="module", params=[run_embedded, run_jaeger], ids=["embedded", "jaeger"])
def console(request, tmp_path_factory):
    with request.param(tmp_path_factory.mktemp("backend")) as backend:
        yield Console(backend)


def test_a_backend_without_pages_is_not_linked(console):
    text = console.get("/")
    assert 'aria-label="Other programs"' in text
    assert ">Jaeger</a>" not in text


@pytest.fixture
def service(request):
    return f"{request.node.originalname}-{new_trace_id()[:8]}"


def call(service, *, age=20, duration=400 * MILLISECOND, **fields):
    """Return a trace as the lab makes it: a loop, its call to another service, and what that one did."""
    start = time.time_ns() - age * SECOND
    loop = span("loop", start=start, duration=duration)
    client = span(
        "GET",
        parent=loop,
        start=start + 100 * MILLISECOND,
        duration=duration - 200 * MILLISECOND,
        kind=3,
        tags={"service.peer.name": f"{service}-peer", "http.response.status_code": 200},
        **fields,
    )
    served = span(
        "GET /<n>", parent=client, start=start + 150 * MILLISECOND, duration=100 * MILLISECOND, kind=2
    )
    return loop, client, served


def export_call(console, service, **fields):
    loop, client, served = call(service, **fields)
    console.export(resource_spans(service, loop, client), resource_spans(f"{service}-peer", served))
    return loop["traceId"]


def test_the_search_begins_with_the_worker(console):
    trace_id = export_call(console, "worker")
    page = console.get("/")
    assert "<option selected>worker</option>" in page
    assert trace_id in page


def test_search(console, service):
    short = export_call(console, service, age=20, duration=300 * MILLISECOND)
    long = export_call(console, service, age=60, duration=900 * MILLISECOND)
    old = export_call(console, service, age=600, duration=500 * MILLISECOND)
    assert console.found(service=service) == [short, long, old]
    assert console.found(service=service, sort="longest") == [long, old, short]
    assert console.found(service=service, lookback="5m") == [short, long]
    assert console.found(service=service, operation="loop", min="400ms") == [long, old]
    assert console.found(service=service, operation="loop", min="0.4s", max="600000us") == [old]
    assert console.found(service=service, tags="http.response.status_code=200") == [short, long, old]
    assert console.found(service=service, tags='{"http.response.status_code": "500"}') == []
    assert console.found(service=f"{service}-peer", operation="GET /<n>") == [short, long, old]
    page = console.get("/", service=service)
    assert "all 3 that match" in page
    assert 'data-duration="900000" data-spans="3" data-errors="0" data-roots="1"' in page
    assert f"No trace of {service} in the last 1h matches." in console.get(
        "/", service=service, operation="x"
    )


def test_most_spans_first(console, service):
    few, many = span("r"), span("r")
    console.export(resource_spans(service, few, many, *(span(parent=many) for _ in range(5))))
    assert console.found(service=service, sort="most spans") == [many["traceId"], few["traceId"]]


def test_the_limit_is_said(console, service):
    console.export(resource_spans(service, *(span() for _ in range(21))))
    assert "the newest 20 that match" in console.get("/", service=service, limit="20")
    assert "all 21 that match" in console.get("/", service=service, limit="50")


def test_only_errors(console, service):
    export_call(console, service)
    assert "None of the newest 1 traces that match has an error." in console.get(
        "/", service=service, errors="on"
    )
    failed = export_call(console, service, status={"code": 2})
    export_call(console, service)
    assert console.found(service=service, errors="on") == [failed]
    assert "1 with an error, among the newest 3 that match" in console.get("/", service=service, errors="on")


def test_errors_are_looked_for_beyond_the_limit(console, service):
    console.export(resource_spans(service, span("failed", status={"code": 2})))
    console.export(resource_spans(service, *(span() for _ in range(30))))
    assert len(console.found(service=service, errors="on", limit="20")) == 1


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("tags", "error=true", "Jaeger cannot search for error: tick"),
        ("tags", "x", "cannot read &#39;x&#39;; accepted: key=value"),
        ("min", "5", "&#39;5&#39; is no duration; accepted: 100ms"),
        ("max", "<b>", "&#39;&lt;b&gt;&#39; is no duration"),
        ("lookback", "9y", "&#39;9y&#39; is not accepted; accepted: 5m, 15m, 1h, 3h"),
        ("limit", "7", "&#39;7&#39; is not accepted; accepted: 20, 50"),
        ("sort", "x", "&#39;x&#39; is not accepted; accepted: newest, longest, most spans"),
        ("errors", "x", "&#39;x&#39; is not accepted; accepted: on"),
    ],
)
def test_a_field_that_is_not_usable(console, field, value, text):
    page = console.get("/", 400, service="worker", **{field: value})
    (problem,) = re.findall(rf'<p class="problem" id="{field}-error">(.*?)</p>', page)
    assert problem.startswith(text)


def test_what_the_backend_refuses_is_the_mistake_of_who_asks(console):
    """More nanoseconds than 64 bits can count."""
    assert "59999999940000000us" in console.get("/", 400, service="worker", min="999999999m")


@pytest.mark.parametrize("name", ["..", ".", "a/b"])
def test_names_that_look_like_a_path(console, name):
    export_call(console, name)
    assert f"<option selected>{name}</option>" in console.get("/", service=name)
    assert "<option>loop</option>" in console.get("/", service=name)


def test_the_page_links_to_itself_with_its_own_fields_only(console, service):
    export_call(console, service)
    others = {"endpoint": "x", "_scheme": "javascript", "_external": "1", "more": "x"}
    page = console.get("/", service=service, **others)
    assert f'href="/traces/?lookback=1h&amp;limit=100&amp;sort=longest&amp;service={service}"' in page


def test_the_longest_below_the_shortest(console):
    assert "the longest duration is below the shortest" in console.get("/", 400, min="2s", max="1s")


def test_a_trace(console, service):
    trace_id = export_call(console, service, duration=400 * MILLISECOND)
    page = console.get(f"/{trace_id}")
    assert f'<code class="unit">{trace_id}</code>' in page
    facts = dict(
        re.findall(
            r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", page.partition('id="facts"')[2].partition("</dl>")[0]
        )
    )
    assert (facts["Duration"], facts["Depth"], facts["Errors"]) == ("400 ms", "3", "0")
    aria = re.findall(r'aria-label="(starts at .*?)"', page)
    assert aria == [
        "starts at 0, takes 400 ms",
        "starts at 100 ms, takes 200 ms",
        "starts at 150 ms, takes 100 ms",
    ]
    assert re.findall(r"self (\d+ ms)", page) == ["200 ms", "100 ms", "100 ms"]
    table = page.partition('id="shares"')[2]
    assert re.findall(r"<td>([\d.]+ %)</td>", table) == ["50.0 %", "25.0 %", "25.0 %"]
    assert console.get(f"/{trace_id.upper()}")
    assert "GET /&lt;n&gt;" in page


def test_the_parts_of_a_span(console, service):
    start = time.time_ns() - 20 * SECOND
    other = span("other")
    sent = span(
        "r",
        start=start,
        duration=SECOND,
        tags={"long": "x" * 1000, "html": "<script>alert(1)</script>", "truth": True},
        status={"code": 2, "message": "no answer"},
        events=[{"timeUnixNano": str(start + 250 * MILLISECOND), "name": "retry", "attributes": []}],
        links=[{"traceId": other["traceId"], "spanId": other["spanId"]}],
    )
    console.export(resource_spans(service, sent, resource={"host.name": "<b>"}))
    page = console.get(f"/{sent['traceId']}")
    assert f"{'x' * 300}… " in page
    assert "x" * 1000 in page
    assert "all 1000 characters" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<td>true</td>" in page
    assert "<td>&lt;b&gt;</td>" in page
    assert "Event at 250 ms of the span" in page
    assert f"/traces/{other['traceId']}#span-{other['spanId']}" in page
    assert "no answer" in page
    assert '<strong class="error-mark">1</strong>' in page


def test_a_missing_parent_is_said(console, service):
    lost = span("lost", parentSpanId="f" * 16)
    console.export(resource_spans(service, span("r", trace_id=lost["traceId"]), lost))
    assert "Parent not received" in console.get(f"/{lost['traceId']}")
    alone = span("alone", parentSpanId="f" * 16)
    console.export(resource_spans(service, alone))
    assert "root not received" in console.get("/", service=service)


def test_a_clock_that_differs_is_said(console, service):
    now = time.time_ns() - 20 * SECOND
    root = span("r", start=now, duration=SECOND)
    early = span("c", parent=root, start=now - 50 * MILLISECOND, duration=100 * MILLISECOND)
    console.export(resource_spans(service, root, early))
    page = console.get(f"/{root['traceId']}")
    assert "starts 50.0 ms before its parent" in page
    assert "clock skew" in page  # Jaeger's own warning


def test_a_trace_of_many_spans(console, service):
    root = span("r", duration=SECOND)
    spans = [root, *(span(f"c{n % 9}", parent=root) for n in range(8_999))]
    for part in (spans[:4_500], spans[4_500:]):
        console.backend.post(json.dumps(request(resource_spans(service, *part))).encode())
    console.backend.wait_for(root["traceId"], root["spanId"])
    stored = lambda: len(console.backend.data(f"traces/{root['traceId']}")[0]["spans"])  # noqa: E731
    poll_until("all spans", lambda: stored() == len(spans))
    started = time.monotonic()
    page = console.get(f"/{root['traceId']}")
    assert time.monotonic() - started < 20
    assert f"the first {MAX_ROWS} of 9000 spans" in page
    assert page.count('class="span-panel"') == MAX_ROWS
    assert len(page) < 3_000_000
    assert "<dd>9000</dd>" in page


def test_the_json_of_a_trace(console, service):
    trace_id = export_call(console, service)
    answer = console.client.get(f"/traces/{trace_id}.json")
    assert answer.content_type == "application/json"
    assert answer.headers["Content-Disposition"] == f"attachment; filename=trace-{trace_id}.json"
    assert len(json.loads(answer.text)["data"][0]["spans"]) == 3


@pytest.mark.parametrize("id_in_path", ["%20{}", "%0A{}%0D", "%E2%80%83{}", "{}%1C"])
def test_white_space_around_a_trace_id(console, service, id_in_path):
    trace_id = export_call(console, service)
    answer = console.client.get(f"/traces/{id_in_path.format(trace_id)}.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == f"attachment; filename=trace-{trace_id}.json"


@pytest.mark.parametrize("path", ["/{}", "/{}.json", "/compare?a={0}&b={0}"])
def test_a_trace_that_is_not_there(console, path):
    trace_id = new_trace_id()
    page = console.get(path.format(trace_id), 404)
    assert f"There is no trace {trace_id}. Only the newest ones are kept" in page


@pytest.mark.parametrize("trace_id", ["x", "g" * 32, "a" * 33, "0" * 32, "<b>", "a b"])
@pytest.mark.parametrize("path", ["/{}", "/{}.json", "/open?id={}", "/compare?a={}&b=ab"])
def test_a_trace_id_that_is_none(console, trace_id, path):
    (text,) = re.findall(r'<p class="notice">(.*?)</p>', console.get(path.format(trace_id), 400))
    assert text.endswith("is no trace ID: up to 32 hexadecimal digits are accepted, not all 0")


def test_open_a_trace_by_its_id(console):
    trace_id = new_trace_id()
    answer = console.client.get("/traces/open", query_string={"id": f" {trace_id.upper()}\n"})
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/traces/{trace_id}")


def test_compare_two_traces(console, service):
    a = export_call(console, service, duration=400 * MILLISECOND)
    b = export_call(console, service, duration=800 * MILLISECOND, status={"code": 2})
    answer = console.client.get("/traces/compare", query_string={"trace": [a, b]})
    assert answer.headers["Location"] == f"/traces/compare?a={a}&b={b}"
    page = console.get("/compare", a=a, b=b)
    rows_of_table = page.partition('id="lines"')[2].partition("</table>")[0].split("<tr>")[3:]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows_of_table]
    assert cells == [
        ["1", "1", "400 ms", "800 ms", "200 ms", "200 ms", "+400 ms", "+100 %"],
        ["1", "1", "200 ms", "600 ms", "100 ms", "500 ms", "+400 ms", "+200 %"],
        ["1", "1", "100 ms", "100 ms", "100 ms", "100 ms", "0", "0 %"],
    ]
    # The same scale for both: half of it is all of a.
    bars = re.findall(r'class="bar(?: failed)?" x="([\d.]+)%" y="3" width="([\d.]+)%"', page)
    assert bars[0] == ("0.0", "50.0")
    assert bars[3] == ("0.0", "100.0")


@pytest.mark.parametrize("count", [1, 3])
def test_two_traces_must_be_ticked(console, count):
    answer = console.client.get("/traces/compare", query_string={"trace": ["ab"] * count})
    assert answer.status_code == 400
    assert f"two traces can be compared; ticked: {count}" in answer.text


def test_the_graph(console, service):
    for number in range(10):
        export_call(console, service, age=20 + number, duration=(400 + number) * MILLISECOND)
    page = console.get("/graph", lookback="5m")
    row = next(row for row in page.partition('id="edges"')[2].split("<tr>") if f">{service}<" in row)
    assert re.findall(r"<td>(.*?)</td>", row)[1:4:2] == ["10", "0 %"]
    assert "<td>209 ms</td>" in row
    # The link of the arrow finds the traces.
    link = next(
        link for link in re.findall(r'href="/traces/(\?[^"]*)"', page) if f"service={service}&" in link
    )
    assert (
        len(set(re.findall(r'name="trace" value="(\w+)"', console.get("/" + link.replace("&amp;", "&")))))
        == 10
    )


def test_the_graph_waits_for_spans_that_are_on_the_way(console, service):
    export_call(console, f"{service}-young", age=3)
    export_call(console, f"{service}-old", age=20)
    page = console.get("/graph")
    assert f">{service}-old<" in page
    assert f">{service}-young<" not in page


@pytest.mark.parametrize("parameters", [{"lookback": "9y"}, {"limit": "1000"}, {"limit": "x"}])
def test_a_graph_that_cannot_be(console, parameters):
    assert "is not accepted; accepted: " in console.get("/graph", 400, **parameters)


def test_an_empty_store(tmp_path):
    with run_embedded(tmp_path) as backend:
        console = Console(backend)
        assert "The trace store has no spans yet." in console.get("/")
        assert "No trace in the last 15m." in console.get("/graph")


@pytest.mark.parametrize("path", ["/", "/graph", "/abcd", "/abcd.json", "/compare?a=ab&b=cd"])
def test_a_backend_that_is_away(path):
    away = f"http://127.0.0.1:{free_ports(1)[0]}"
    answer = create_app(Backends(NOWHERE, away, NOWHERE), load()).test_client().get(f"/traces{path}")
    assert answer.status_code == 503
    assert f"{away}/api/" in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_the_pages_are_read_only(method):
    client = create_app(Backends(NOWHERE, NOWHERE, NOWHERE), load()).test_client()
    assert client.open("/traces/", method=method).status_code == 405
