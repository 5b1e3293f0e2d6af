"""A trace as a tree of spans, made from an answer of Jaeger's HTTP query API.

All times are in microseconds, as in that API; points in time count from the Unix epoch.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Json = Mapping[str, Any]


class Attribute(NamedTuple):
    """An attribute of a span, of an event or of a resource; its value as text."""

    key: str
    value: str


class Event(NamedTuple):
    """Something that happened during a span (a *log* in Jaeger's terms)."""

    time: int
    attributes: Sequence[Attribute]


class Reference(NamedTuple):
    """What a span points to: its parent (`CHILD_OF`), or a linked span (`FOLLOWS_FROM`)."""

    kind: str
    trace_id: str
    span_id: str


@dataclass(eq=False)  # two spans are never the same, even with one ID
class Span:
    """One operation of one service, with what it caused below it.

    `parent` is None for a root, and for an orphan: a span whose parent is not in the trace.
    """

    span_id: str
    service: str
    operation: str
    start: int
    duration: int
    attributes: Sequence[Attribute]
    resource: Sequence[Attribute]
    events: Sequence[Event]
    references: Sequence[Reference]
    warnings: Sequence[str]
    parent: "Span | None" = None
    # Whether the parent may have waited for this span: not if it only *follows from* the parent.
    awaited: bool = True
    children: list["Span"] = field(default_factory=list)

    @property
    def end(self) -> int:
        """When it ended."""
        return self.start + self.duration

    def get(self, key: str) -> str:
        """Return the value of an attribute, or an empty text."""
        return next((attribute.value for attribute in self.attributes if attribute.key == key), "")

    @property
    def error(self) -> bool:
        """Whether its status is an error."""
        return self.get("error") == "true" or self.get("otel.status_code") == "ERROR"


@dataclass(frozen=True)
class Trace:
    """A trace of at least one span.

    `tops` are the spans without a parent here, by their start: first the roots, then the orphans, from
    number `roots` on. `spans` are all of them, depth first.
    """

    trace_id: str
    tops: Sequence[Span]
    roots: int
    spans: Sequence[Span]

    @property
    def root(self) -> Span:
        """The span that stands for the trace: the first root, or the first orphan if no root is there."""
        return self.tops[0]

    @property
    def start(self) -> int:
        """When its first span started."""
        return min(span.start for span in self.spans)

    @property
    def end(self) -> int:
        """When its last span ended."""
        return max(span.end for span in self.spans)

    @property
    def duration(self) -> int:
        """From the start of its first span to the end of its last."""
        return self.end - self.start

    @property
    def services(self) -> Mapping[str, int]:
        """How many spans each service has, by name."""
        return dict(sorted(Counter(span.service for span in self.spans).items()))

    @property
    def errors(self) -> int:
        """How many spans have an error."""
        return sum(span.error for span in self.spans)

    @property
    def depth(self) -> int:
        """The number of spans on the longest way down from a top."""
        return 1 + max(depth for _, depth in walk(self.tops))


def walk(spans: Iterable[Span]) -> Iterator[tuple[Span, int]]:
    """Yield spans and all below them, depth first, each with its depth from 0.

    It keeps a stack of its own: a trace may be deeper than Python's.
    """
    stack = [(span, 0) for span in reversed(list(spans))]
    while stack:
        span, depth = stack.pop()
        yield span, depth
        stack += [(child, depth + 1) for child in reversed(span.children)]


def parse(document: Json) -> Trace:
    """Return the trace that a document of Jaeger's API describes; its times need not make sense."""
    processes = document["processes"]
    spans = [_span(raw, processes[raw["processID"]]) for raw in document["spans"]]
    spans.sort(key=lambda span: (span.start, span.span_id))
    trace_id = document["traceID"]
    by_id: dict[str, Span] = {}
    for span in spans:
        by_id.setdefault(span.span_id, span)
    roots, orphans = [], []
    for span in spans:
        reference = _parent(span, trace_id)
        if reference is None:
            roots.append(span)
            continue
        span.awaited = reference.kind == "CHILD_OF"
        span.parent = by_id.get(reference.span_id)
        if span.parent is None:
            orphans.append(span)
        else:
            span.parent.children.append(span)
    orphans += _cut_circles(spans, roots + orphans)
    tops = roots + orphans
    return Trace(trace_id.zfill(32), tops, len(roots), [span for span, _ in walk(tops)])


def _parent(span: Span, trace_id: str) -> Reference | None:
    """Return the reference that Jaeger takes for the parent: CHILD_OF in the same trace, else any in it."""
    own = [reference for reference in span.references if reference.trace_id == trace_id]
    return next((one for one in own if one.kind == "CHILD_OF"), own[0] if own else None)


def _cut_circles(spans: Sequence[Span], tops: Sequence[Span]) -> list[Span]:
    """Make an orphan of one span of each circle, that is of spans which are their own ancestors."""
    seen = {span for span, _ in walk(tops)}
    cut = []
    for span in spans:
        if span not in seen and span.parent:
            span.parent.children.remove(span)
            span.parent = None
            cut.append(span)
            seen |= {below for below, _ in walk([span])}
    return cut


def _span(raw: Json, process: Json) -> Span:
    return Span(
        span_id=raw["spanID"],
        service=process["serviceName"],
        operation=raw["operationName"],
        start=raw["startTime"],
        duration=raw["duration"],
        attributes=_attributes(raw.get("tags")),
        resource=_attributes(process.get("tags")),
        events=[Event(log["timestamp"], _attributes(log["fields"])) for log in raw.get("logs") or ()],
        references=[
            Reference(one["refType"], one["traceID"], one["spanID"]) for one in raw.get("references") or ()
        ],
        warnings=list(raw.get("warnings") or ()),
    )


def _attributes(tags: Sequence[Json] | None) -> list[Attribute]:
    return [Attribute(tag["key"], _text(tag["value"])) for tag in tags or ()]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
