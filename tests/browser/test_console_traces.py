"""The console's pages of traces in a real browser, on a real lab with the embedded trace store."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.sync_api import expect

from tests.browser.pictures import save_picture
from tests.grafana import NEEDS_COLLECTOR, PANELS, no_value
from tests.live.conftest import Lab, running
from tests.spans import MILLISECOND, request, resource_spans, span
from tests.support import poll_until
from workshop.clients import services_of

WORKERS = 10
SPEED = "job:dockercoins_hashes:rate30s"
# Seconds. The graph leaves out what is younger than 5 s; it looks at the newest 200 traces, 20 s of them.
STEADY = 28
# Milliseconds. A page asks for new data each five seconds; a busy machine takes longer to draw it.
SOON = 30_000
HASH = re.compile(r"[0-9a-f]{32}$")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with running(Lab(tmp_path_factory.mktemp("labs"))) as running_lab:
        yield running_lab


@pytest.fixture
def traces(lab):
    return f"{lab.url('CONSOLE_PORT')}/traces"


def whole_trace(lab, operation="loop", index=0):
    """Return a trace of which rng's and hasher's spans are there too."""

    def find():
        found = lab.jaeger.traces("worker", operation=operation, limit=50)
        whole = [one for one in found if services_of(one) >= {"worker", "rng", "hasher"}]
        whole = [one for one in whole if any(raw["operationName"] == "loop" for raw in one["spans"])]
        return len(whole) > index and whole[index]

    return poll_until(f"{index + 1} whole traces with {operation}", find)


def durations_of(trace):
    """Return the duration in ms of each span, by service and operation."""
    return {
        (trace["processes"][raw["processID"]]["serviceName"], raw["operationName"]): raw["duration"] / 1000
        for raw in trace["spans"]
    }


def milliseconds(text):
    number, unit = text.split()
    number = number.replace("\N{MINUS SIGN}", "-")
    return float(number) * {"µs": 0.001, "ms": 1, "s": 1000}[unit]


def dots(page):
    return page.locator("#scatter .scatterlayer path.point")


def test_the_search_shows_the_worker_at_once(page, lab, traces):
    poll_until("20 traces", lambda: len(lab.jaeger.traces("worker", limit=20)) == 20)
    page.goto(traces)
    expect(page.locator("#service")).to_have_value("worker")
    expect(page.locator("#operation option")).to_contain_text(["all"])
    expect(dots(page).first).to_be_visible()
    rows = page.locator("#results tbody tr")
    assert dots(page).count() == rows.count() >= 20


def test_search_by_duration_and_tag(page, lab, traces):
    whole_trace(lab)
    page.goto(traces)
    page.select_option("#operation", "GET")
    page.fill("#tags", 'service.peer.name=rng http.response.status_code="200"')
    page.fill("#min", "90ms")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#results tbody tr").first).to_be_visible()
    query = parse_qs(urlsplit(page.url).query)
    assert query["min"] == ["90ms"]
    assert "max" not in query  # empty fields are left out of the address
    page.fill("#min", "9s")  # no call of one worker takes that long
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#nothing")).to_have_text("No trace of worker in the last 1h matches.")
    page.fill("#min", "soon")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#min-error")).to_have_text("'soon' is no duration; accepted: 100ms, 1.5s, 250us, 2m")
    expect(page.locator("#min")).to_have_value("soon")


def test_another_service_has_other_operations(page, lab, traces):
    whole_trace(lab)
    page.goto(traces)
    page.select_option("#service", "rng")
    expect(page.locator("#operation")).to_contain_text("GET /<int:size>")
    expect(page.locator("#service")).to_have_value("rng")


def test_a_dot_opens_its_trace(page, lab, traces):
    whole_trace(lab)
    page.goto(traces)
    dots(page).first.scroll_into_view_if_needed()
    box = dots(page).first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("#scatter .hoverlayer .hovertext")).to_be_visible()
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url(HASH)
    expect(page.locator("#waterfall .row").nth(1)).to_be_visible()


def test_the_waterfall_has_the_numbers_of_the_api(page, lab, traces):
    trace = whole_trace(lab)
    page.goto(f"{traces}/{trace['traceID']}")
    shown = {}
    for row in page.locator("#waterfall .row:not(.scale)").all():
        name = (row.locator(".service").inner_text(), row.locator("a").inner_text())
        shown[name] = milliseconds(row.locator(".duration").inner_text())
    expected = durations_of(trace)
    assert shown.keys() == expected.keys() >= {("rng", "GET /<int:size>"), ("hasher", "POST /")}
    for name, duration in shown.items():
        assert duration == pytest.approx(expected[name], rel=0.005, abs=0.05)  # three digits are shown
    # The bar of rng lies where its span does.
    loop = next(raw for raw in trace["spans"] if raw["operationName"] == "loop")
    rng = next(raw for raw in trace["spans"] if raw["operationName"] == "GET /<int:size>")
    row = page.locator("#waterfall .row", has=page.get_by_text("GET /<int:size>"))
    bar, scale = (row.locator(part).bounding_box() for part in (".bar", "svg"))
    width = max(raw["startTime"] + raw["duration"] for raw in trace["spans"]) - loop["startTime"]
    assert (bar["x"] - scale["x"]) / scale["width"] == pytest.approx(
        (rng["startTime"] - loop["startTime"]) / width, abs=0.005
    )
    assert bar["width"] / scale["width"] == pytest.approx(rng["duration"] / width, abs=0.005)
    # rng and hasher work one after the other: both are on the critical path.
    assert page.locator("#shares tbody tr").count() == len(expected)
    for operation in ("GET /<int:size>", "POST /"):
        share = page.locator("#shares tr", has=page.get_by_text(operation)).locator("td").last.inner_text()
        assert float(share.removesuffix(" %")) > 20


def test_fold_and_open_a_span(page, lab, traces):
    trace = whole_trace(lab)
    page.goto(f"{traces}/{trace['traceID']}")
    rng = page.get_by_role("link", name="GET /<int:size>")
    expect(rng).to_be_visible()
    page.locator("summary", has=page.get_by_role("link", name="GET", exact=True)).locator(".marker").click()
    expect(rng).to_be_hidden()
    page.get_by_role("button", name="Expand all").click()
    expect(rng).to_be_visible()
    page.get_by_role("button", name="Collapse all").click()
    expect(page.get_by_role("link", name="POST /")).to_be_hidden()
    page.get_by_role("button", name="Expand all").click()
    rng.click()
    panel = page.get_by_role("region", name="rng GET /<int:size>")
    expect(panel.get_by_role("row", name="http.route /<int:size>")).to_be_visible()
    expect(panel.get_by_role("row", name="service.version")).to_be_visible()
    save_picture(page, "console-trace", full_page=True)
    panel.get_by_role("link", name="close").click()
    expect(panel).to_be_hidden()


def test_without_javascript(browser, lab, traces):
    trace = whole_trace(lab)
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{traces}/{trace['traceID']}")
        rng = page.get_by_role("link", name="GET /<int:size>")
        page.locator("summary", has=page.get_by_role("link", name="GET", exact=True)).locator(
            ".marker"
        ).click()
        expect(rng).to_be_hidden()
        page.goto(traces)
        for number in (0, 1):
            page.locator("#results input").nth(number).check()
        page.get_by_role("button", name="Compare").click()
        expect(page.locator("#lines tbody tr").first).to_be_visible()


def test_compare_two_traces(page, lab, traces):
    whole_trace(lab, index=3)
    page.goto(traces)
    button = page.get_by_role("button", name="Compare")
    expect(button).to_be_disabled()
    boxes = page.locator("#results input:not([disabled])")
    ids = [boxes.nth(number).get_attribute("value") for number in (8, 9)]
    for number in (8, 9):
        page.locator("#results input").nth(number).check()
    expect(page.locator("#results input").nth(0)).to_be_disabled()
    button.click()
    page.wait_for_url(re.compile("/compare"))
    assert parse_qs(urlsplit(page.url).query) == {"a": [ids[0]], "b": [ids[1]]}
    row = page.locator("#lines tr", has=page.get_by_text("loop")).locator("td")
    for cell, trace_id in ((2, ids[0]), (3, ids[1])):
        duration = durations_of(lab.jaeger.trace(trace_id))["worker", "loop"]
        assert milliseconds(row.nth(cell).inner_text()) == pytest.approx(duration, rel=0.005)
    for name in "ab":
        expect(page.locator(f"#waterfall-{name} .bar").first).to_be_visible()


def test_what_a_span_says_is_text(page, lab, traces):
    evil = "<script>document.title = 'evil'</script><img src=x onerror=\"document.title = 'evil'\">"
    sent = span(
        evil,
        tags={evil: evil, "long": evil * 20},
        events=[{"timeUnixNano": "1", "name": evil}],
        status={"code": 2, "message": evil},
    )
    child = span(evil, parent=sent, kind=3, tags={"service.peer.name": evil})
    document = request(resource_spans(evil, sent, child, resource={"host.name": evil}))
    requests.post(f"{lab.url('OTLP_PORT')}/v1/traces", json=document, timeout=5).raise_for_status()
    poll_until("the trace", lambda: lab.jaeger.trace(sent["traceId"]))
    pages = [
        f"/?service={requests.utils.quote(evil)}",
        f"/{sent['traceId']}#span-{sent['spanId']}",
        f"/compare?a={sent['traceId']}&b={sent['traceId']}",
        "/graph",
    ]
    for path in pages:
        page.goto(traces + path)
        expect(page.locator("main")).to_contain_text("<script>document.title")
        assert "evil" not in page.title().replace(evil, "")
        assert page.locator("main img").count() == 0
    page.goto(f"{traces}/?service={requests.utils.quote(evil)}")
    expect(dots(page).first).to_be_visible()


def test_errors_are_seen(page, lab, traces):
    failed = span("checkout", duration=30 * MILLISECOND, status={"code": 2}, tags={"error.type": "500"})
    document = request(resource_spans("shop", failed, span("checkout")))
    requests.post(f"{lab.url('OTLP_PORT')}/v1/traces", json=document, timeout=5).raise_for_status()
    poll_until("the trace", lambda: lab.jaeger.trace(failed["traceId"]))
    page.goto(f"{traces}/?service=shop")
    assert dots(page).count() == 2
    page.get_by_label("only with errors").check()
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#results tbody tr")).to_have_count(1)
    expect(page.locator("#results .error-mark")).to_have_text("1 error")
    expect(page.locator("#count")).to_contain_text("1 with an error, among the newest 2 that match")


def agrees(lab, rate):
    """Whether a rate of the graph is the speed by the counter in Redis; a busy machine is slower in both."""
    speed = lab.prometheus.scalar(SPEED)
    return speed and float(rate.removesuffix("/s")) == pytest.approx(speed, rel=0.1)


def edge(page, callee):
    """Return the cells of the worker's edge to a service: calls, rate, errors, p95."""
    row = page.locator("#edges tbody tr", has_text="worker").filter(has_text=callee)
    return [cell.inner_text() for cell in row.locator("td").all()][2:6]


def test_the_graph_of_one_worker(page, lab, traces):
    def numbers():
        page.goto(f"{traces}/graph")
        return page.locator("#edges").count() and edge(page, "rng")

    _, rate, errors, p95 = poll_until(
        "100 calls", lambda: (n := numbers()) and int(n[0]) >= 100 and n, timeout=60
    )
    # One loop is 0.3 s of delays and some overhead, more of it on a busy machine.
    calls = float(rate.removesuffix("/s"))
    assert calls <= 1 / 0.3
    assert agrees(lab, rate)
    assert errors == "0 %"
    assert milliseconds(p95) >= 100
    redis = edge(page, "redis")
    # The counter after the first loop that ends a second later or more, that is every 1.0 to 1.3 s, and each
    # coin: 0.2/s, with a standard deviation of 0.08/s in the 30 s of a hundred loops.
    assert 1 / 1.35 <= float(redis[1].removesuffix("/s")) <= 1 + 0.2 + 3 * 0.08
    expect(page.locator("#graph .without-spans")).to_contain_text("redis")
    page.get_by_role("link", name="traces of worker → rng").click()
    expect(page.locator("#tags")).to_have_value('service.peer.name="rng"')
    expect(page.locator("#results tbody tr").first).to_be_visible()


def test_ten_workers_wait_for_rng(page, lab, traces):
    alone = whole_trace(lab)["traceID"]
    lab.run("scale", f"worker={WORKERS}")

    def numbers():
        page.goto(f"{traces}/graph")
        return page.locator("#edges").count() and edge(page, "rng")

    def settled():
        found = numbers()
        covered = (
            re.search(r"from 200 traces of (\d+) s", page.locator("#basis").inner_text()) if found else None
        )
        return covered and int(covered[1]) < STEADY and agrees(lab, found[1]) and found

    _, rate, _, p95 = poll_until("200 traces of ten workers", settled, timeout=90, interval=2)
    save_picture(page, "console-graph", full_page=True)
    # rng serves one request at a time, in 0.1 s.
    calls = float(rate.removesuffix("/s"))
    assert calls <= 10.1
    # Little's law: of the cycle, 1.0 s if rng is never idle, 0.2 s and some overhead are spent elsewhere.
    cycle = 1_000 * WORKERS / calls
    assert 780 <= milliseconds(p95) <= 1.3 * cycle
    page.goto(f"{traces}/?limit=500")
    expect(dots(page).first).to_be_visible()
    save_picture(page, "console-traces")
    page.goto(f"{traces}/compare?a={alone}&b={whole_trace(lab)['traceID']}")
    # All of the difference is the time in line: in the worker's call, and not in rng.
    lines = {
        name: page.locator("#lines tbody tr", has=page.get_by_text(name, exact=True)).locator("td")
        for name in ("loop", "GET", "GET /<int:size>")
    }
    difference = {name: milliseconds(cells.nth(6).inner_text().lstrip("+")) for name, cells in lines.items()}
    assert 600 <= difference["GET"] <= 800
    assert abs(difference["GET /<int:size>"]) <= 50
    expect(lines["GET"].nth(6)).to_have_class("longer")
    save_picture(page, "console-compare", full_page=True)


def test_a_backend_that_is_away(page, lab, traces):
    lab.run("stop", "jaeger")
    try:
        for path in ("", "/graph", "/" + "ab" * 16):
            assert page.goto(traces + path).status == 503
            expect(page.locator(".notice", has_text=lab.url("JAEGER_PORT"))).to_be_visible()
    finally:
        lab.run("start", "jaeger")
    poll_until("traces again", lambda: page.goto(traces).status == 200)


def test_a_dashboard_says_what_needs_the_collector(page, lab):
    needy = [panel for title, panel in PANELS.items() if no_value(title) == NEEDS_COLLECTOR]
    assert needy
    page.goto(f"{lab.url('CONSOLE_PORT')}/dashboards/dockercoins-traces")
    for panel in needy:
        shown = page.locator(f"#panel-{panel['id']}")
        shown.scroll_into_view_if_needed()
        expect(shown.locator(".problem")).to_have_text(NEEDS_COLLECTOR, timeout=SOON)
        expect(shown.locator(".plot")).to_be_hidden()
    # Where other lines are, they are shown.
    queues = page.locator(".dashboard-panel", has=page.get_by_role("heading", name="Queues", exact=True))
    queues.scroll_into_view_if_needed()
    expect(queues.locator(".legend")).to_contain_text("worker", timeout=SOON)
    expect(queues.locator(".problem")).to_be_hidden()
