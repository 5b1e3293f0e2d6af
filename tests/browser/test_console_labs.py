"""The console's pages of labs and faults in a real browser."""

import sys
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

from tests.browser.pictures import save_picture
from tests.live.conftest import Lab, running
from tests.support import free_ports, poll_until, process
from workshop.grading import exercises
from workshop.native.ports import listens


@contextmanager
def console_in(folder, **settings):
    """Run a console whose lab is in `folder`; yield its URL."""
    (port,) = free_ports(1)
    command = (sys.executable, "-m", "workshop.console", "--port", str(port))
    with process(*command, env={"WORKSHOP_STATE": str(folder), **settings}, log=folder / "log"):
        poll_until("the console", lambda: listens(port))
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    with console_in(tmp_path_factory.mktemp("console")) as url:
        yield url


def test_each_lab_can_be_read(page, console):
    page.goto(f"{console}/labs/")
    save_picture(page, "console-labs")
    for exercise in exercises.find():
        page.goto(f"{console}/labs/")
        page.get_by_role("link", name=exercise.title).click()
        expect(page.get_by_role("heading", level=2).first).to_contain_text(exercise.title)
        expect(page.get_by_role("heading", name="Steps")).to_be_visible()
        picture = page.locator(".document img")
        width = "image => image.naturalWidth"
        poll_until("the picture", lambda: picture.evaluate(width) > 300)  # noqa: B023


@pytest.mark.parametrize("width", [390, 1280])
def test_a_lab_fits_into_the_window(page, console, width):
    page.set_viewport_size({"width": width, "height": 800})
    for exercise in exercises.find():
        page.goto(f"{console}/labs/{exercise.number}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_faults_of_a_lab_that_does_not_run(page, tmp_path):
    with console_in(tmp_path, WORKSHOP_TEACHER="1") as console:
        page.goto(f"{console}/labs/")
        page.get_by_role("link", name="Faults").click()
        expect(page.locator("main")).to_contain_text("is not running: `workshop up` starts it")


@pytest.fixture(scope="module")
def running_lab(tmp_path_factory):
    with running(Lab(tmp_path_factory.mktemp("labs"))) as lab:
        yield lab


def test_the_state_of_a_lab_follows_the_system(page, running_lab):
    page.goto(f"{running_lab.url('CONSOLE_PORT')}/labs/01")
    one_worker = page.locator("#results li", has_text="one worker runs")
    expect(one_worker).to_have_class("passed", timeout=20_000)
    expect(page.locator("#progress")).to_contain_text("good")
    running_lab.run("scale", "worker=2")
    expect(one_worker).to_have_class("failed", timeout=10_000)
    expect(one_worker).to_contain_text("expected")
    running_lab.run("scale", "worker=1")
    expect(one_worker).to_have_class("passed", timeout=10_000)
    running_lab.run("answer", "01", "why", "b")
    expect(page.locator("#results li", has_text="question why")).to_have_class("passed", timeout=10_000)
    save_picture(page, "console-lab")


def test_a_command_is_copied_and_keys_lead_on(page, console):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{console}/labs/01")
    block = page.locator(".document pre").first
    block.get_by_role("button", name="Copy").click()
    expect(block.get_by_role("button")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == block.locator("code").text_content().strip()
    page.keyboard.press("n")
    page.wait_for_url("**/labs/02")
    page.keyboard.press("p")
    page.wait_for_url("**/labs/01")


def test_hints_are_opened_one_by_one(page, console):
    page.goto(f"{console}/labs/02")
    hints = page.locator("aside details")
    assert hints.count() == len(exercises.choose("02").hints)
    first = hints.first
    expect(first.locator("p").first).to_be_hidden()
    first.locator("summary").press("Enter")
    expect(first.locator("p").first).to_be_visible()


def test_a_lab_that_does_not_run_is_said(page, console):
    page.goto(f"{console}/labs/01")
    expect(page.locator("#progress")).to_contain_text("is not running")
