"""The pages of the exercises: their form, their commands, and that they fit their `check.py`."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.labs import editor, pictures
from tests.labs.student import FENCED, GREEN_OFFSET, LABS, blocks
from tests.promql import names
from workshop.grading.exercises import Exercise, find
from workshop.lab import PORTS, ROOT
from workshop.workbench import lay_out

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
CONTRACT = (ROOT / "docs/telemetry.md").read_text()
SECTIONS = [
    "What you need",
    "Steps",
    "What you should see",
    "Questions",
    "What you learned",
    "Further reading",
]
KINDS = {"sh", "sh docker", "sh predict", "promql", "promql nodata", "text"}
# What `docker compose` is asked for; the same is done by `workshop` without Docker.
COMPOSE_COMMANDS = {"up", "logs", "exec", "kill", "start", "stop", "restart", "down"}
IN_TEACHING_ORDER = [
    *("00-instrument", "01-look-around", "02-black-box", "03-counters", "04-rates", "05-red"),
    *("06-saturation", "07-errors", "08-cardinality", "09-traces", "10-own-spans", "11-exemplars"),
    *("12-collector", "13-slo", "14-blue-green", "15-incident"),
]
PROSE = re.compile(r"^```.*?^```\n", re.MULTILINE | re.DOTALL)

each_exercise = pytest.mark.parametrize("folder", LABS, ids=lambda folder: folder.name)


def test_they_are_numbered_in_teaching_order():
    assert [exercise.folder.name for exercise in find()] == IN_TEACHING_ORDER


@each_exercise
def test_the_form_of_the_readme(folder):
    text = (folder / "README.md").read_text()
    assert re.findall(r"^## (.*)", PROSE.sub("", text), re.MULTILINE) == SECTIONS
    assert 15 <= Exercise(folder).minutes <= 30
    assert {kind for kind, _ in FENCED.findall(text) if not editor.KIND.fullmatch(kind)} <= KINDS
    assert all(len(line) <= 110 for line in PROSE.sub("", text).splitlines() if not line.startswith("|"))


@each_exercise
def test_hints_go_step_by_step_and_the_solution_explains(folder):
    exercise = Exercise(folder)
    assert len(exercise.hints) >= 3
    assert all(exercise.hints)
    explanation = PROSE.sub("", exercise.solution)
    assert len(explanation.split()) > 80
    assert blocks(folder / "solution.md", "sh")


@each_exercise
def test_the_readme_asks_the_questions_that_are_checked(folder):
    exercise = Exercise(folder)
    questions = exercise.text.partition("## Questions")[2].partition("\n## ")[0]
    assert re.findall(r"^- `([\w-]+)`", questions, re.MULTILINE) == list(exercise.questions)
    told = re.findall(rf"workshop answer {exercise.number} ([\w-]+)", exercise.solution)
    assert sorted(told) == sorted(exercise.questions)
    assert exercise.checks


@each_exercise
def test_docker_compose_has_the_commands(folder):
    """Those of `workshop` are carried out."""
    pattern = r"docker compose (?:--project-name \S+ )?(?:--env-file \S+ )?([^|;)\n]+)"
    commands = re.findall(pattern, "".join(blocks(folder / "README.md", "sh docker")))
    assert commands
    for command in commands:
        name, *arguments = command.split()
        assert name in COMPOSE_COMMANDS, command
        # `down` is for all services.
        assert name == "down" or {word.partition("=")[0] for word in arguments} & COMPOSE.keys(), command


@each_exercise
def test_what_is_done_without_docker_is_also_told_with_docker(folder):
    """A block with a command that Docker does not have is followed by one that does the same there."""
    native = re.compile(r"^\s*(?:\w+=\$\()?workshop (scale|stop|start|kill|logs)\b", re.MULTILINE)
    kinds = FENCED.findall((folder / "README.md").read_text())
    for (kind, text), (_, following) in zip(kinds, [*kinds[1:], ("", "")], strict=True):
        if kind == "sh" and native.search(text):
            assert "docker compose" in following, text


@each_exercise
def test_what_you_should_see_has_a_picture(folder):
    seen = Exercise(folder).text.partition("## What you should see")[2].partition("\n## ")[0]
    assert len(pictures.PICTURE.findall(seen)) == 1
    assert (folder / "seen.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "seen.png").stat().st_size < 200_000


@each_exercise
def test_queries_use_metrics_that_there_are(folder):
    for query in blocks(folder / "README.md", "promql") + blocks(folder / "README.md", "promql nodata"):
        for metric in names(query).metrics:
            family = re.sub(r"_(bucket|sum|count)$", "", metric)
            assert f"### `{metric}`" in CONTRACT or f"### `{family}`" in CONTRACT, metric


@each_exercise
def test_links_and_ports(folder):
    text = "".join(page.read_text() for page in folder.glob("*.md"))
    for port in re.findall(r"localhost:(\d+)", text):
        assert int(port) in {*PORTS.values(), *(port + GREEN_OFFSET for port in PORTS.values()), 9100}
    for link in re.findall(r"\]\(([^)\s]+)\)", PROSE.sub("", text)):
        assert "://" in link or (folder / link).exists(), link


# ---- exercises in which code is changed

with_code = pytest.mark.parametrize(
    "folder", [folder for folder in LABS if (folder / "start").exists()], ids=lambda folder: folder.name
)


@with_code
def test_the_solution_is_what_the_blocks_make_of_the_start(folder, tmp_path):
    """Also that nothing of `services/` was changed in the meantime, which the start and the solution copy."""
    lay_out(SimpleNamespace(workbench=tmp_path), Exercise(folder).start)
    before = {file: file.read_text() for file in tmp_path.rglob("*.py")}
    for kind, block in FENCED.findall((folder / "README.md").read_text()):
        if edit := editor.KIND.fullmatch(kind):
            path, name = edit.groups()
            editor.write(tmp_path / Path(path).relative_to("workbench"), name, block)
    changed = {
        str(file.relative_to(tmp_path)): file.read_text()
        for file in tmp_path.rglob("*.py")
        if file.read_text() != before.get(file)
    }
    solution = folder / "solution"
    assert changed == {
        str(file.relative_to(solution)): file.read_text() for file in solution.rglob("*.py")
    }, f"copy what changed to {solution}"


@with_code
def test_code_is_changed_only_in_what_the_start_has(folder):
    text = (folder / "README.md").read_text()
    edited = {
        edit[1].split("/")[1] for kind, _ in FENCED.findall(text) if (edit := editor.KIND.fullmatch(kind))
    }
    assert edited == {service.name for service in (folder / "start").iterdir()}


def test_the_start_of_lab_00_is_rng_without_its_telemetry():
    start = (ROOT / "labs/00-instrument/start/rng/rng.py").read_text()
    finished = (ROOT / "services/rng/rng.py").read_text()
    assert start.partition("def main")[0] == finished.partition("def main")[0]
    assert "telemetry" not in start.partition("telemetry_wanted():")[2]
