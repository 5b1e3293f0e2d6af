"""The console's pages of dashboards and alerts, and the frame that all of its pages share.

The answers of a real Prometheus are in tests/browser; here its place is taken by nobody, or by a server that
says what no healthy Prometheus would.
"""

import json
import re
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from tests.grafana import DASHBOARDS, PANELS
from tests.support import free_ports, poll_until, process
from workshop.clients import Series
from workshop.console import alerts
from workshop.console.app import create_app
from workshop.console.backends import Backends
from workshop.console.dashboards import data, files, units
from workshop.console.dashboards.files import DashboardError, read_dashboards
from workshop.console.dashboards.times import (
    MAX_POINTS,
    Range,
    RangeError,
    choose_step,
    parse_duration,
    parse_range,
)
from workshop.console.markdown import render
from workshop.grading import exercises, progress
from workshop.grading.progress import Record
from workshop.lab import load
from workshop.native.ports import listens

EVIL = "<script>alert(1)</script>"
HOME = "dockercoins-speed"
SERVICES = "dockercoins-services"
NOW = 1_800_000_000.0
# What there is in our dashboards, and that the console honours, or has no need to. An option that is not here
# was never looked at.
ANY = object()
CUSTOM = {"axisSoftMin": {0}, "fillOpacity": ANY, "lineWidth": ANY, "showPoints": {"never"}, "stacking": ANY}
OPTIONS = {
    # One way to draw a number is enough, and has no settings.
    "stat": {
        "colorMode": {"none"},
        "graphMode": {"area"},
        "justifyMode": {"auto"},
        "orientation": {"auto"},
        "percentChangeColorMode": {"standard"},
        "reduceOptions": ANY,
        "showPercentChange": {False},
        "textMode": {"auto"},
        "wideLayout": {True},
    },
    "timeseries": {"legend": ANY, "tooltip": ANY},
    "heatmap": {
        "calculate": {False},
        "cellGap": {1},
        "color": ANY,
        "exemplars": ANY,
        "filterValues": ANY,
        "legend": ANY,
        "selectionMode": {"x"},
        "showValue": {"auto"},
        "tooltip": ANY,
        "yAxis": ANY,
    },
}


def client_for(url):
    return create_app(Backends(url, url, url), load()).test_client()


@pytest.fixture(scope="module")
def client():
    """A console whose backends are all away."""
    (port,) = free_ports(1)
    return client_for(f"http://127.0.0.1:{port}")


@contextmanager
def answering(answers):
    """Serve JSON: the answer of the first path that the request begins with; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = next(answer for path, answer in answers.items() if self.path.startswith(path))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "linked"),
    [('<html><script src="app.js"></script></html>', True), ("<h1>not built</h1>", False), ("[]", False)],
)
def test_a_program_with_pages_is_linked(answer, linked):
    with answering({"/": answer}) as url:
        page = client_for(url).get("/labs/").text
    links = re.findall(r'<a href="(.*?)" target="_blank" rel="noopener">(\w+)</a>', page)
    assert links == ([(url, name) for name in ("Grafana", "Prometheus", "Jaeger")] if linked else [])


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Return a function that changes a copy of a dashboard, which the console then shows."""

    def edit(change, name="speed-latency.json"):
        dashboard = json.loads(json.dumps(DASHBOARDS[name]))
        change(dashboard)
        (tmp_path / name).write_text(json.dumps(dashboard))
        monkeypatch.setattr(files.read_dashboards, "__defaults__", (tmp_path,))

    return edit


# ---- the committed dashboards


@pytest.mark.parametrize("name", PANELS)
def test_everything_that_a_panel_uses_is_known(name):
    panel = PANELS[name]
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults.keys() <= {"unit", "decimals", "noValue", "custom"}
    assert panel["fieldConfig"]["overrides"] == []
    assert panel["interval"] == files.DEFAULT_STEP
    for used, known in (
        (defaults.get("custom", {}), CUSTOM),
        (panel["options"], OPTIONS[panel["type"]]),
    ):
        for option, value in used.items():
            assert option in known, option
            assert known[option] is ANY or value in known[option], (option, value)
    legend = panel["options"].get("legend", {})
    assert legend.get("calcs", ["lastNotNull"]) == ["lastNotNull"]
    assert panel["options"].get("reduceOptions", {}).get("calcs", ["lastNotNull"]) == ["lastNotNull"]
    if panel["type"] == "heatmap":
        (target,) = panel["targets"]
        assert target["format"] == "heatmap"
    assert all(target["range"] and not target["instant"] for target in panel["targets"])


def test_the_console_has_no_problem_with_any_panel():
    dashboards = read_dashboards()
    assert dashboards.keys() == {dashboard["uid"] for dashboard in DASHBOARDS.values()}
    panels = [panel for dashboard in dashboards.values() for panel in dashboard.panels]
    assert len([panel for panel in panels if panel.type != "row"]) == len(PANELS)
    assert {panel.problem for panel in panels} == {""}


def test_every_variable_in_a_query_is_expanded():
    for dashboard in read_dashboards().values():
        for target in (target for panel in dashboard.panels for target in panel.targets):
            every = data.expand(target.expression, dashboard, {})
            one = data.expand(target.expression, dashboard, {"service": ["rng"]})
            assert "$service" not in every + one
            assert every.count('=~".+"') == one.count('=~"rng"') == target.expression.count("$service")


@pytest.mark.parametrize(
    ("unit", "suffixes"),
    [
        ("s", [" s", " ms", " µs"]),
        ("percentunit", [" %"]),
        ("suffix: hashes/s", [" hashes/s"]),
        ("bytes", [" GiB", " MiB", " KiB", " B"]),
        ("furlong", None),
    ],
)
def test_units(unit, suffixes):
    scales = units.scales(unit)
    assert scales is suffixes is None or [suffix for _, suffix in scales] == suffixes
    assert scales == sorted(scales or [], reverse=True) or scales is None


# ---- a dashboard that somebody edited


def set_panel(**values):
    return lambda dashboard: dashboard["panels"][1].update(values)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (set_panel(type="gauge"), "cannot show panels of the type 'gauge'"),
        (set_panel(fieldConfig={"defaults": {"unit": "furlong"}}), "does not know the unit 'furlong'"),
        (set_panel(targets=[{"expr": "rate(a[$__rate_interval])"}]), "does not know $__rate_interval in"),
        (set_panel(targets=[{"expr": "up{job=~'${other:regex}'}"}]), "does not know ${other:regex} in"),
        (set_panel(interval="often"), "'often' is not a duration"),
    ],
)
def test_what_the_console_does_not_know_is_said_in_its_panel(client, edited, change, problem):
    edited(change)
    page = client.get("/dashboards/")
    assert page.status_code == 200
    shown = page.text.replace("&#39;", "'")
    assert problem in shown
    assert len(re.findall(r'<p class="problem" >', shown)) == 1
    assert "Predicted speed" in shown
    # Nor can its data be asked for.
    answer = client.get("/dashboards/dockercoins-speed/data?panel=2", headers={"Accept": "application/json"})
    assert answer.status_code == 404


def test_a_file_that_is_no_dashboard_is_named(client, tmp_path, monkeypatch):
    for text, reason in (
        ("{", "is not a dashboard: "),
        ('{"uid": "x"}', "'title' is missing"),
        ("[]", "is not"),
    ):
        (tmp_path / "broken.json").write_text(text)
        with pytest.raises(DashboardError, match=f"broken.json:? {reason}"):
            read_dashboards(tmp_path)
    monkeypatch.setattr(files.read_dashboards, "__defaults__", (tmp_path,))
    page = client.get("/dashboards/")
    assert page.status_code == 500
    assert "broken.json is not a dashboard" in page.text


def test_an_edit_shows_at_the_next_request(client, edited):
    edited(lambda dashboard: dashboard.update(title="Before"))
    assert "Before" in client.get("/dashboards/").text
    edited(lambda dashboard: dashboard.update(title="After"))
    assert "After" in client.get("/dashboards/").text


def test_texts_of_a_file_are_shown_as_text(client, edited):
    def change(dashboard):
        dashboard.update(title=EVIL, description=EVIL)
        dashboard["panels"][0].update(title=EVIL)
        dashboard["panels"][1].update(title=EVIL, description=EVIL)
        dashboard["panels"][1]["fieldConfig"]["defaults"].update(noValue=EVIL, unit=f"suffix: {EVIL}'\"")
        dashboard["panels"][2].update(type=EVIL)

    edited(change)
    page = client.get("/dashboards/").text
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 8


# ---- queries


@pytest.mark.parametrize(
    ("chosen", "expression"),
    [
        ({}, 'up{job=~".+"}'),
        ({"service": []}, 'up{job=~".+"}'),
        ({"service": ["rng"]}, 'up{job=~"rng"}'),
        ({"service": ["rng", "hasher"]}, 'up{job=~"rng|hasher"}'),
        ({"service": ["a.b"]}, r'up{job=~"a\\.b"}'),
        ({"service": ['"} or up{job=~"']}, r'up{job=~"\"\\} or up\\{job=~\""}'),
        ({"service": ["a\\"]}, r'up{job=~"a\\\\"}'),
    ],
)
def test_chosen_values_stand_for_themselves(chosen, expression):
    dashboard = read_dashboards()[SERVICES]
    for variable in ("$service", "${service}", "${service:regex}"):
        assert data.expand(f'up{{job=~"{variable}"}}', dashboard, chosen) == expression
    assert data.expand('label_replace(a, "b", "$1", "c", "(.*)$")', dashboard, chosen).count("$") == 2


def test_names_of_series():
    labels = {"job": EVIL, "le": "0.1"}
    assert data._legend("{{job}} p95, {{ le }}", labels) == f"{EVIL} p95, 0.1"
    assert data._legend("{{nothing}}x", labels) == "x"
    assert data._legend("", labels) == f"job={EVIL}, le=0.1"


def test_a_heat_map_shows_each_bucket_alone():
    times = [0.0, 2.0]
    answer = [
        Series({"le": "+Inf"}, {0: 10.0, 2: 7.0}),
        Series({"le": "0.1"}, {0: 4.0, 2: 7.1}),
        Series({"le": "0.05"}, {0: 1.0}),
    ]
    assert data._buckets(answer, times) == [
        {"le": 0.05, "values": [1.0, None]},
        {"le": 0.1, "values": [3.0, 7.1]},
        {"le": None, "values": [6.0, 0.0]},
    ]


def test_what_json_cannot_hold_is_no_data():
    values = {0.0: float("nan"), 1.0: float("inf"), 2.0: 1.5}
    target = data.Target("up", "x", exemplars=False)
    (line,) = data._lines([Series({}, values)], [0.0, 1.0, 2.0, 3.0], target)
    assert line["values"] == [None, None, 1.5, None]


def test_exemplars_are_thinned_to_the_newest_of_each_slot_and_bucket():
    end = NOW + 3  # in the midst of a slot
    span = Range(end - 300, end)
    seconds = [{"timestamp": end - n, "value": "0.1", "labels": {"trace_id": f"{n:x}"}} for n in range(300)]
    without_trace = [{"timestamp": end, "value": "9", "labels": {}}]
    answer = [
        {"seriesLabels": {"le": le, "job": "rng"}, "exemplars": exemplars + without_trace}
        for le in ("0.1", "1")
        for exemplars in (seconds, seconds[1:])
    ]
    kept = data._thinned(answer, span)
    assert 2 * data.EXEMPLAR_SLOTS <= len(kept) <= 2 * (data.EXEMPLAR_SLOTS + 1)
    assert all(exemplar["value"] == 0.1 and exemplar["labels"] == {"job": "rng"} for exemplar in kept)
    assert max(kept, key=lambda exemplar: exemplar["time"])["trace"] == "0"


# ---- ranges of time


def test_ranges():
    assert parse_range("now-5m", "now", NOW) == Range(NOW - 300, NOW)
    assert parse_range("now-1d", "now-1h", NOW) == Range(NOW - 86400, NOW - 3600)
    assert parse_range("1799999000000", "1799999000500", NOW) == Range(1799999000, 1799999000.5)
    assert [parse_duration(text) for text in ("500ms", "2s", "3h")] == [0.5, 2, 10800]


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        ("now", "now", "is not before"),
        ("now", "now-5m", "is not before"),
        ("now-2d", "now", "longer than a day"),
        ("0", "now", "longer than a day"),
        ("-1", "now", "is not a time"),
        ("now-5x", "now", "is not a time"),
        ("now-5m\n", "now", "is not a time"),
        ("now-٥m", "now", "is not a time"),  # noqa: RUF001
        ("nan", "now", "is not a time"),
        ("now-5m", "1e99", "is not a time"),
        ("9" * 400, "now", "is not a time"),
    ],
)
def test_ranges_that_cannot_be_shown(client, start, end, reason):
    with pytest.raises(RangeError, match=reason):
        parse_range(start, end, NOW)
    answer = client.get(
        f"/dashboards/{HOME}/data",
        query_string={"from": start, "to": end},
        headers={"Accept": "application/json"},
    )
    assert answer.status_code == 400
    assert reason in answer.json["error"]
    assert "\n" not in answer.json["error"]


@pytest.mark.parametrize("seconds", [10, 300, 900, 3600, 3 * 3600, 86400])
def test_steps_and_times_do_not_tremble(seconds):
    span, later = Range(NOW - seconds, NOW), Range(NOW - seconds + 1.3, NOW + 1.3)
    step = choose_step(span, 2)
    assert step % 2 == 0
    times = span.aligned(step)
    assert len(times) <= MAX_POINTS + 1
    assert choose_step(later, 2) == step
    assert len(set(times) ^ set(later.aligned(step))) <= 2
    assert span.start <= times[0]
    assert span.end - step < times[-1] <= span.end


# ---- requests that are wrong


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/dashboards/nothing", 404, "there is no dashboard 'nothing'"),
        ("/dashboards/nothing/data", 404, "there is no dashboard 'nothing'"),
        (f"/dashboards/{HOME}/data?panel=999", 404, "there is no panel '999'"),
        (f"/dashboards/{HOME}/data?panel=1", 404, "there is no panel '1'"),  # the title of a row
        (f"/dashboards/{SERVICES}/data?var-service=%22%7D", 400, "is not a name"),
        (f"/dashboards/{SERVICES}/data?var-service=", 400, "is not a name"),
        (f"/dashboards/{SERVICES}/data?var-service=rng%0A", 400, "is not a name"),
        (f"/dashboards/{SERVICES}/data?var-service=a" + "&var-service=a" * 20, 400, "is given 21 times"),
        ("/alerts/runbooks/nothing", 404, "there is no runbook 'nothing'"),
        ("/alerts/runbooks/..", 404, "there is no runbook '..'"),
        ("/alerts/runbooks/..%2Ftroubleshooting", 404, ""),
        ("/alerts/runbooks/%2Fetc%2Fpasswd", 404, ""),
        ("/alerts/runbooks/target-down.md", 404, "there is no runbook 'target-down.md'"),
    ],
)
def test_a_wrong_request_gets_one_line(client, path, status, reason):
    answer = client.get(path, headers={"Accept": "application/json"})
    assert answer.status_code == status
    assert reason in answer.json["error"]
    assert "\n" not in answer.json["error"]


def test_prometheus_away(client):
    answer = client.get(f"/dashboards/{SERVICES}/data", headers={"Accept": "application/json"})
    assert answer.status_code == 503
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/api/v1/\S+ cannot be reached", answer.json["error"])
    page = client.get("/alerts/")
    assert page.status_code == 503
    assert "What fires is not known now" in page.text
    assert "cannot be reached" in page.text
    assert client.get("/dashboards/").status_code == 200


@pytest.mark.parametrize("path", ["/dashboards/", "/alerts/", "/alerts/runbooks/target-down", "/nothing"])
def test_pages_are_for_this_machine_only_and_hold_no_code_or_style(client, path):
    page = client.get(path)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?! src=)", page.text)
    assert client.get(path, headers={"Host": "evil.example"}).status_code == 400
    assert client.post(path).status_code in (404, 405)


@pytest.mark.parametrize(
    ("site", "mode", "code"),
    [
        ("cross-site", "no-cors", 403),
        ("cross-site", "cors", 403),
        ("cross-site", "navigate", 200),
        ("same-site", "cors", 200),
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
    ],
)
def test_another_site_may_link_here_and_no_more(client, site, mode, code):
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
    assert client.get("/dashboards/", headers=headers).status_code == code


@pytest.mark.parametrize("teacher", ["", "1"])
def test_every_page_can_only_be_read(monkeypatch, teacher):
    monkeypatch.setenv("WORKSHOP_TEACHER", teacher)
    app = create_app(Backends("", "", ""), load())
    methods = {rule.rule: rule.methods for rule in app.url_map.iter_rules()}
    assert ("/faults/" in methods) is bool(teacher)
    writing = {
        path: accepted for path, accepted in methods.items() if not accepted <= {"GET", "HEAD", "OPTIONS"}
    }
    assert writing == {}


def test_the_console_listens_on_this_machine_only(tmp_path):
    (port,) = free_ports(1)
    command = (sys.executable, "-m", "workshop.console", "--port", str(port))
    with process(*command, log=tmp_path / "log") as console:
        poll_until("the console", lambda: listens(port))
        sockets = psutil.Process(console.pid).net_connections(kind="inet")
        listening = [one.laddr for one in sockets if one.status == psutil.CONN_LISTEN]
    assert [tuple(address) for address in listening] == [("127.0.0.1", port)]


# ---- alerts


def rule(name, state, **more):
    labels = {"severity": "page"}
    annotations = {
        "summary": f"{{{{ $labels.job }}}} {EVIL}",
        "description": EVIL,
        "runbook_url": "docs/runbooks/target-down.md",
    }
    alert = {
        "labels": labels | {"alertname": name, "job": EVIL},
        "annotations": annotations,
        "state": state,
        "activeAt": "2026-08-01T10:00:00.123456789Z",
        "value": "1.5e+00",
    }
    return {
        "type": "alerting",
        "name": name,
        "query": f"up < {EVIL}",
        "duration": 10,
        "labels": labels,
        "annotations": annotations,
        "alerts": [alert] if state else [],
        "health": "ok",
        **more,
    }


def groups(*rules):
    group = {"name": "g", "rules": rules, "interval": 2, "evaluationTime": 3.14}
    return {"/api/v1/rules": {"data": {"groups": [group]}}, "/": {}}


def test_alerts_are_shown_as_text_and_problems_of_rules_too():
    record = {"type": "recording", "name": "a:b", "health": "err", "lastError": EVIL}
    answers = groups(rule("Fires", "firing"), rule("Waits", "pending"), rule("Sleeps", ""), record)
    with answering(answers) as url:
        page = client_for(url).get("/alerts/")
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    sections = dict(re.findall(r'<section aria-labelledby="(\w+)">(.*?)</section>', page.text, re.DOTALL))
    assert {state: re.findall(r"<h3>(\w+)", text) for state, text in sections.items()} == {
        "firing": ["Fires"],
        "pending": ["Waits"],
        "inactive": ["Sleeps"],
    }
    assert 'datetime="2026-08-01T10:00:00.123456+00:00"' in sections["firing"]
    assert "<dd>1.5</dd>" in sections["firing"]
    assert "<dd>&lt;script&gt;alert(1)&lt;/script&gt;</dd>" in sections["firing"]
    assert "… &lt;script&gt;" in sections["inactive"]
    assert page.text.count('href="/alerts/runbooks/target-down"') == 3
    assert "Rule a:b: &lt;script&gt;" in page.text
    assert "Group g: its evaluation took 3.1 s, and is due every 2 s." in page.text


@pytest.mark.parametrize("url", ["javascript:alert(1)", "docs/runbooks/../x.md", "https://evil.example/", ""])
def test_a_runbook_elsewhere_is_no_link(url):
    evil = rule("Fires", "firing")
    evil["alerts"][0]["annotations"] = {"runbook_url": url}
    with answering(groups(evil)) as prometheus:
        page = client_for(prometheus).get("/alerts/").text
    assert "Runbook" not in page
    assert "evil.example" not in page


def test_markdown_is_rendered_without_its_html_and_with_its_links():
    links = "[one](here.md) [two](../x.md) [three](javascript:x) [four](https://a.b/)"
    text = f"# Title\n\n{EVIL} {links} `c`"
    title, html = render(text, {"here.md": "/there"}.get)
    assert title == "Title"
    assert "<script>" not in html
    assert re.findall(r'href="(.*?)"', html) == ["/there", "https://a.b/"]
    assert " two " in html
    assert "<code>c</code>" in html


@pytest.mark.parametrize("path", sorted(alerts.RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_every_runbook_has_a_page_and_its_links_work(client, path):
    page = client.get(f"/alerts/runbooks/{path.stem}")
    assert page.status_code == 200
    for heading in ("What it means", "See it", "Find the cause", "Cure"):
        assert f"<h2>{heading}</h2>" in page.text
    links = re.findall(r'href="(/alerts/runbooks/.*?)"', page.text)
    assert all(client.get(link).status_code == 200 for link in links)
    assert len(links) == path.read_text().count(".md)")


# ---- labs


def test_every_lab_has_a_page(client):
    page = client.get("/labs/")
    links = re.findall(r'href="(/labs/\d\d)"', page.text)
    assert len(links) == len(exercises.find()) >= 6
    for exercise, link in zip(exercises.find(), links, strict=True):
        answer = client.get(link)
        assert answer.status_code == 200
        assert " style=" not in answer.text  # the Content-Security-Policy forbids it
        assert exercise.title.replace("'", "&#39;") in page.text
    assert client.get("/labs/99").status_code == 404
    assert client.get("/labs/..%2f01").status_code == 404


def test_the_page_of_a_lab_has_its_commands_and_its_tables(client):
    page = client.get("/labs/02")
    assert "<h2>Steps</h2>" in page.text
    assert 'class="language-sh' in page.text
    assert "<table>" in page.text


def test_the_labs_page_shows_the_progress(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKSHOP_STATE", str(tmp_path))
    lab = load()
    client = create_app(Backends("", "", ""), lab).test_client()

    def states():
        found = re.findall(r"<td>(open|begun|passed)</td>", client.get("/labs/").text)
        return dict(zip((exercise.number for exercise in exercises.find()), found, strict=True))

    assert set(states().values()) == {"open"}
    progress.write(lab, "01", Record(passed=1.0))
    progress.write(lab, "03", Record(hints=1))
    begun = {number: state for number, state in states().items() if state != "open"}
    assert begun == {"01": "passed", "03": "begun"}
    progress.file_of(lab).write_text("{")
    assert "is damaged" in client.get("/labs/").text


def test_what_is_broken_is_for_the_teacher_only(client, monkeypatch):
    assert client.get("/faults/").status_code == 404
    assert "Faults" not in client.get("/labs/").text
    monkeypatch.setenv("WORKSHOP_TEACHER", "1")
    teachers = create_app(Backends("", "", ""), load("no-such-lab")).test_client()
    assert 'href="/faults/"' in teachers.get("/labs/").text
    page = teachers.get("/faults/")
    assert page.status_code == 503
    assert "is not running" in page.text
