"""A real browser for the tests of pages: the system's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.support import IN_CI

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MACOS = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
# What a browser does by itself, to look for updates and the like, is switched off.
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium, without a window. It is missing on some laptops; in CI it must not be."""
    path = next(filter(None, map(shutil.which, (*NAMES, MACOS))), None)
    if not path:
        (pytest.fail if IN_CI else pytest.skip)(f"no browser on PATH: {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        # Chromium refuses to run as root with its sandbox, which containers often lack as well.
        sandbox = os.geteuid() != 0 and not IN_CI
        started = playwright.chromium.launch(executable_path=path, args=QUIET, chromium_sandbox=sandbox)
        yield started
        started.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser for all tests."""
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new page, which must ask only this machine, and cause no error in the browser's console."""
    hosts: set[str | None] = set()
    errors: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        # A server that is away on purpose is the page's to show. Anything else is an error of the page:
        # code that fails, or something that the Content-Security-Policy refuses.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            errors.append(message.text)

    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        new_page = context.new_page()
        new_page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        new_page.on("console", on_console)
        new_page.on("pageerror", lambda error: errors.append(str(error)))
        yield new_page
    assert errors == []
    assert hosts <= {"127.0.0.1"}
