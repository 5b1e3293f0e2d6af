"""The critical path of a trace, and the self time of its spans.

The critical path is the chain of work that made the trace as long as it was: shorten any of it, and the
trace gets shorter. The method is that of Jaeger and of the CRISP paper (Zhang et al., "CRISP: Critical Path
Analysis of Large-Scale Microservice Architectures", USENIX ATC 2022): walk backwards from the end of the
root; the child that finished last is what the parent waited for; before that child started, the parent waited
for the child that finished last until then; in between, the parent itself was at work.
"""

from collections.abc import Mapping
from typing import NamedTuple

from workshop.console.traces.model import Span, Trace


class Segment(NamedTuple):
    """A part of the critical path: from `start` to `end` the trace advanced by the work of `span` itself."""

    span: Span
    start: int
    end: int


class Share(NamedTuple):
    """What the spans of one service and operation come to; times in microseconds.

    `total` is the sum of their durations, `self_time` that of their self times, `critical` how much of the
    critical path is theirs.
    """

    service: str
    operation: str
    spans: int
    total: int
    self_time: int
    critical: int


def critical_path(root: Span) -> list[Segment]:
    """Return the critical path below `root`, in order of time; it covers the root exactly.

    A child counts as far as it lies within its parent: one that outlasts it, or whose clock is ahead or
    behind, is clipped. One that only follows from its parent does not count.
    """
    segments = []
    stack = [(root, root.start, root.end)]
    while stack:
        span, low, high = stack.pop()
        now = high
        children = [child for child in span.children if child.awaited]
        children.sort(key=lambda child: (min(child.end, high), child.end, -child.start), reverse=True)
        for child in children:
            start, end = max(child.start, low), min(child.end, high)
            if start < end <= now:
                segments.append(Segment(span, end, now))
                stack.append((child, start, end))
                now = start
        segments.append(Segment(span, low, now))
    return sorted((one for one in segments if one.start < one.end), key=lambda one: one.start)


def self_time(span: Span) -> int:
    """Return for how many microseconds of a span none of its children was at work."""
    rest = span.duration
    reached = span.start
    for child in sorted(span.children, key=lambda child: child.start):
        start, end = max(child.start, reached), min(child.end, span.end)
        if start < end:
            rest -= end - start
            reached = end
    return rest


def by_span(path: list[Segment]) -> Mapping[Span, list[Segment]]:
    """Return the segments of each span."""
    segments: dict[Span, list[Segment]] = {}
    for segment in path:
        segments.setdefault(segment.span, []).append(segment)
    return segments


def shares(trace: Trace, path: list[Segment]) -> list[Share]:
    """Return what each service and operation has of a trace; who has most of the critical path is first."""
    spans: dict[tuple[str, str], list[Span]] = {}
    for span in trace.spans:
        spans.setdefault((span.service, span.operation), []).append(span)
    critical = dict.fromkeys(spans, 0)
    for segment in path:
        critical[segment.span.service, segment.span.operation] += segment.end - segment.start
    found = [
        Share(
            service,
            operation,
            len(group),
            sum(span.duration for span in group),
            sum(self_time(span) for span in group),
            critical[service, operation],
        )
        for (service, operation), group in spans.items()
    ]
    return sorted(found, key=lambda share: (-share.critical, -share.self_time))
