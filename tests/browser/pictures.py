"""The pictures of the documents.

SCREENSHOTS=docs/images .venv/bin/python -m pytest tests/browser --timeout 900
"""

import os
from pathlib import Path

from playwright.sync_api import Page

from tests.support import poll_until
from workshop.clients import Prometheus

FOLDER = os.environ.get("SCREENSHOTS")
# Of the five minutes that a dashboard shows, most should have data.
SECONDS = 200
SLOWEST = 'service_peer_name:http_client_request_duration_seconds:p99_rate30s{service_peer_name="rng"}'


def wait_until_quiet(prometheus: Prometheus) -> None:
    """Wait until ten workers have been at full speed for as long as a picture shows.

    A machine that is busy with something else makes a picture that explains nothing.
    """

    def quiet() -> bool:
        slowest_speed = prometheus.scalar(f"min_over_time(job:dockercoins_hashes:rate30s[{SECONDS}s])") or 0
        slowest = prometheus.scalar(f"max_over_time({SLOWEST}[{SECONDS}s])") or 9
        age = prometheus.scalar("min(time() - process_start_time_seconds)") or 0
        # The first windows of 30 s are of the time before.
        return age > SECONDS + 40 and slowest_speed >= 9.7 and slowest < 1

    poll_until("a machine that is quiet", quiet, timeout=600, interval=2)


def save_picture(
    page: Page, name: str, *, height: int = 800, selector: str = "", full_page: bool = False
) -> None:
    """Save what the page shows, from the element of a selector if one is given, in the folder SCREENSHOTS."""
    if not FOLDER:
        return
    page.set_viewport_size({"width": 1280, "height": height})
    if selector:
        page.locator(selector).evaluate("element => element.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(1500)  # charts that came into view are drawn
    page.screenshot(path=Path(FOLDER) / f"{name}.png", full_page=full_page)
