"""The graph of services: who calls whom, how often, with which errors and how slowly, from recent traces."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from workshop.console.traces.model import Span, Trace
from workshop.console.traces.search import logfmt

CLIENT_KINDS = ("client", "producer")
# Where a client span says whom it calls, the first that is there counts. Natively every server.address is
# 127.0.0.1, so the name of the peer comes first.
PEER_ATTRIBUTES = ("service.peer.name", "peer.service", "db.system.name", "server.address")


class Call(NamedTuple):
    """A call between two services: the caller's client span, or the callee's span if there is none.

    `tag` is the attribute by which a search finds it, None if there is none.
    """

    caller: str
    callee: str
    span: Span
    tag: tuple[str, str] | None


@dataclass(frozen=True)
class Edge:
    """All calls from one service to another.

    `rate` is in calls per second, None if it cannot be told. `p95` is in microseconds: 95 % of the calls
    took no longer, as the caller sees it.
    """

    caller: str
    callee: str
    calls: int
    errors: int
    rate: float | None
    p95: int
    tag: tuple[str, str] | None

    @property
    def error_share(self) -> float:
        """The share of the calls that failed."""
        return self.errors / self.calls


@dataclass(frozen=True)
class Graph:
    """The services of some traces and their calls.

    `covered` is the time in seconds that the traces stand for, None if it cannot be told. `without_spans`
    are services that are called and send no spans themselves, such as databases.
    """

    traces: int
    covered: float | None
    services: Sequence[str]
    without_spans: frozenset[str]
    edges: Sequence[Edge]


@dataclass
class _Group:
    spans: list[Span] = field(default_factory=list)
    tag: tuple[str, str] | None = None


def newest(found: Iterable[Sequence[Trace]], limit: int) -> list[Trace]:
    """Return the traces of several searches, each for the newest `limit` of one service, without gaps.

    A search that found as many as its limit knows nothing from before its oldest trace. So what is older
    than that is left out of all of them: else a quiet service would look busier than it is beside a busy one.
    """
    traces: dict[str, Trace] = {}
    known_from = 0
    for result in found:
        traces |= {trace.trace_id: trace for trace in result}
        if len(result) >= limit:
            known_from = max(known_from, min(trace.start for trace in result))
    return [trace for trace in traces.values() if trace.start >= known_from]


def covered_seconds(traces: Sequence[Trace]) -> float | None:
    """Return the time that traces stand for; None for less than two.

    From the first start to the last are n - 1 gaps between n traces; with the gap after the last they are n.
    """
    starts = [trace.start for trace in traces]
    gaps = len(starts) - 1
    if gaps < 1 or min(starts) == max(starts):
        return None
    return (max(starts) - min(starts)) / 1e6 * len(starts) / gaps


def percentile(durations: Sequence[int], share: float) -> int:
    """Return the smallest duration that `share` of them do not exceed (the nearest rank)."""
    return sorted(durations)[max(math.ceil(share * len(durations)), 1) - 1]


def graph(traces: Sequence[Trace]) -> Graph:
    """Return the graph of these traces."""
    covered = covered_seconds(traces)
    seen = {span.service for trace in traces for span in trace.spans}
    groups: dict[tuple[str, str], _Group] = {}
    for trace in traces:
        for call in _calls(trace):
            group = groups.setdefault((call.caller, call.callee), _Group())
            group.spans.append(call.span)
            group.tag = group.tag or call.tag
    edges = [_edge(caller, callee, group, covered) for (caller, callee), group in sorted(groups.items())]
    called = {edge.callee for edge in edges}
    return Graph(len(traces), covered, sorted(seen | called), frozenset(called - seen), edges)


def _edge(caller: str, callee: str, group: _Group, covered: float | None) -> Edge:
    return Edge(
        caller=caller,
        callee=callee,
        calls=len(group.spans),
        errors=sum(span.error for span in group.spans),
        rate=len(group.spans) / covered if covered else None,
        p95=percentile([span.duration for span in group.spans], 0.95),
        tag=group.tag,
    )


def _calls(trace: Trace) -> Iterable[Call]:
    for span in trace.spans:
        kind = span.get("span.kind")
        parent = span.parent
        if kind in CLIENT_KINDS:
            tag = next(((key, value) for key in PEER_ATTRIBUTES if (value := span.get(key))), None)
            # The service that answered knows its own name best.
            answered = next((child.service for child in span.children if child.service != span.service), None)
            callee = answered or (tag[1] if tag else None)
            if callee:
                yield Call(span.service, callee, span, tag)
        elif parent and parent.service != span.service and parent.get("span.kind") not in CLIENT_KINDS:
            yield Call(parent.service, span.service, span, None)


def search_fields(edge: Edge, without_spans: frozenset[str]) -> dict[str, str]:
    """Return the fields of a search for the traces of an edge: by the caller's tag, else by a service."""
    if edge.tag:
        return {"service": edge.caller, "tags": logfmt(*edge.tag)}
    return {"service": edge.caller if edge.callee in without_spans else edge.callee}
