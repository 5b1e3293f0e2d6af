"""Lab 00: what an rng instrumented by hand emits, against the telemetry contract, in both directions."""

import re
from typing import Any

import yaml

from workshop.console.traces import model
from workshop.console.traces.model import Span
from workshop.grading.answers import Expected, Trace, choice, number, trace
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.live import Live
from workshop.lab import ROOT

CONTRACT = yaml.safe_load((ROOT / "services/telemetry/contract.yaml").read_text())
METRICS = {metric["name"]: metric for metric in CONTRACT["metrics"] if "rng" in metric["emitted_by"]}
SPANS = {span["name"]: span for span in CONTRACT["spans"] if span["service"] == "rng"}
# What is the lab's own, or tells of the SDK, is not part of the exercise. It may be there, as declared.
REQUIRED = {name for name in METRICS if not name.startswith(("dockercoins_", "otel_"))}

RNG_UP = 'up{job="rng"}'
# Without what Prometheus adds: of the scrape, by its rules, and its alerts.
RNG_METRICS = '{job="rng", __name__!~"up|scrape_.+|.+:.+|ALERTS.*"}'
BUCKETS = 'sum by (le) (http_server_request_duration_seconds_bucket{job="rng"})'
EXEMPLARS = 'http_server_request_duration_seconds_bucket{job="rng"}'
RESOURCE = 'target_info{job="rng"}'

# The labels that Prometheus adds, and the attributes that Jaeger adds.
PROMETHEUS_LABELS = {"__name__", "job", "instance", "le"}
JAEGERS_OWN = re.compile(r"(otel|internal)\..*|span\.kind|error")

SCRAPED_SECONDS = 4  # two scrapes
# Spans of one trace come from two services, each of which sends them once a second.
ARRIVED_SECONDS = 3
NEWEST_SPANS = 5
LOOPS = 30
MICROSECONDS = 1_000_000
FEWEST_REQUESTS = 10
WIDEST_BUCKET = 0.03  # seconds
# The conventions' buckets, which prometheus_client has too, around 0.1 s.
BLURRED_BUCKET = (0.1, 0.25)


def newest_spans(live: Live) -> list[tuple[Span, model.Trace]]:
    """Return the newest spans of rng whose traces are complete, with these; `Failed` if there are none."""
    arrived = int((live.now - ARRIVED_SECONDS) * MICROSECONDS)
    start = int(live.since * MICROSECONDS)
    traces = [model.parse(one) for one in live.jaeger.traces("rng", start=start, limit=LOOPS)]
    found = [(span, each) for each in traces for span in each.spans if span.service == "rng"]
    complete = [(span, each) for span, each in found if span.start <= arrived]
    if not found:
        raise Failed("spans of rng", "none", f"{live.jaeger.url}/api/traces?service=rng")
    if not complete:
        raise Waiting("traces that are complete", ARRIVED_SECONDS)
    return sorted(complete, key=lambda pair: pair[0].start)[-NEWEST_SPANS:]


def in_jaeger(live: Live, trace: model.Trace) -> str:
    """Return the address of a trace."""
    return f"{live.jaeger.url}/api/traces/{trace.trace_id}"


def differences(emitted: set[str], required: set[str], allowed: set[str]) -> str:
    """Say what is missing and what is too much; nothing if neither is."""
    facts = {"missing": required - emitted, "not in the contract": emitted - allowed}
    return "; ".join(f"{what}: {', '.join(sorted(names))}" for what, names in facts.items() if names)


@check("rng without telemetry was seen")
def without(live: Live) -> str:
    # The reset has seen that already, just before the time from which work counts.
    query = f"min_over_time({RNG_UP}[{live.now - live.since + SCRAPED_SECONDS:.0f}s])"
    if live.prometheus.scalar(query) != 0:
        raise Failed(
            "a time in which Prometheus cannot read rng, as after `workshop reset 00`", "none so far", query
        )
    return "Prometheus could not read it"


@check("Prometheus reads what the contract has for rng, and nothing else")
def metrics(live: Live) -> str:
    if live.prometheus.scalar(RNG_UP) != 1:
        raise Failed("rng's metrics, on a port of their own", "Prometheus cannot read them", RNG_UP)
    emitted: dict[str, set[frozenset[str]]] = {}
    for sample in live.prometheus.query(RNG_METRICS):
        name = sample.labels["__name__"]
        family = re.sub("_(bucket|sum|count)$", "", name)
        declared = METRICS.get(family, {}).get("type") == "histogram"
        labels = frozenset(sample.labels) - PROMETHEUS_LABELS
        emitted.setdefault(family if declared else name, set()).add(labels)
    if wrong := differences(set(emitted), REQUIRED, set(METRICS)):
        raise Failed("the metrics that the contract has for rng, and no others", wrong, RNG_METRICS)
    for name in sorted(emitted):
        required, optional = set(METRICS[name]["labels"]), set(METRICS[name].get("optional_labels", ()))
        for labels in emitted[name]:
            if wrong := differences(set(labels), required, required | optional):
                raise Failed(f"{name} with the labels that the contract has for it", wrong, name)
    return f"{len(emitted)} metrics"


@check("the buckets fit")
def buckets(live: Live) -> str:
    bounds = {float(sample.labels["le"]): sample.value for sample in live.prometheus.query(BUCKETS)}
    total = bounds.get(float("inf"), 0)
    if not total:
        raise Failed("a histogram of rng's requests", "none", BUCKETS)
    if total < FEWEST_REQUESTS:
        raise Waiting(f"{FEWEST_REQUESTS} requests, measured by the rng that runs now", SCRAPED_SECONDS)
    upper = min(bound for bound, count in bounds.items() if count >= total / 2)
    lower = max((bound for bound in bounds if bound < upper), default=0)
    if upper - lower > WIDEST_BUCKET:
        raise Failed(
            f"a median that is known to {1000 * WIDEST_BUCKET:.0f} ms",
            f"a bucket from {lower:g} to {upper:g} s with half of the requests in it",
            BUCKETS,
        )
    return f"the median is between {lower:g} and {upper:g} s"


@check("the spans are those of the contract")
def contract_of_spans(live: Live) -> str:
    for span, within in newest_spans(live):
        kind, name = span.get("span.kind"), span.operation
        if name not in SPANS:  # perhaps a request for something that is not there
            name = "METHOD" if re.fullmatch("[A-Z]+", name) else ""
        if not name or kind != SPANS[name]["kind"]:
            expected = " or ".join(f"{declared['kind']} {each}" for each, declared in SPANS.items())
            seen = f"{kind or 'internal'} {span.operation}"
            raise Failed(f"spans with the kind and name {expected}", seen, in_jaeger(live, within))
        required, optional = set(SPANS[name]["attributes"]), set(SPANS[name]["optional_attributes"])
        emitted = {each.key for each in span.attributes if not JAEGERS_OWN.fullmatch(each.key)}
        if wrong := differences(emitted, required, required | optional):
            expected = f"{span.operation} with the attributes that the contract has for it"
            raise Failed(expected, wrong, in_jaeger(live, within))
    return f"{span.operation}, of kind {kind}"


@check("each span is a child of the worker's request")
def parents(live: Live) -> str:
    span, within = newest_spans(live)[-1]
    if span.parent is None or span.parent.service != "worker":
        seen = f"the newest one is in a trace with {' and '.join(within.services)} alone"
        raise Failed("spans of rng in the traces of workers", seen, in_jaeger(live, within))
    return f"{span.operation} below {span.parent.operation} of {span.parent.service}"


@check("spans and metrics are of the same resource")
def resource(live: Live) -> str:
    span, _ = newest_spans(live)[-1]
    found = live.prometheus.query(RESOURCE)
    if not found:
        raise Failed("target_info of rng", "none", RESOURCE)
    labels, told = found[0].labels, dict(span.resource)
    for name in ("service.namespace", "service.instance.id"):
        if told.get(name) != labels.get(name.replace(".", "_")):
            raise Failed(f"the same {name} in spans and metrics", "two, or none", RESOURCE)
    return f"{labels['service_name']} of {labels['service_namespace']}"


def newest_exemplars(live: Live) -> list[dict[str, Any]]:
    """Return the exemplars of rng's histogram since the work began, the oldest first."""
    series = live.prometheus.exemplars(EXEMPLARS, live.since, live.now)
    found = (exemplar for one in series for exemplar in one["exemplars"])
    return sorted(found, key=lambda exemplar: float(exemplar["timestamp"]))


@check("exemplars lead to spans")
def exemplars(live: Live) -> str:
    found = newest_exemplars(live)
    if not found:
        raise Failed("exemplars of rng's histogram", "none", EXEMPLARS)
    complete = [one for one in found if float(one["timestamp"]) <= live.now - ARRIVED_SECONDS]
    if not complete:
        raise Waiting("traces that are complete", ARRIVED_SECONDS)
    labels = complete[-1]["labels"]
    led_to = live.jaeger.trace(labels.get("trace_id", "0"))
    spans = model.parse(led_to).spans if led_to else ()
    if labels.get("span_id") not in {span.span_id for span in spans if span.service == "rng"}:
        raise Failed("the trace_id and span_id of a span of rng", f"{labels}", EXEMPLARS)
    return f"{len(found)} of them"


@choice(
    "With TELEMETRY=off, who still tells the speed?",
    a="Prometheus: it scrapes on",
    b="webui: it reads the counter in Redis, which is part of the application",
    c="the traces: each loop is one",
    d="nobody",
)
def who_knows(live: Live) -> str:
    return "b"


@trace("A trace with a hole where rng was")
def hole(live: Live, trace: Trace) -> str:
    expected = "a trace since you began, with a worker's request to rng and no span of rng"
    within = model.parse(trace)
    asked = next((span for span in within.spans if span.get("service.peer.name") == "rng"), None)
    if asked is None:
        raise Failed(expected, f"no request to rng: {' and '.join(within.services)}", in_jaeger(live, within))
    if "rng" in within.services:
        raise Failed(expected, "rng has a span in it", in_jaeger(live, within))
    if asked.start < live.since * MICROSECONDS:
        raise Failed(expected, "a trace from before", in_jaeger(live, within))
    return f"{asked.operation} with nothing below, {asked.duration / MICROSECONDS:.3f} s"


@choice(
    "Why does rng have a port of its own for its metrics?",
    a="rng does one request at a time: a scrape would wait in line, and take a worker's turn",
    b="Prometheus cannot read a port that others use",
    c="so that nobody outside can see the metrics",
    d="the metrics would be counted as coins",
)
def own_port(live: Live) -> str:
    return "a"


@number("Which median did the buckets of step 4 give?", unit="s")
def blurred(live: Live) -> Expected:
    lower, upper = BLURRED_BUCKET
    middle = lower + (upper - lower) / 2
    return Expected(middle, 0.05 * middle, "what the bounds around 0.1 s make of it, within 5 %", BUCKETS)


@choice(
    "What would have become of rng's spans without `extract`?",
    a="nothing: a span without a parent is dropped",
    b="children of `loop`, beside the worker's GET",
    c="each would be alone in a trace of its own",
    d="the worker would wait for them",
)
def orphans(live: Live) -> str:
    return "c"


@trace("A trace to which an exemplar of your histogram leads")
def exemplar(live: Live, trace: Trace) -> str:
    found = {one["labels"].get("trace_id") for one in newest_exemplars(live)}
    if trace["traceID"] not in found:
        raise Failed("a trace ID that is in an exemplar", f"not in any of {len(found)}", EXEMPLARS)
    return "an exemplar leads there"
