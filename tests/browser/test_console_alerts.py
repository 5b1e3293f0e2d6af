"""The console's pages of alerts and faults in a real browser, on a real lab in which something is broken."""

import re
import sys
from datetime import datetime

import pytest
from playwright.sync_api import expect

from tests.browser.pictures import save_picture
from tests.live.conftest import Lab, running
from tests.support import free_ports, poll_until, process
from workshop.console.alerts import RUNBOOKS
from workshop.native.ports import listens

# Milliseconds. The page asks each five seconds; TargetDown waits for 10 s after up to 2 s of a scrape.
SOON = 10_000
FIRES = 40_000


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with running(Lab(tmp_path_factory.mktemp("labs"))) as running_lab:
        yield running_lab


@pytest.fixture
def alerts(lab):
    return f"{lab.url('CONSOLE_PORT')}/alerts/"


def section(page, title):
    return page.locator("#alerts section").filter(
        has=page.get_by_role("heading", name=re.compile(f"^{title} "))
    )


def test_all_is_quiet_and_then_a_target_is_down(page, lab, alerts):
    page.goto(alerts)
    poll_until("all targets up", lambda: all(t["health"] == "up" for t in lab.prometheus.targets()))
    expect(section(page, "Firing")).to_contain_text("No alert fires.", timeout=FIRES)
    rules = [rule for group in lab.prometheus.rule_groups() for rule in group["rules"]]
    names = {rule["name"] for rule in rules if rule["type"] == "alerting"}
    quiet = section(page, "Quiet").locator("h3")
    # At first the speed looks low: its window of 30 s begins before the lab did.
    poll_until("every alert", lambda: set(quiet.all_text_contents()) == names, 45)

    quiet_alert = section(page, "Quiet").locator("article").filter(has_text="TargetDown")
    quiet_alert.get_by_text("Expression").click()
    expect(quiet_alert.locator("code")).to_have_text('up == 0 or absent(up{job="worker"})')
    lab.run("stop", "hasher")
    try:
        pending = section(page, "Pending").locator("article")
        expect(pending.filter(has_text="TargetDown")).to_be_visible(timeout=SOON)
        firing = section(page, "Firing").locator("article").filter(has_text="TargetDown")
        expect(firing).to_be_visible(timeout=FIRES)
        expect(firing.locator(".badge")).to_have_text("page")
        expect(firing.locator(".summary")).to_have_text("hasher gives no metrics.")
        expect(firing).to_contain_text("has not been able to scrape hasher at 127.0.0.1:")

        # Since when: as Prometheus says, and in the time zone of the browser.
        (alert,) = (
            alert
            for group in lab.prometheus.rule_groups()
            for rule in group["rules"]
            for alert in rule.get("alerts", [])
            if alert["labels"]["alertname"] == "TargetDown"
        )
        since = datetime.fromisoformat(alert["activeAt"])
        assert datetime.fromisoformat(firing.locator("time").get_attribute("datetime")) == since
        local = page.evaluate("time => new Date(time).toLocaleTimeString('en-GB')", since.isoformat())
        expect(firing.locator("time")).to_have_text(local)
        expect(firing.locator(".age")).to_have_text(re.compile(r"^(\d+ min )?\d+ s$"))
        save_picture(page, "console-alerts", height=900)

        # The runbook is a click away.
        firing.get_by_role("link", name="target-down").click()
        expect(page.locator("article h2").first).to_have_text("A target is down")
        headings = re.findall(r"^## (.*)$", (RUNBOOKS / "target-down.md").read_text(), re.MULTILINE)
        expect(page.locator("article h2")).to_have_text(["A target is down", *headings])
        save_picture(page, "console-runbook")
        page.get_by_role("link", name="Alerts").last.click()
        expect(firing).to_be_visible()
    finally:
        lab.run("start", "hasher")
    expect(firing).to_be_hidden(timeout=FIRES)


def test_the_teacher_sees_what_is_broken(page, lab, tmp_path):
    (port,) = free_ports(1)
    command = (
        sys.executable,
        "-m",
        "workshop.console",
        "--port",
        str(port),
        "--prometheus",
        lab.prometheus.url,
    )
    lab.run("break", "rng-slow")
    try:
        with process(*command, env=lab.settings | {"WORKSHOP_TEACHER": "1"}, log=tmp_path / "log"):
            poll_until("the console", lambda: listens(port))
            page.goto(f"http://127.0.0.1:{port}/faults/")
            expect(page.get_by_role("heading", name=re.compile("^rng-slow"))).to_be_visible()
            save_picture(page, "console-faults")
    finally:
        lab.run("heal")


def test_the_page_works_without_javascript(browser, lab, alerts):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(alerts)
        expect(page.locator("#alerts article").first).to_be_visible()
        assert page.locator("noscript meta[http-equiv=refresh], meta[http-equiv=refresh]").count() == 1


def test_prometheus_goes_and_comes_back(page, lab, alerts):
    page.goto(alerts)
    lab.run("stop", "prometheus")
    try:
        notice = page.locator("#alerts .notice")
        expect(notice).to_have_text(
            f"What fires is not known now: {lab.prometheus.url}/api/v1/rules cannot be reached. "
            "The page tries again every 5 s.",
            timeout=SOON,
        )
    finally:
        lab.run("start", "prometheus")
    expect(section(page, "Quiet")).to_be_visible(timeout=FIRES)


def test_every_width_and_both_colour_schemes(page, alerts):
    backgrounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for path in ("", "runbooks/availability-budget"):
            page.goto(alerts + path)
            backgrounds.add(
                page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
            )
            for width in (320, 390, 800, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert len(backgrounds) == 2
