"""The pictures of the documents: SCREENSHOTS=docs/images .venv/bin/python -m pytest tests/browser."""

import os
from pathlib import Path

from playwright.sync_api import Page

FOLDER = os.environ.get("SCREENSHOTS")


def save_picture(page: Page, name: str, *, height: int = 800, selector: str = "") -> None:
    """Save what the page shows, from the element of a selector if one is given, in the folder SCREENSHOTS."""
    if not FOLDER:
        return
    page.set_viewport_size({"width": 1280, "height": height})
    if selector:
        page.locator(selector).evaluate("element => element.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(1500)  # charts that came into view are drawn
    page.screenshot(path=Path(FOLDER) / f"{name}.png")
