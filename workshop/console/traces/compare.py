"""Two traces side by side: what both did, how long it took in each, and what only one of them did."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from workshop.console.traces.critical_path import self_time
from workshop.console.traces.model import Span, Trace

# A difference counts as one from this share of the longer of the two.
NOTABLE = 0.1


@dataclass(frozen=True)
class Figures:
    """The spans of one trace at one place: how many, and the sums of their times in microseconds."""

    count: int = 0
    duration: int = 0
    self_time: int = 0


@dataclass(frozen=True)
class Line:
    """One place in both traces; `depth` is from 0. A count of 0 means that the trace has nothing there."""

    service: str
    operation: str
    depth: int
    a: Figures
    b: Figures

    @property
    def difference(self) -> int:
        """How many microseconds longer it took in b."""
        return self.b.duration - self.a.duration

    @property
    def verdict(self) -> str:
        """Whether it took notably `longer` or `shorter` in b; empty if neither."""
        if abs(self.difference) < NOTABLE * max(self.a.duration, self.b.duration, 1):
            return ""
        return "longer" if self.difference > 0 else "shorter"

    @property
    def ratio(self) -> float | None:
        """The difference as a share of a; None if it took no time in a, or is in one of the two only."""
        if self.a.duration and self.b.count:
            return self.difference / self.a.duration
        return None


@dataclass
class _Place:
    """A place in the tree: the services and operations from the top down to here."""

    service: str
    operation: str
    depth: int
    spans: tuple[list[Span], list[Span]] = field(default_factory=lambda: ([], []))
    below: dict[tuple[str, str], "_Place"] = field(default_factory=dict)


def compare(a: Trace, b: Trace) -> list[Line]:
    """Return each place of the two traces, from the top down, in the order of a and then of b."""
    top = _Place("", "", -1)
    for number, trace in enumerate((a, b)):
        places: dict[Span, _Place] = {}
        for span in trace.spans:
            above = places[span.parent] if span.parent else top
            key = (span.service, span.operation)
            place = above.below.setdefault(key, _Place(*key, above.depth + 1))
            place.spans[number].append(span)
            places[span] = place
    lines = []
    stack = [top]
    while stack:
        place = stack.pop()
        if place is not top:
            lines.append(Line(place.service, place.operation, place.depth, *map(_figures, place.spans)))
        stack += reversed(place.below.values())
    return lines


def _figures(spans: Sequence[Span]) -> Figures:
    return Figures(len(spans), sum(span.duration for span in spans), sum(map(self_time, spans)))
