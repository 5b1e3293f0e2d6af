"""The pages."""

import json
import re
import time
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from workshop.console.backends import Backends
from workshop.console.traces import formats, search
from workshop.console.traces.compare import compare as compare_traces
from workshop.console.traces.critical_path import by_span, critical_path, shares
from workshop.console.traces.graph import graph as service_graph
from workshop.console.traces.graph import newest, search_fields
from workshop.console.traces.layout import LABEL_HEIGHT, LABEL_WIDTH, NODE_HEIGHT, NODE_WIDTH, layout
from workshop.console.traces.model import Json, Trace, parse
from workshop.console.traces.waterfall import MAX_ROWS, rows, ticks

# The service to begin with, as every trace of the lab's work starts there.
FIRST_SERVICE = "worker"
# Seconds. The spans of a trace come from several services, each of which sends them once a second. The graph
# leaves the newest traces out, so that it counts whole ones.
SETTLING = 5
# Each service is searched, so the largest of the limits would take too long.
GRAPH_LIMITS = search.LIMITS[:-1]
GRAPH_DEFAULTS = {"lookback": "15m", "limit": "200"}
NOT_THERE = (
    "There is no trace {}. Only the newest ones are kept: Jaeger has the last 10,000 traces, the embedded "
    "trace store the last 100,000 spans. At ten loops a second this is a quarter of an hour, or almost half "
    "an hour. A new trace can be looked up about two seconds after it ended."
)


def create_blueprint(backends: Backends) -> Blueprint:
    """Return the pages of traces."""
    pages = Blueprint("traces", __name__, url_prefix="/traces")
    jaeger = backends.jaeger

    @pages.context_processor
    def helpers() -> dict[str, Any]:
        return {"fmt": formats}

    def find(trace_id: str) -> Json:
        document = jaeger.trace(_checked_id(trace_id))
        if document is None:
            abort(404, NOT_THERE.format(trace_id))
        return document

    @pages.get("/")
    def index() -> tuple[str, int]:
        services = jaeger.services()
        # No others: the page's links to itself carry the fields, and Flask takes some names as its own.
        given = {name: request.args.get(name, "") for name in search.FIELDS}
        fields = search.DEFAULTS | {name: value for name, value in given.items() if value}
        fields.setdefault("service", FIRST_SERVICE if FIRST_SERVICE in services else "".join(services[:1]))
        service = fields["service"]
        query, errors = search.parse(fields)
        found: list[Trace] = []
        if query and service:
            found = _parsed(jaeger.traces(service, **query.parameters(time.time())))
        page = render_template(
            "traces/index.html",
            fields=fields,
            errors=errors,
            services=sorted({*services, service} - {""}),
            operations=jaeger.operations(service) if service else [],
            choices=search,
            query=query,
            found=len(found),
            traces=query.select(found) if query else [],
        )
        return page, 400 if errors else 200

    @pages.get("/open")
    def open_trace() -> AnyResponse:
        return redirect(url_for(".trace", trace_id=_checked_id(request.args.get("id", ""))))

    @pages.get("/<trace_id>")
    def trace(trace_id: str) -> str:
        found = parse(find(trace_id))
        path = critical_path(found.root)
        return render_template(
            "traces/trace.html",
            trace=found,
            shares=shares(found, path),
            rows=rows(found, by_span(path), found.duration),
            ticks=ticks(found.duration),
            max_rows=MAX_ROWS,
        )

    @pages.get("/<trace_id>.json")
    def document(trace_id: str) -> Response:
        found = find(trace_id)
        text = json.dumps({"data": [found]}, indent=1)
        headers = {"Content-Disposition": f"attachment; filename=trace-{found['traceID']}.json"}
        return Response(text, content_type="application/json", headers=headers)

    @pages.get("/compare")
    def compare() -> str | AnyResponse:
        # The check boxes of the search all have one name.
        if ticked := request.args.getlist("trace"):
            if len(ticked) != 2:
                abort(400, f"two traces can be compared; ticked: {len(ticked)}")
            return redirect(url_for(".compare", a=ticked[0], b=ticked[1]))
        ids = [_checked_id(request.args.get(name, "").strip()) for name in ("a", "b")]
        both = [parse(find(trace_id)) for trace_id in ids]
        # One scale for both, so that the same length is the same time.
        scale = max(trace.duration for trace in both)
        return render_template(
            "traces/compare.html",
            traces=both,
            lines=compare_traces(*both),
            waterfalls=[rows(trace, by_span(critical_path(trace.root)), scale) for trace in both],
            ticks=ticks(scale),
            max_rows=MAX_ROWS,
        )

    @pages.get("/graph")
    def graph() -> str:
        fields = GRAPH_DEFAULTS | {name: value for name, value in request.args.items() if value}
        try:
            lookback = search.LOOKBACKS[search.one_of(search.LOOKBACKS)(fields["lookback"])]
            limit = int(search.one_of(GRAPH_LIMITS)(fields["limit"]))
        except search.FieldError as error:
            abort(400, str(error))
        end = time.time() - SETTLING
        parameters = {
            "start": int((end - lookback) * 1e6),
            "end": int(end * 1e6),
            "limit": limit,
        }
        found = [_parsed(jaeger.traces(service, **parameters)) for service in jaeger.services()]
        shown = service_graph(newest(found, limit))
        return render_template(
            "traces/graph.html",
            fields=fields,
            lookbacks=search.LOOKBACKS,
            limits=GRAPH_LIMITS,
            graph=shown,
            drawing=layout(shown.services, [(edge.caller, edge.callee) for edge in shown.edges]),
            sizes={
                "node": (NODE_WIDTH, NODE_HEIGHT),
                "label": (LABEL_WIDTH, LABEL_HEIGHT),
            },
            searches=[
                search_fields(edge, shown.without_spans) | {"lookback": fields["lookback"]}
                for edge in shown.edges
            ],
            settling=SETTLING,
        )

    return pages


def _parsed(documents: Sequence[Json]) -> list[Trace]:
    return [parse(document) for document in documents if document["spans"]]


def _checked_id(text: str) -> str:
    """Return a trace ID as Jaeger takes it; abort with 400 if it is none."""
    text = text.strip()
    if not re.fullmatch("[0-9a-fA-F]{1,32}", text) or not text.strip("0"):
        abort(400, f"{text[:80]!r} is no trace ID: up to 32 hexadecimal digits are accepted, not all 0")
    return text.lower()
