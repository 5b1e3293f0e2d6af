"""What Jaeger remarks about spans that do not fit into their parent's time, or whose parent it does not have.

Jaeger can also shift such spans. By default it does not, and neither does this.
The method: `ClockSkew` in https://github.com/jaegertracing/jaeger, cmd/query/app/querysvc/internal/adjuster.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """When a span ran: `start` in nanoseconds since the Unix epoch, `duration` in nanoseconds."""

    span_id: bytes
    parent_id: bytes | None
    start: int
    duration: int


def remarks(spans: Sequence[Interval]) -> list[str | None]:
    """Return for each span of a trace what is to be remarked about its time, or None."""
    by_id: dict[bytes, Interval] = {}
    for span in spans:
        by_id.setdefault(span.span_id, span)
    return [_remark(span, by_id) for span in spans]


def _remark(span: Interval, by_id: dict[bytes, Interval]) -> str | None:
    if by_id[span.span_id] is not span:
        return "duplicate span IDs; skipping clock skew adjustment"
    if span.parent_id is None:
        return None
    parent = by_id.get(span.parent_id)
    if parent is None:
        return f"invalid parent span IDs={span.parent_id.hex()}; skipping clock skew adjustment"
    if skew := _skew(span, parent):
        return f"clock skew adjustment disabled; not applying calculated delta of {go_duration(skew)}"
    return None


def _skew(child: Interval, parent: Interval) -> int:
    """Return by how many nanoseconds the child would have to be shifted to fit into its parent."""
    if child.duration > parent.duration:
        return max(parent.start - child.start, 0)
    slack = parent.duration - child.duration
    if 0 <= child.start - parent.start <= slack:
        return 0
    return parent.start + slack // 2 - child.start


def go_duration(nanoseconds: int) -> str:
    """Return a duration as Go's `time.Duration.String` writes it, such as `1.5ms`, `2m3.5s` or `1h0m0s`."""
    sign = "-" if nanoseconds < 0 else ""
    amount = abs(nanoseconds)
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if amount < size * 1_000:
            return f"{sign}{_decimal(amount, size)}{unit}"
    minutes, rest = divmod(amount, 60_000_000_000)
    text = f"{_decimal(rest, 1_000_000_000)}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"
    return sign + text


def _decimal(amount: int, size: int) -> str:
    whole, rest = divmod(amount, size)
    decimals = str(size + rest)[1:].rstrip("0")
    return f"{whole}.{decimals}" if decimals else str(whole)
