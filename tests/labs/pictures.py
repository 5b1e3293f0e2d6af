"""The pictures of the labs: the page that a picture links to, when its lab has been carried out.

SCREENSHOTS=docs/images .venv/bin/python -m pytest tests/labs
"""

import re

from tests.browser.conftest import chromium
from tests.browser.pictures import FOLDER
from tests.labs.student import Student
from workshop.grading.exercises import Exercise

PICTURE = re.compile(r"\[!\[([^\]]+)\]\(seen\.png\)\]\((http://localhost:\d+/[^)]*)\)")


def take(student: Student, exercise: Exercise) -> None:
    """Save the picture of a lab beside its README, if pictures are wanted.

    It shows what the address says: one element (`#panel-6`), the newest trace of a search, or a whole page.
    Not the page of the lab itself: that shows the answers.
    """
    if not FOLDER:
        return
    found = PICTURE.search(exercise.text)
    assert found
    url = student.in_my_lab(found[2])
    with chromium() as browser, browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.goto(url)
        shown = page.locator("main")
        if "#" in url:
            shown = page.locator(f"#{url.partition('#')[2]}")
        elif "/traces/" in url:
            page.locator("#results tbody a").first.click()
            shown = page.locator("section").filter(has=page.locator("#waterfall-title"))
        shown.scroll_into_view_if_needed()
        page.wait_for_timeout(3000)  # charts are drawn once they are in view
        shown.screenshot(path=exercise.folder / "seen.png")
