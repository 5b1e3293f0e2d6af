"""The console's pages of labs and faults in a real browser; they need no lab that runs."""

import sys

import pytest
from playwright.sync_api import expect

from tests.support import free_ports, poll_until, process
from workshop.grading import exercises
from workshop.native.ports import listens


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    (port,) = free_ports(1)
    folder = tmp_path_factory.mktemp("console")
    command = (sys.executable, "-m", "workshop.console", "--port", str(port))
    settings = {"WORKSHOP_STATE": str(folder), "WORKSHOP_TEACHER": "1"}
    with process(*command, env=settings, log=folder / "log"):
        poll_until("the console", lambda: listens(port))
        yield f"http://127.0.0.1:{port}"


def test_each_lab_can_be_read(page, console):
    for exercise in exercises.find():
        page.goto(f"{console}/labs/")
        page.get_by_role("link", name=exercise.title).click()
        expect(page.get_by_role("heading", level=2).first).to_contain_text(exercise.title)
        expect(page.get_by_role("heading", name="Steps")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_a_lab_fits_into_the_window(page, console, width):
    page.set_viewport_size({"width": width, "height": 800})
    for exercise in exercises.find():
        page.goto(f"{console}/labs/{exercise.number}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_faults_of_a_lab_that_does_not_run(page, console):
    page.goto(f"{console}/labs/")
    page.get_by_role("link", name="Faults").click()
    expect(page.locator("main")).to_contain_text("is not running: `workshop up` starts it")
