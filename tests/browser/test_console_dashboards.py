"""The console's dashboards in a real browser, on a lab with ten workers and every real server."""

import re
from math import isfinite
from time import time

import psutil
import pytest
import requests
from playwright.sync_api import expect

from tests.browser import pictures
from tests.browser.pictures import save_picture, wait_until_quiet
from tests.browser.test_webui import luminance
from tests.grafana import DASHBOARDS, PANELS, quiet, with_all_chosen
from tests.live.conftest import Lab, real_trace_backend, running  # noqa: F401
from tests.support import poll_until
from workshop.console.dashboards.files import read_dashboards

# Milliseconds. The page asks for new data each five seconds; a busy machine takes longer to draw it.
SOON = 30_000
# Twice the windows of the queries: the rates, and their means.
SECONDS = 65
# The other pictures are taken where more happens.
PICTURES = {
    "saturation.json": "console-saturation",
    "slo.json": "console-slo",
    "traces.json": "console-collector",
}
WIDTHS = (320, 390, 800, 1280)


@pytest.fixture(scope="module")
def lab(tmp_path_factory, real_trace_backend):  # noqa: F811
    folder = tmp_path_factory.mktemp("labs")
    with running(Lab(folder, settings={"TRACE_BACKEND": "jaeger"}), "--workers", "10") as running_lab:
        oldest = "min(time() - process_start_time_seconds)"
        poll_until("full windows", lambda: running_lab.prometheus.scalar(oldest) > SECONDS, SECONDS + 30, 1)
        if pictures.FOLDER:
            wait_until_quiet(running_lab.prometheus)
        yield running_lab


@pytest.fixture
def console(lab):
    return lab.url("CONSOLE_PORT")


def panel_of(page, title):
    return page.locator(".dashboard-panel").filter(has=page.locator("h3").get_by_text(title, exact=True))


def open_dashboard(page, console, name, query=""):
    page.goto(f"{console}/dashboards/{DASHBOARDS[name]['uid']}{query}")


def wait_until_drawn(panel):
    panel.scroll_into_view_if_needed()
    expect(panel).to_have_attribute("data-drawn", re.compile(r"^\d+"), timeout=SOON)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_shows_data_or_the_reason_why_there_is_none(page, console, name):
    open_dashboard(page, console, name)
    expect(page.locator("nav.tabs a[aria-current]")).to_have_text(DASHBOARDS[name]["title"])
    for panel in DASHBOARDS[name]["panels"]:
        if panel["type"] == "row":
            expect(page.locator("h2.row").get_by_text(panel["title"], exact=True)).to_be_visible()
            continue
        shown = page.locator(f"#panel-{panel['id']}")
        expect(shown.locator("h3")).to_have_text(panel["title"])
        wait_until_drawn(shown)
        problem, plot = shown.locator(".problem"), shown.locator(".plot")
        if problem.is_visible():
            reason = quiet(f"{name}: {panel['title']}")
            assert reason, f"{panel['title']} shows {problem.text_content()!r}"
            expect(problem).to_have_text(reason)
            expect(plot).to_be_hidden()
            continue
        drawn = plot.evaluate(
            """plot => ({
                lines: plot.querySelectorAll(".scatterlayer path.js-line").length,
                images: plot.querySelectorAll(".heatmaplayer image").length,
                values: plot.data.filter(({meta}) => meta !== "exemplars")
                    .map(({y, z}) => (z?.flat() ?? y).filter(value => value !== null).length),
                width: plot.querySelector(".main-svg").getBoundingClientRect().width - plot.clientWidth,
            })"""
        )
        assert max(drawn["values"]) > 1, panel["title"]
        assert drawn["width"] == 0
        if panel["type"] == "heatmap":
            assert drawn["images"] == 1
        else:
            assert drawn["lines"] >= len([count for count in drawn["values"] if count > 1])
        texts = shown.locator(".figures" if panel["type"] == "stat" else ".legend li b").all_text_contents()
        assert texts
        assert any(re.match(r"^-?[\d,.]+", text) for text in texts), texts
        # What the panel is about is there to read.
        shown.locator("summary").click()
        expect(shown.locator(".about p")).to_have_text(panel["description"])
        shown.locator("summary").click()
    page.evaluate("scrollTo(0, 0)")
    if name in PICTURES:
        save_picture(page, PICTURES[name], height=1000)


def written(value, unit, decimals):
    """Return a value as Grafana and the console write it."""
    if unit == "s":
        return f"{value:.{decimals}f} s" if value >= 1 else f"{value * 1000:.{decimals}f} ms"
    return f"{value:.{decimals}f} {unit.removeprefix('suffix: ')}"


@pytest.mark.parametrize(
    "title", [title for title, panel in PANELS.items() if panel["type"] == "stat" and "speed" in title]
)
def test_numbers_are_those_of_prometheus(page, console, lab, title):
    name, _, heading = title.partition(": ")
    panel = PANELS[title]
    defaults = panel["fieldConfig"]["defaults"]
    open_dashboard(page, console, name)
    shown = panel_of(page, heading)
    wait_until_drawn(shown)

    def agree():
        read = "p => [Number(p.dataset.drawn), p.querySelector('.figures').textContent]"
        drawn, text = shown.evaluate(read)
        # The page shows the value at the last even second.
        parameters = {"query": panel["targets"][0]["expr"], "time": drawn // 2 * 2}
        result = requests.get(f"{lab.prometheus.url}/api/v1/query", parameters, timeout=5).json()
        (series,) = result["data"]["result"]
        value = float(series["value"][1])
        return isfinite(value) and text == written(value, defaults["unit"], defaults["decimals"])

    # A scrape may end between the page's query and this one; the next number is right then.
    poll_until(f"the same {heading} in the page and in Prometheus", agree, timeout=30, interval=1)


def test_the_speed_is_the_one_known_in_advance(page, console):
    """Ten workers, of which rng serves one at a time, in 0.1 s: at most 10 hashes a second."""
    open_dashboard(page, console, "speed-latency.json")
    figure = panel_of(page, "Speed").locator(".figures")
    # A busy machine is slower for a while: two windows of 30 s later, that is over.
    expect(figure).to_have_text(re.compile(r"^(9\.[0-9]\d|10\.[0-2]\d) hashes/s$"), timeout=60_000)
    save_picture(page, "console-dashboard", height=1000)


@pytest.mark.parametrize("title", ["Duration at the client", "Waiting for rng"])
def test_a_click_on_an_exemplar_opens_its_trace(page, console, lab, title):
    open_dashboard(page, console, "services.json")
    shown = panel_of(page, title)
    wait_until_drawn(shown)
    points = shown.locator(".scatterlayer path.point")
    expect(points.first).to_be_visible(timeout=SOON)
    shown.evaluate("panel => panel.scrollIntoView({block: 'center'})")
    if title == "Waiting for rng":
        save_picture(page, "console-services", selector="#panel-12", height=460)
    box = points.last.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url(re.compile(r"/traces/[0-9a-f]{32}$"), timeout=SOON)
    trace_id = page.url.rpartition("/")[2]
    # It is one of those that Prometheus has for this query.
    (target,) = PANELS[f"services.json: {title}"]["targets"]
    series = lab.prometheus.exemplars(with_all_chosen(target["expr"]), time() - 600, time())
    found = {exemplar["labels"]["trace_id"] for one in series for exemplar in one["exemplars"]}
    assert trace_id in found
    assert lab.jaeger.trace(trace_id)


def test_the_slowest_exemplar_is_a_link(page, console, lab):
    open_dashboard(page, console, "services.json")
    shown = panel_of(page, "Duration at the client")
    wait_until_drawn(shown)
    shown.get_by_role("link", name=re.compile(r"^slowest trace: [\d.]+ m?s$")).press("Enter")
    page.wait_for_url(re.compile(r"/traces/[0-9a-f]{32}$"), timeout=SOON)
    assert lab.jaeger.trace(page.url.rpartition("/")[2])


def test_a_click_beside_the_exemplars_opens_nothing(page, console):
    open_dashboard(page, console, "services.json")
    shown = panel_of(page, "Duration at the client")
    wait_until_drawn(shown)
    box = shown.locator(".plot").bounding_box()
    # Close to the top: over the greatest value there is some room.
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 8)
    expect(shown.locator(".plot")).not_to_have_class(re.compile("on-dot"))
    # The page is still there to draw newer data.
    drawn = shown.get_attribute("data-drawn")
    expect(shown).not_to_have_attribute("data-drawn", drawn, timeout=SOON)
    assert "/dashboards/" in page.url


def test_services_can_be_chosen_and_the_choice_shared(page, console):
    open_dashboard(page, console, "services.json")
    routes = panel_of(page, "Requests per route").locator(".legend")
    expect(routes).to_contain_text("hasher POST /", timeout=SOON)
    expect(routes).to_contain_text("rng GET /<int:size>")
    choice = page.get_by_role("group", name="Service")
    expect(choice.get_by_label("All")).to_be_checked()
    choice.get_by_label("rng").check(force=True)
    expect(routes).not_to_contain_text("hasher", timeout=SOON)
    expect(routes).to_contain_text("rng GET /<int:size>")
    expect(choice.get_by_label("All")).not_to_be_checked()
    assert "var-service=rng" in page.url
    page.reload()
    expect(routes).to_contain_text("rng GET /<int:size>", timeout=SOON)
    expect(routes).not_to_contain_text("hasher")
    choice.get_by_label("hasher").check(force=True)
    expect(routes).to_contain_text("hasher POST /", timeout=SOON)
    choice.get_by_label("All").check(force=True)
    assert "var-service" not in page.url


def test_the_range_of_time_can_be_chosen_and_the_choice_shared(page, console):
    open_dashboard(page, console, "speed-latency.json")
    shown = panel_of(page, "Measured and predicted speed")
    seconds = "p => { const [a, b] = p.querySelector('.plot').layout.xaxis.range; return (b - a) / 1000; }"
    wait_until_drawn(shown)
    assert shown.evaluate(seconds) == pytest.approx(300)
    page.get_by_label("1 h", exact=True).check(force=True)
    poll_until("an hour", lambda: shown.evaluate(seconds) == pytest.approx(3600), timeout=10)
    page.get_by_label("every 5 s").uncheck()
    expect(page.locator("a.tab").last).to_have_attribute("href", re.compile(r"from=now-1h&to=now&refresh=$"))
    page.reload()
    expect(page.get_by_label("1 h", exact=True)).to_be_checked()
    expect(page.get_by_label("every 5 s")).not_to_be_checked()
    wait_until_drawn(shown)
    assert shown.evaluate(seconds) == pytest.approx(3600)


def test_only_panels_in_view_are_asked_for(page, console):
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/data?" in request.url else None)
    page.set_viewport_size({"width": 1280, "height": 400})
    open_dashboard(page, console, "speed-latency.json")
    wait_until_drawn(panel_of(page, "Speed"))
    ids = {panel["title"]: panel["id"] for panel in DASHBOARDS["speed-latency.json"]["panels"]}
    assert not [url for url in asked if f"panel={ids['Luck']}" in url]
    wait_until_drawn(panel_of(page, "Luck"))
    assert [url for url in asked if f"panel={ids['Luck']}" in url]


def test_names_of_series_are_text(page, console):
    open_dashboard(page, console, "services.json", "?refresh=")
    shown = panel_of(page, "Requests per route")
    wait_until_drawn(shown)
    evil = "<b id='evil'>&lt;x</b>"
    shown.evaluate(
        """async (panel, name) => {
            const { drawPanel } = await import("/static/dashboard-panels.js");
            const now = Date.now() / 1000;
            const times = [now - 20, now - 10];
            const series = [{ name, values: [1, 2] }];
            drawPanel(panel, { times, series, exemplars: [], from: now - 30, to: now }, String);
        }""",
        evil,
    )
    expect(shown.locator(".legend li")).to_have_text(f"{evil} 2 req/s")
    box = shown.locator(".plot").bounding_box()
    # Over the second point.
    left, right = shown.evaluate(
        "p => [p.querySelector('.plot').layout.margin.l, p.querySelector('.plot').layout.margin.r]"
    )
    page.mouse.move(box["x"] + left + 2 / 3 * (box["width"] - left - right), box["y"] + box["height"] / 2)
    expect(shown.locator(".hoverlayer")).to_contain_text(evil, timeout=SOON)
    assert page.locator("#evil").count() == 0


def test_prometheus_goes_and_comes_back(page, console, lab):
    open_dashboard(page, console, "speed-latency.json", "?refresh=")
    shown = panel_of(page, "Measured and predicted speed")
    notice = page.locator("#notice")
    wait_until_drawn(shown)
    expect(notice).to_be_hidden()
    lab.run("stop", "prometheus")
    try:
        page.get_by_label("every 5 s").check()
        expect(notice).to_have_text(
            re.compile(
                rf"^No new data since [\d:]{{8}}\. {lab.prometheus.url}/api/v1/\w+ cannot be reached\. "
                r"The page tries again every 5 s\.$"
            ),
            timeout=SOON,
        )
        expect(shown.locator("path.js-line").first).to_be_visible()
        page.reload()
        expect(notice).to_contain_text("No data yet.", timeout=SOON)
        expect(shown.locator("h3")).to_be_visible()
    finally:
        lab.run("start", "prometheus")
    expect(notice).to_be_hidden(timeout=30_000)
    wait_until_drawn(shown)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_width_shows_everything(page, console, name):
    open_dashboard(page, console, name)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        first = page.locator(".dashboard-panel").first
        wait_until_drawn(first)
        poll_until(
            f"a chart that fills its panel in a page of {width} pixels",
            lambda: first.evaluate(  # noqa: B023
                """p => {
                    const svg = p.querySelector(".main-svg"), plot = p.querySelector(".plot");
                    return plot.hidden || svg?.getBoundingClientRect().width === plot.clientWidth;
                }"""
            ),
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_contrast_is_good_in_both_colour_schemes(page, console):
    def contrast(front, back):
        style = "name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()"
        dark, light = sorted(luminance(page.evaluate(style, name)) for name in (front, back))
        return (light + 0.05) / (dark + 0.05)

    # Without newer data: the colours alone make the page draw anew.
    open_dashboard(page, console, "speed-latency.json", "?refresh=")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        lines = [f"series-{number}" for number in range(1, 9)]
        for line in (*lines, "exemplar", "heat-high"):
            assert contrast(line, "card") >= 3, (scheme, line)
        assert contrast("firing", "card") >= 4.5
        card = page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
        plot = page.locator("#panel-6 .main-svg").first
        poll_until(
            f"a chart in {scheme} colours",
            lambda: plot.evaluate("svg => getComputedStyle(svg).backgroundColor") == card,  # noqa: B023
        )


def test_the_console_stays_small(lab, console):
    """After all dashboards were asked for several times. The whole lab is to take 500 MB at most."""
    for _ in range(5):
        for uid in read_dashboards():
            answer = requests.get(f"{console}/dashboards/{uid}/data?from=now-3h", timeout=30)
            assert answer.status_code == 200
    assert psutil.Process(lab.pid("console")).memory_info().rss < 60e6
