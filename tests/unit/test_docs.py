"""The documents against what they tell of: links, commands, ports, and what `make docs` makes."""

import re
import shlex
from contextlib import suppress
from itertools import pairwise
from xml.etree import ElementTree

import click
import pytest
import yaml
from dotenv import dotenv_values
from telemetry.metrics import DURATION_BUCKETS

from docs import generate
from workshop.cli import main
from workshop.faults import catalogue
from workshop.lab import DOCKER_PORTS, PORTS, ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
MAKEFILE = (ROOT / "Makefile").read_text()
EXAMPLE = dotenv_values(ROOT / ".env.example")
COMPOSE = (ROOT / "compose.yaml").read_text()
# What can be set besides the settings in .env.example.
OTHER_VARIABLES = {"PYTHON", "SCREENSHOTS", "TMPDIR", "WORKSHOP_STATE"}

FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
ASSIGNMENT = re.compile(r"([A-Z][A-Z_0-9]*)=.*")


def prose(page):
    """Return a page without its blocks of code."""
    return FENCED.sub("", page.read_text())


def commands():
    """Yield (page, words, variables) for each command that a page tells the reader to type.

    They are the lines of its shell blocks, and what stands in `code` in its text.
    """
    for page in PAGES:
        blocks = [text for language, text in FENCED.findall(page.read_text()) if language == "sh"]
        lines = "".join(blocks).replace("\\\n", " ").splitlines()
        for line in [*lines, *INLINE.findall(prose(page))]:
            for command in re.split(r"&&|;", line):
                try:
                    words = shlex.split(command, comments=True)
                except ValueError:  # not a command: it has an apostrophe
                    continue
                variables = []
                while words and (assignment := ASSIGNMENT.fullmatch(words[0])):
                    variables.append(assignment[1])
                    words.pop(0)
                if words:
                    yield page.relative_to(ROOT), words, variables


COMMANDS = list(commands())


def arguments_of(*programs):
    """Return a parameter for each command of `programs` with arguments: the words that follow."""
    found = {
        f"{page}: {shlex.join(words)}": words[1:]
        for page, words, _ in COMMANDS
        if words[0] in programs and len(words) > 1
    }
    return [pytest.param(arguments, id=name) for name, arguments in found.items()]


WORKSHOP = arguments_of("workshop", ".venv/bin/workshop")
MAKE = arguments_of("make")


def anchors(page):
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# ---- links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_each_picture_is_shown_and_small():
    text = "".join(page.read_text() for page in PAGES)
    for picture in (ROOT / "docs/images").iterdir():
        assert f"images/{picture.name})" in text
        assert picture.stat().st_size < 200_000
        assert picture.read_bytes().startswith(b"\x89PNG")


# ---- commands


def test_there_are_commands_to_check():
    """A change of the documents' form must not leave the tests below with nothing to do."""
    assert len(WORKSHOP) > 30
    assert len(MAKE) > 10


@pytest.mark.parametrize("arguments", WORKSHOP)
def test_workshop_accepts(arguments):
    """The command line is read as `workshop` reads it; nothing is done."""
    name, *rest = arguments
    command = main.get_command(click.Context(main), name) or main
    with suppress(click.exceptions.Exit):  # --help
        command.make_context(name, rest if command is not main else arguments)
    assert command is not main or name.startswith("-"), f"workshop has no {name}"


def test_every_command_of_workshop_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    for name in main.list_commands(click.Context(main)):
        assert f"`workshop {name}" in text


@pytest.mark.parametrize("arguments", MAKE)
def test_make_has(arguments):
    for argument in arguments:
        if assignment := ASSIGNMENT.fullmatch(argument):
            assert re.search(rf"^{assignment[1]} \?=", MAKEFILE, re.MULTILINE), argument
        else:
            assert re.search(rf"^{argument}:", MAKEFILE, re.MULTILINE), argument


def test_variables_before_a_command_are_settings():
    used = {name for _, _, variables in COMMANDS for name in variables}
    assert used
    assert used <= EXAMPLE.keys() | OTHER_VARIABLES


# ---- ports


def test_the_table_of_ports():
    rows = re.findall(
        r"^\|[^|]+\| +(\d+) \| `(\w+)` +\| (.*?) +\|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    table = {variable: int(port) for port, variable, _ in rows}
    assert table == {variable: int(EXAMPLE[variable]) for variable in table}
    assert {name: port for name, port in table.items() if name in PORTS} == {
        name: port for name, port in PORTS.items() if name in table
    }
    published = set(re.findall(r"127\.0\.0\.1:\$\{(\w+):-", COMPOSE))
    for _, variable, ways in rows:
        # The console is no container, and shows those in Docker too: this is what the note ² tells.
        with_docker = variable in published or (variable == "CONSOLE_PORT" and ways.endswith("²"))
        without = variable in PORTS.keys() - DOCKER_PORTS.keys()
        assert (
            ways.removesuffix("²")
            == {(1, 1): "both", (1, 0): "Docker", (0, 1): "without Docker"}[with_docker, without]
        )
    assert published <= table.keys()


# ---- numbers


def test_the_limits_of_an_estimate_are_those_of_a_bucket():
    text = (ROOT / "README.md").read_text()
    estimate, low, high = map(
        float, re.search(r"The ([\d.]+) s is an estimate: .* between ([\d.]+) and ([\d.]+) s", text).groups()
    )
    assert (low, high) in pairwise(DURATION_BUCKETS)
    assert low <= estimate <= high
    assert f"|  {estimate:.3f} s |" in text


# ---- what `make docs` makes


def test_the_page_of_the_telemetry_is_made_from_the_contract():
    contract = yaml.safe_load(generate.CONTRACT.read_text())
    assert generate.TELEMETRY.read_text() == generate.telemetry_page(contract), "run `make docs`"


def test_the_page_of_the_faults_is_made_from_the_catalogue():
    assert generate.FAULTS.read_text() == generate.faults_page(catalogue.faults().values()), "run `make docs`"


def test_the_picture_is_made_from_the_diagram():
    assert generate.digest_comment(generate.DIAGRAM.read_bytes()) in generate.PICTURE.read_text(), (
        "run `make docs`"
    )


def test_the_picture_shows_what_compose_starts_and_what_prometheus_scrapes():
    svg = "{http://www.w3.org/2000/svg}"
    drawn = {
        group.findtext(f"{svg}title")
        for group in ElementTree.parse(generate.PICTURE).iter(f"{svg}g")
        if group.get("class") == "node"
    }
    assert drawn == yaml.safe_load(COMPOSE)["services"].keys()
    scraped = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in scraped} - {"span-metrics"} <= drawn
