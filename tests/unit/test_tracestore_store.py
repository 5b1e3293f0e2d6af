"""The trace store's memory: what it keeps, what it evicts, and many threads at once."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable
from itertools import count

import pytest

from tests.spans import MILLISECOND, SECOND, new_span_id, request, resource_spans, span
from workshop.tracestore import jaeger, otlp
from workshop.tracestore.store import Batch, Dependency, Search, TraceStore


def batch(*parts) -> Batch:
    return otlp.check(otlp.decode(json.dumps(request(*parts)).encode(), otlp.JSON))


def a_trace(spans: int, name: str = "operation") -> list[dict]:
    root = span(name)
    return [root, *(span(name, parent=root) for _ in range(spans - 1))]


def names(traces: Iterable[list]) -> list[str]:
    return [jaeger.trace(spans)["spans"][0]["operationName"] for spans in traces]


def find(store: TraceStore, service: str = "s", limit: int = 1000, **conditions) -> list[list]:
    search = {"operation": "", "tags": {}, "start": 0, "end": time.time_ns()}
    search |= {"min_duration": 0, "max_duration": 0} | conditions
    return store.search(Search(service=service, limit=limit, **search))


def add(store: TraceStore, *spans, service: str = "s") -> None:
    store.add(batch(resource_spans(service, *spans)))


def test_the_oldest_trace_goes_as_a_whole():
    store = TraceStore(max_spans=10)
    for name in ("one", "two", "three"):
        add(store, *a_trace(3, name))
    assert names(find(store)) == ["three", "two", "one"]
    add(store, *a_trace(2, "four"))
    assert [len(trace) for trace in find(store)] == [2, 3, 3]
    assert names(find(store)) == ["four", "three", "two"]
    assert store.counts() == (11, 0, 3, 8, 3)


def test_the_oldest_trace_goes_when_there_are_too_many_bytes():
    store = TraceStore(max_spans=100, max_bytes=2**20)
    for number in range(10):
        add(store, span(str(number), tags={"text": "x" * 200_000}))
    kept = names(find(store))
    assert kept == [str(number) for number in range(9, 9 - len(kept), -1)]
    assert 4 <= len(kept) <= 5
    assert store.counts() == (10, 0, 10 - len(kept), len(kept), len(kept))


def test_what_is_larger_than_the_store_is_not_kept():
    store = TraceStore(max_spans=100, max_bytes=2**20)
    add(store, span(tags={"text": "x" * 2**21}))
    store.add(batch(resource_spans("s", span(), resource={"text": "x" * 2**21})))
    assert find(store) == []
    add(store, span("small"))
    assert names(find(store)) == ["small"]
    assert store.counts() == (3, 0, 2, 1, 1)


def test_age_is_that_of_the_first_span_to_come():
    store = TraceStore(max_spans=6)
    old, young = a_trace(2, "old"), a_trace(2, "young")
    add(store, old[0])
    add(store, *young)
    add(store, old[1])
    add(store, *a_trace(3, "new"))
    assert names(find(store)) == ["new", "young"]


def test_the_spans_own_times_do_not_matter():
    store = TraceStore(max_spans=2)
    for age in (1, 30, 20):
        add(store, span(f"{age}", start=time.time_ns() - age * SECOND))
    assert names(find(store)) == ["20", "30"]


def test_the_bound_holds_under_load_and_no_trace_is_halved():
    store = TraceStore(max_spans=100)
    sizes = {}
    for number in range(300):
        traces = [a_trace(1 + (number + n) % 7) for n in range(3)]
        sizes |= {trace[0]["traceId"]: len(trace) for trace in traces}
        add(store, *(one for trace in traces for one in trace))
        counts = store.counts()
        assert counts.spans <= 100
        assert counts.received == counts.spans + counts.evicted == sum(sizes.values())
        kept = [jaeger.trace(spans) for spans in find(store)]
        assert counts.traces == len(kept)
        assert counts.spans == sum(len(trace["spans"]) for trace in kept)
        assert all(len(trace["spans"]) == sizes[trace["traceID"]] for trace in kept)
    assert counts.spans > 90


def test_a_trace_that_comes_again_after_its_eviction_is_new():
    store = TraceStore(max_spans=4)
    root, late, later = a_trace(3, "first")
    add(store, root)
    add(store, *a_trace(4, "second"))
    assert store.trace(bytes.fromhex(root["traceId"])) == []
    add(store, late)
    assert names(find(store)) == ["first"]  # it is the newest now, and the second had to go
    add(store, later)
    assert len(store.trace(bytes.fromhex(root["traceId"]))) == 2
    assert store.counts() == (7, 0, 5, 2, 1)


def test_a_trace_that_is_larger_than_the_store_is_not_kept():
    store = TraceStore(max_spans=5)
    add(store, *a_trace(2, "small"))
    add(store, *a_trace(6, "huge"))
    assert store.counts() == (8, 0, 8, 0, 0)
    add(store, *a_trace(5, "fits"))
    assert names(find(store)) == ["fits"]


def test_what_has_no_span_left_is_forgotten():
    store = TraceStore(max_spans=20)
    for number in range(100):
        part = resource_spans(
            f"service {number}",
            span(f"operation {number}", tags={"n": number}),
            resource={"instance": number},
        )
        store.add(batch(part))
    assert len(store.services()) == 20
    assert store.operations("service 79") == []
    assert store.operations("service 80") == [("operation 80", "")]
    rows = {table: store._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
    assert rows == dict.fromkeys(TABLES, 20)


TABLES = ("trace", "operation", "origin", "span")


def test_the_memory_of_evicted_spans_is_used_again():
    store = TraceStore(max_spans=500)

    def pages() -> int:
        return store._database.execute("PRAGMA page_count").fetchone()[0]

    for _ in range(200):
        add(store, *a_trace(5))
    full = pages()
    for _ in range(1000):
        add(store, *a_trace(5))
    assert pages() <= full * 1.5


def test_a_copy_is_counted_as_received_and_not_stored():
    store = TraceStore(max_spans=10)
    sent = span()
    for _ in range(3):
        add(store, sent, sent)
    assert store.counts() == (6, 0, 0, 1, 1)


def test_a_batch_that_fails_leaves_nothing():
    store = TraceStore(max_spans=10)
    add(store, span("good"))
    before = store.counts()
    broken = batch(resource_spans("one", span()), resource_spans("two", span()))
    origin, (row,) = broken.groups[1]
    broken.groups[1] = (origin, [row._replace(start=2**64)])
    with pytest.raises(OverflowError):
        store.add(broken)
    assert store.counts() == before
    assert store.services() == ["s"]


def test_errors_are_found_by_the_status_of_the_span():
    store = TraceStore(max_spans=10)
    add(store, span("unset"), span("ok", status={"code": 1}), span("error", status={"code": 2}))
    add(store, span("says so", tags={"error": "true"}))
    assert names(find(store, tags={"error": "true"})) == ["error"]
    assert sorted(names(find(store, tags={"error": "false"}))) == ["ok", "says so", "unset"]
    assert find(store, tags={"error": "yes"}) == []


def test_dependencies_of_a_copy_count_once():
    store = TraceStore(max_spans=10)
    root = span()
    child = span(parent=root)
    for _ in range(2):
        store.add(batch(resource_spans("a", root), resource_spans("b", child)))
    assert store.dependencies(0, time.time_ns()) == [Dependency("a", "b", 1)]


def test_spans_and_names_come_in_order():
    store = TraceStore(max_spans=10)
    now = time.time_ns() - SECOND
    root = span("first", start=now)
    spans = [
        span(name, parent=root, start=now + n * MILLISECOND) for n, name in ((3, "c"), (1, "b"), (2, "a"))
    ]
    store.add(batch(resource_spans("z", *spans), resource_spans("y", root)))
    shown = jaeger.trace(store.trace(bytes.fromhex(root["traceId"])))
    assert [one["operationName"] for one in shown["spans"]] == ["first", "b", "a", "c"]
    assert list(shown["processes"]) == ["p1", "p2"]
    assert store.services() == ["y", "z"]
    assert store.operations("z") == [("a", ""), ("b", ""), ("c", "")]


def test_strange_texts_are_kept():
    store = TraceStore(max_spans=10)
    text = "it's; DROP TABLE span; -- \x00 \U0001f600 %_\""
    add(store, span(text, tags={text: text}), service=text)
    assert store.services() == [text]
    assert len(find(store, service=text, operation=text, tags={text: text})) == 1
    assert find(store, service=text, tags={text: text + "\x00"}) == []


def test_many_threads_store_and_search():
    """Every trace comes in one batch, so every trace that is found must be whole."""
    store = TraceStore(max_spans=400)
    stop = threading.Event()
    problems: list[BaseException] = []
    searches: Counter[str] = Counter()

    def guarded(work) -> None:
        try:
            work()
        except BaseException as error:
            problems.append(error)
            stop.set()

    def export() -> None:
        for _ in range(150):
            add(store, *a_trace(4))

    def search() -> None:
        for number in count():
            if stop.is_set():
                return
            for trace in find(store, limit=20):
                assert len(trace) == 4
                assert len(jaeger.trace(trace)["spans"]) == 4
                searches["traces"] += 1
            assert store.counts().spans <= 400
            assert store.services() in ([], ["s"])
            store.dependencies(0, time.time_ns())
            searches["runs"] = number

    exporters = [threading.Thread(target=guarded, args=(export,)) for _ in range(4)]
    searchers = [threading.Thread(target=guarded, args=(search,)) for _ in range(3)]
    for thread in exporters + searchers:
        thread.start()
    for thread in exporters:
        thread.join()
    stop.set()
    for thread in searchers:
        thread.join()
    assert problems == []
    assert searches["traces"] > 0
    assert store.counts() == (2400, 0, 2000, 400, 100)


def test_span_ids_are_unique_within_a_trace_only():
    store = TraceStore(max_spans=10)
    shared = new_span_id()
    add(store, span("one", spanId=shared), span("two", spanId=shared))
    assert store.counts().spans == 2
