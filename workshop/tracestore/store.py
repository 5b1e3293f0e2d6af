"""The bounded store: whole traces in one SQLite database in memory, the oldest evicted first.

A search is a scan of the traces from the newest to the oldest, which ends at the limit: 100,000 rows take
some 20 ms. So there is no index to keep in step, and a row is little more than the span itself.
"""

import sqlite3
import threading
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

# The lab's own spans have some 600 bytes, so 100,000 of them take half of this.
MAX_BYTES = 128 * 2**20

# The spans of a trace lie side by side (WITHOUT ROWID), so a trace is read and evicted as one range.
# The digest of the payload is in the key, which makes an exact copy of a span the same row.
# The triggers count the spans of each operation and origin, and drop those that have none left.
_SCHEMA = """
PRAGMA page_size = 16384;  -- a row of up to 4 kB stays in its page; one that spills takes a page of its own
CREATE TABLE trace (id INTEGER PRIMARY KEY, trace_id BLOB NOT NULL UNIQUE);
CREATE TABLE operation (
    id INTEGER PRIMARY KEY, service TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    spans INTEGER NOT NULL DEFAULT 0, UNIQUE (service, name, kind)
);
CREATE TABLE origin (
    id INTEGER PRIMARY KEY, resource BLOB NOT NULL, scope BLOB NOT NULL, tags BLOB NOT NULL,
    spans INTEGER NOT NULL DEFAULT 0, UNIQUE (resource, scope)
);
CREATE TABLE span (
    trace INTEGER NOT NULL, span_id BLOB NOT NULL, origin INTEGER NOT NULL, digest INTEGER NOT NULL,
    operation INTEGER NOT NULL, parent_id BLOB, start INTEGER NOT NULL, duration INTEGER NOT NULL,
    tags BLOB NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (trace, span_id, origin, digest)
) WITHOUT ROWID;
CREATE TRIGGER span_added AFTER INSERT ON span BEGIN
    UPDATE operation SET spans = spans + 1 WHERE id = NEW.operation;
    UPDATE origin SET spans = spans + 1 WHERE id = NEW.origin;
END;
CREATE TRIGGER span_removed AFTER DELETE ON span BEGIN
    UPDATE operation SET spans = spans - 1 WHERE id = OLD.operation;
    DELETE FROM operation WHERE id = OLD.operation AND spans = 0;
    UPDATE origin SET spans = spans - 1 WHERE id = OLD.origin;
    DELETE FROM origin WHERE id = OLD.origin AND spans = 0;
END;
"""

_INSERT_SPAN = """
INSERT OR IGNORE INTO span VALUES (
    (SELECT id FROM trace WHERE trace_id = :trace_id), :span_id, :origin, :digest,
    (SELECT id FROM operation WHERE service = :service AND name = :operation AND kind = :kind),
    :parent_id, :start, :duration, :tags, :payload
)
"""

_DEPENDENCIES = """
WITH complete AS (
    SELECT trace FROM span GROUP BY trace HAVING min(start) > ? AND max(start + duration) < ?
), call AS (
    SELECT operation AS callee, (
        SELECT operation FROM span AS parent
        WHERE parent.trace = span.trace AND parent.span_id = span.parent_id
    ) AS caller
    FROM span WHERE parent_id IS NOT NULL AND trace IN complete
)
SELECT parent.service, child.service, count(*)
FROM call JOIN operation AS parent ON parent.id = caller JOIN operation AS child ON child.id = callee
GROUP BY 1, 2 ORDER BY 1, 2
"""


class SpanRow(NamedTuple):
    """A span to store: what searches look at, and the span itself.

    `start` is in nanoseconds since the Unix epoch, `duration` in nanoseconds; `tags` is a `fingerprint`;
    `payload` is the serialized `opentelemetry.proto.trace.v1.Span`.
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes | None
    operation: str
    kind: str
    start: int
    duration: int
    tags: bytes
    payload: bytes


class Origin(NamedTuple):
    """What made a span: its service, and the serialized OTLP `Resource` and `InstrumentationScope`."""

    service: str
    tags: bytes
    resource: bytes
    scope: bytes


@dataclass
class Batch:
    """What one export request brought: spans by origin, how many were rejected, why the first of them was."""

    groups: list[tuple[Origin, list[SpanRow]]] = field(default_factory=list)
    rejected: int = 0
    first_rejection: str = ""


@dataclass(frozen=True)
class Search:
    """A search: traces are found that have one span to which all of it applies.

    `start` and `end` bound the start of the span, both included, in nanoseconds since the Unix epoch;
    durations are in nanoseconds, 0 for no bound; `operation` "" is any; `tags` are texts as of
    `values.as_text`.
    """

    service: str
    operation: str
    tags: Mapping[str, str]
    start: int
    end: int
    min_duration: int
    max_duration: int
    limit: int


class StoredSpan(NamedTuple):
    """A span as it comes out of the store: serialized OTLP `Resource`, `InstrumentationScope` and `Span`."""

    resource: bytes
    scope: bytes
    payload: bytes


class Dependency(NamedTuple):
    """How many spans of service `child` have a parent span of service `parent`."""

    parent: str
    child: str
    calls: int


class Counts(NamedTuple):
    """Spans received (with the rejected ones), rejected and evicted so far; spans and traces stored now."""

    received: int
    rejected: int
    evicted: int
    spans: int
    traces: int


def fingerprint(tags: Iterable[tuple[str, str]]) -> bytes:
    """Return 8 bytes for each tag, which a search finds with `instr`; valid in this process only.

    Python's hash of 64 bits makes a false match as good as impossible, and needs no table of tags to keep.
    """
    return array("q", map(hash, tags)).tobytes()


class TraceStore:
    """At most `max_spans` spans in at most `max_bytes` bytes, safe to use from many threads.

    When a span or a byte too many comes, the trace whose first span came first goes as a whole. Its later
    spans, if there are any, begin a new trace. A trace that is more than either cannot be kept.

    Usage::

        store = TraceStore(max_spans=100_000)
        store.add(batch)
        spans = store.trace(trace_id)
    """

    def __init__(self, max_spans: int, max_bytes: int = MAX_BYTES) -> None:
        self.max_spans = max_spans
        self.max_bytes = max_bytes
        self._lock = threading.Lock()  # one connection, one user at a time: searches are short
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.executescript(_SCHEMA)
        self._received = 0
        self._rejected = 0
        self._evicted = 0
        self._spans = 0

    def add(self, batch: Batch) -> None:
        """Store the spans of a batch, count its rejected ones, and evict what is then too much."""
        with self._lock:
            with self._database:
                added = sum(self._insert(origin, spans) for origin, spans in batch.groups)
                evicted = self._evict(self._spans + added)
            self._received += sum(len(spans) for _, spans in batch.groups) + batch.rejected
            self._rejected += batch.rejected
            self._evicted += evicted
            self._spans += added - evicted

    def _insert(self, origin: Origin, spans: list[SpanRow]) -> int:
        database = self._database
        database.execute(
            "INSERT OR IGNORE INTO origin (resource, scope, tags) VALUES (?, ?, ?)",
            (origin.resource, origin.scope, origin.tags),
        )
        (origin_id,) = database.execute(
            "SELECT id FROM origin WHERE resource = ? AND scope = ?", (origin.resource, origin.scope)
        ).fetchone()
        database.executemany(
            "INSERT OR IGNORE INTO operation (service, name, kind) VALUES (?, ?, ?)",
            {(origin.service, span.operation, span.kind) for span in spans},
        )
        # A dict, not a set: traces are numbered in the order of their coming.
        database.executemany(
            "INSERT OR IGNORE INTO trace (trace_id) VALUES (?)", dict.fromkeys((s.trace_id,) for s in spans)
        )
        rows = (
            span._asdict() | {"origin": origin_id, "service": origin.service, "digest": hash(span.payload)}
            for span in spans
        )
        return database.executemany(_INSERT_SPAN, rows).rowcount

    def _evict(self, spans: int) -> int:
        """Remove the oldest of so many spans until they keep to both limits; return how many that were."""
        evicted = 0
        while spans - evicted > self.max_spans or (evicted < spans and self._size() > self.max_bytes):
            (oldest,) = self._database.execute("SELECT min(id) FROM trace").fetchone()
            evicted += self._database.execute("DELETE FROM span WHERE trace = ?", (oldest,)).rowcount
            self._database.execute("DELETE FROM trace WHERE id = ?", (oldest,))
        return evicted

    def _size(self) -> int:
        """Return the bytes in use; pages that are free are used again before new ones are taken."""
        (pages,), (free,), (size,) = (
            self._database.execute(f"PRAGMA {name}").fetchone()
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int(pages - free) * int(size)

    def counts(self) -> Counts:
        """Return what came, what went and what is stored now."""
        with self._lock:
            (traces,) = self._database.execute("SELECT count(*) FROM trace").fetchone()
            return Counts(self._received, self._rejected, self._evicted, self._spans, traces)

    def services(self) -> list[str]:
        """Return the names of the services that have spans in the store, sorted."""
        with self._lock:
            rows = self._database.execute("SELECT DISTINCT service FROM operation ORDER BY 1").fetchall()
        return [service for (service,) in rows]

    def operations(self, service: str, kind: str = "") -> list[tuple[str, str]]:
        """Return name and kind of a service's operations, sorted; only those of `kind` if it is given."""
        with self._lock:
            return self._database.execute(
                "SELECT name, kind FROM operation WHERE service = ? AND ? IN ('', kind) ORDER BY name, kind",
                (service, kind),
            ).fetchall()

    def trace(self, trace_id: bytes) -> list[StoredSpan]:
        """Return the spans of a trace by start time; none if there is no such trace."""
        with self._lock:
            return self._spans_where("trace = (SELECT id FROM trace WHERE trace_id = ?)", trace_id)

    def search(self, search: Search) -> list[list[StoredSpan]]:
        """Return the traces that a search finds, the newest first, each with all its spans by start time."""
        conditions = ["start BETWEEN ? AND ?"]
        parameters: list[object] = [search.start, search.end]
        if search.operation:
            conditions.append("operation IN (SELECT id FROM operation WHERE service = ? AND name = ?)")
            parameters += [search.service, search.operation]
        else:
            conditions.append("operation IN (SELECT id FROM operation WHERE service = ?)")
            parameters.append(search.service)
        if search.min_duration:
            conditions.append("duration >= ?")
            parameters.append(search.min_duration)
        if search.max_duration:
            conditions.append("duration <= ?")
            parameters.append(search.max_duration)
        for tag in search.tags.items():
            conditions.append("(instr(tags, ?) OR origin IN (SELECT id FROM origin WHERE instr(tags, ?)))")
            parameters += [fingerprint([tag])] * 2
        condition = " AND ".join(conditions)
        with self._lock:
            traces = self._database.execute(
                f"SELECT DISTINCT trace FROM span WHERE {condition} ORDER BY trace DESC LIMIT ?",  # noqa: S608
                (*parameters, search.limit),
            ).fetchall()
            return [self._spans_where("trace = ?", trace) for (trace,) in traces]

    def _spans_where(self, condition: str, parameter: object) -> list[StoredSpan]:
        rows = self._database.execute(
            "SELECT resource, scope, payload FROM span JOIN origin ON origin.id = span.origin"  # noqa: S608
            f" WHERE {condition} ORDER BY start",
            (parameter,),
        )
        return [StoredSpan(*row) for row in rows]

    def dependencies(self, start: int, end: int) -> list[Dependency]:
        """Return which service calls which, in the traces that lie wholly between two times, both excluded.

        Times are in nanoseconds since the Unix epoch. Parents within the same service count too.
        """
        with self._lock:
            rows = self._database.execute(_DEPENDENCIES, (start, end)).fetchall()
        return [Dependency(*row) for row in rows]
