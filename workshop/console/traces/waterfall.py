"""The waterfall of a trace: a row for each span, and where its bar lies on the scale of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from workshop.console.traces import formats
from workshop.console.traces.critical_path import Segment, self_time
from workshop.console.traces.model import Span, Trace, walk

# A browser stays quick with that many rows, and nests elements no deeper than a few hundred.
MAX_ROWS = 500
MAX_NESTED = 50
# Microseconds. Start and duration are rounded down, each on its own.
ROUNDING = 1
TICKS = 4


class Bar(NamedTuple):
    """A part of a row, in percent of its width."""

    x: float
    width: float


@dataclass(frozen=True)
class Row:
    """A span in the waterfall.

    `offset` is its start on the scale, in microseconds. `critical` are the parts of its bar that lie on the
    critical path. If `folds`, it can be folded with what is below it; `closes` tells how many such spans
    end after this row. `first_orphan` marks where the spans begin whose parent is missing.
    """

    span: Span
    depth: int
    offset: int
    self_time: int
    bar: Bar
    critical: Sequence[Bar]
    notes: Sequence[str]
    folds: bool
    closes: int
    first_orphan: bool


class Tick(NamedTuple):
    """A line of the scale: where, in percent, and the time there in microseconds."""

    x: float
    time: int


def ticks(scale: int) -> list[Tick]:
    """Return the lines of a scale of so many microseconds."""
    return [Tick(100 * number / TICKS, scale * number // TICKS) for number in range(TICKS + 1)]


def rows(trace: Trace, critical: Mapping[Span, Sequence[Segment]], scale: int) -> list[Row]:
    """Return the first `MAX_ROWS` rows of a trace on a scale of `scale` microseconds from its start."""
    origin = trace.start
    first_orphan = trace.tops[trace.roots] if trace.roots < len(trace.tops) else None
    shown: list[tuple[Span, int]] = []
    for span, depth in walk(trace.tops):
        if len(shown) == MAX_ROWS:
            break
        shown.append((span, depth))
    open_depths: list[int] = []
    result = []
    for (span, depth), (_, next_depth) in zip(shown, [*shown[1:], (None, 0)], strict=True):
        folds = bool(span.children) and depth < MAX_NESTED
        if folds:
            open_depths.append(depth)
        closes = 0
        while open_depths and open_depths[-1] >= next_depth:
            open_depths.pop()
            closes += 1
        result.append(
            Row(
                span=span,
                depth=depth,
                offset=span.start - origin,
                self_time=self_time(span),
                bar=_bar(span.start - origin, span.duration, scale),
                critical=[
                    _bar(segment.start - origin, segment.end - segment.start, scale)
                    for segment in critical.get(span, ())
                ],
                notes=_notes(span),
                folds=folds,
                closes=closes,
                first_orphan=span is first_orphan,
            )
        )
    return result


def _bar(offset: int, duration: int, scale: int) -> Bar:
    return Bar(100 * offset / max(scale, 1), 100 * duration / max(scale, 1))


def _notes(span: Span) -> list[str]:
    """Return what is unusual about a span's time, seen from its parent."""
    parent = span.parent
    if not parent:
        return []
    notes = []
    if (early := parent.start - span.start) > ROUNDING:
        notes.append(
            f"starts {formats.duration(early)} before its parent, so the clocks of the two differ;"
            " on the critical path only what lies within the parent counts"
        )
    if (late := span.end - parent.end) > ROUNDING:
        notes.append(f"ends {formats.duration(late)} after its parent, which did not wait for it")
    return notes
