"""webui's page in a real browser, with real Redis, services and Prometheus behind it."""

import re
import sys
import threading
from contextlib import ExitStack, contextmanager
from itertools import product
from time import monotonic

import pytest
import redis
from playwright.sync_api import expect
from webui import latency as latency_query
from webui import sampler

from tests.support import (
    free_ports,
    listens,
    poll_until,
    process,
    prometheus_process,
    redis_process,
    service_environment,
    web_service,
)

# Milliseconds. The page asks for the counters each second, for the latencies each five.
SOON = 4_000
LATER = 30_000
UNKNOWN = "\N{EN DASH}"


@contextmanager
def miner(url):
    """Add ten hashes a second to Redis, and a coin to each sixteenth."""
    done = threading.Event()

    def mine():
        with redis.Redis.from_url(url) as store:
            started, hashes = monotonic(), 0
            while not done.wait(0.1):
                # By the clock, not by the turns of this loop: on a busy machine they take longer.
                due = int(10 * (monotonic() - started))
                for number in range(hashes + 1, due + 1):
                    if number % 16 == 0:
                        store.hset("wallet", f"0{number}", "coin")
                store.incrby("hashes", due - hashes)
                hashes = due

    thread = threading.Thread(target=mine)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture
def webui(tmp_path, redis_url):
    with web_service("webui", tmp_path / "webui.log", REDIS_URL=redis_url) as (url, _):
        yield url


def chart(page, name):
    """Return the chart's first line, as SVG draws it, and the end of its time axis."""
    return page.evaluate(
        """name => {
            const chart = document.getElementById(name);
            return [chart.querySelector("path.js-line")?.getAttribute("d"), chart.layout.xaxis.range[1]];
        }""",
        name,
    )


def test_the_numbers_and_the_speed(page, webui, redis_url):
    with miner(redis_url):
        page.goto(webui)
        expect(page).to_have_title("DockerCoins")
        expect(page.locator("#hashes")).to_have_text(re.compile(r"^\d+$"), timeout=SOON)
        expect(page.locator("#speed")).to_have_text(re.compile(r"^(9\.[5-9]|10\.[0-5])$"), timeout=LATER)
        expect(page.locator("#coins")).to_have_text(re.compile(r"^\d+$"))
        line, end = chart(page, "speed-chart")
        poll_until("a line that moves", lambda: chart(page, "speed-chart")[0] != line)
        assert chart(page, "speed-chart")[1] > end
        # A page that is loaded anew shows what there was before.
        page.reload()
        expect(page.locator("#speed-chart path.js-line")).to_be_visible(timeout=SOON)
        assert len(chart(page, "speed-chart")[0]) > 20


def test_redis_goes_and_comes_back(page, tmp_path):
    port, away = free_ports(2)
    notice = page.locator("#redis-notice")
    settings = {"REDIS_URL": f"redis://127.0.0.1:{port}", "PROMETHEUS_URL": f"http://127.0.0.1:{away}"}
    with ExitStack() as stack:
        url, _ = stack.enter_context(web_service("webui", tmp_path / "webui.log", **settings))
        page.goto(url)
        expect(notice).to_have_text(re.compile(r"^No counters yet\. Redis: "), timeout=SOON)
        with redis_process(tmp_path / "redis", port):
            with redis.Redis(port=port) as store:
                store.set("hashes", 1234)
            expect(notice).to_be_hidden(timeout=SOON)
            expect(page.locator("#hashes")).to_have_text("1,234")
        expect(notice).to_have_text(re.compile(r"^No new counters since [\d:]{8}\. Redis: "), timeout=SOON)
        expect(page.locator("#hashes")).to_have_text("1,234")
        expect(page.locator("#speed")).to_have_text(UNKNOWN)
        # All the while Prometheus is away too, and the page says it of both.
        expect(page.locator("#prometheus-notice")).to_have_text(
            f"No latencies yet. Prometheus at http://127.0.0.1:{away} cannot be reached"
        )
        with redis_process(tmp_path / "redis", port):
            expect(notice).to_be_hidden(timeout=SOON)
            expect(page.locator("#hashes")).to_have_text("1,234")


def test_webui_itself_goes_and_comes_back(page, tmp_path, redis_url):
    port, metrics_port = free_ports(2)
    environment = service_environment(PORT=port, METRICS_PORT=metrics_port, REDIS_URL=redis_url)

    @contextmanager
    def webui():
        with process(sys.executable, "-m", "webui.webui", log=tmp_path / "webui.log", env=environment):
            poll_until("webui", lambda: listens(port))
            yield

    with webui():
        page.goto(f"http://127.0.0.1:{port}")
        expect(page.locator("#hashes")).to_have_text("0", timeout=SOON)
        expect(page.locator("#webui-notice")).to_be_hidden()
    expect(page.locator("#webui-notice")).to_contain_text("webui does not answer", timeout=SOON)
    with webui():
        expect(page.locator("#webui-notice")).to_be_hidden(timeout=SOON)


def test_what_redis_holds_is_shown_as_text(page, webui, redis_url):
    evil = "<script>alert(1)</script><img src=x>"
    with redis.Redis.from_url(redis_url) as store:
        store.set("hashes", evil)
    page.goto(webui)
    expect(page.locator("#redis-notice")).to_contain_text(
        f"hashes is '{evil}', where a count is", timeout=SOON
    )
    assert page.locator("#redis-notice *").count() == 0


def worker_process(log, **settings):
    return process(sys.executable, "-m", "worker.worker", log=log, env=service_environment(**settings))


def latency(page, view, service, quantile):
    text = page.locator(f"#{view}-{service}-{quantile}").text_content()
    return None if text == UNKNOWN else float(text)


def all_latencies_known(page):
    return all(
        latency(page, view, service, quantile) is not None
        for view, service, quantile in product(("worker", "service"), ("rng", "hasher"), ("p50", "p95"))
    )


def test_latencies_as_the_worker_and_as_the_service_sees_them(page, tmp_path, redis_url):
    """Four workers without a delay: one is with hasher, one with rng, and two wait in line before rng."""
    prometheus_port, metrics_port = free_ports(2)
    prometheus_url = f"http://127.0.0.1:{prometheus_port}"
    with ExitStack() as stack:
        rng, rng_metrics = stack.enter_context(web_service("rng", tmp_path / "rng.log"))
        hasher, hasher_metrics = stack.enter_context(web_service("hasher", tmp_path / "hasher.log"))
        settings = {"REDIS_URL": redis_url, "RNG_URL": rng, "HASHER_URL": hasher, "WORKER_DELAY": 0}
        stack.enter_context(worker_process(tmp_path / "worker.log", METRICS_PORT=metrics_port, **settings))
        for _ in range(3):
            stack.enter_context(worker_process(tmp_path / "workers.log", TELEMETRY="off", **settings))
        settings = {"REDIS_URL": redis_url, "PROMETHEUS_URL": prometheus_url}
        url, _ = stack.enter_context(web_service("webui", tmp_path / "webui.log", **settings))
        jobs = {"rng": [rng_metrics], "hasher": [hasher_metrics]}
        jobs["worker"] = [f"http://127.0.0.1:{metrics_port}/metrics"]

        with prometheus_process(tmp_path, prometheus_port, jobs):
            page.goto(url)
            # The line before rng is shorter until all workers are there.
            poll_until(
                "the line before rng",
                lambda: 0.25 < (latency(page, "worker", "rng", "p50") or 0) < 0.36,
                timeout=60,
                interval=0.5,
            )
            poll_until("all eight latencies", lambda: all_latencies_known(page))
            assert 0.1 <= latency(page, "service", "rng", "p50") < 0.12
            for view in ("worker", "service"):
                assert 0.1 <= latency(page, view, "hasher", "p50") < 0.15
                for service in ("rng", "hasher"):
                    assert latency(page, view, service, "p50") <= latency(page, view, service, "p95") < 0.5
            expect(page.locator("#prometheus-notice")).to_be_hidden()
            expect(page.locator("#latency-chart path.js-line")).to_have_count(4)

            # The keyboard switches to the other view, which has the same scale.
            expect(page.locator("#meaning")).to_contain_text("waiting in line, and work")
            page.get_by_label("as the worker sees it").focus()
            page.keyboard.press("ArrowRight")
            expect(page.get_by_label("as the service sees it")).to_be_checked()
            expect(page.locator("#meaning")).to_contain_text("The work alone")
            top = page.evaluate("document.getElementById('latency-chart').layout.yaxis.range[1]")
            assert top > latency(page, "worker", "rng", "p50")

        expect(page.locator("#prometheus-notice")).to_have_text(
            re.compile(
                rf"^No new latencies since [\d:]{{8}}\. Prometheus at {prometheus_url} cannot be reached$"
            ),
            timeout=10_000,
        )
        before = page.locator("#hashes").text_content()
        expect(page.locator("#hashes")).not_to_have_text(before)
        with prometheus_process(tmp_path, prometheus_port, jobs):
            expect(page.locator("#prometheus-notice")).to_be_hidden(timeout=15_000)


def test_every_width_shows_both_charts_with_their_times_below_each_other(page, webui):
    def aligned():
        """Tell whether both charts fill their place, begin and end together, and show the same times."""
        speed, latencies = page.evaluate(
            """["speed-chart", "latency-chart"].map(id => {
                const chart = document.getElementById(id), box = chart.getBoundingClientRect();
                const drawn = chart.querySelector(".main-svg")?.getBoundingClientRect().width ?? 0;
                return [Math.abs(drawn - box.width) < 1, box.left, box.width, chart.layout?.xaxis.range];
            })"""
        )
        return speed[0] and speed == latencies

    page.goto(webui)
    poll_until(
        "a time axis", lambda: page.evaluate("document.getElementById('speed-chart').layout?.xaxis.range")
    )
    assert page.evaluate(
        """["speed-chart", "latency-chart"].map(id => {
            const [start, end] = document.getElementById(id).layout.xaxis.range;
            return (new Date(end) - new Date(start)) / 1000;
        })"""
    ) == [250, 250]
    assert sampler.HISTORY == latency_query.HISTORY == 250
    for width in (320, 390, 768, 1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        poll_until(f"charts in a page of {width} pixels", aligned)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def luminance(colour):
    """Return how bright a colour like #12161c is: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_contrast_is_good_in_both_colour_schemes(page, webui):
    def contrast(front, back):
        style = "name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()"
        dark, light = sorted(luminance(page.evaluate(style, name)) for name in (front, back))
        return (light + 0.05) / (dark + 0.05)

    page.goto(webui)
    cards = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        cards.add(page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor"))
        assert min(contrast("ink", back) for back in ("page", "card", "notice")) >= 7
        assert min(contrast("muted", back) for back in ("page", "card")) >= 4.5
        assert contrast("accent", "card") >= 4.5
        assert min(contrast(line, "card") for line in ("speed", "rng", "hasher")) >= 3
    assert len(cards) == 2
