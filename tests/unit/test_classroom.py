"""What students hand in, and the overview of a class."""

import json
import re

import pytest
from click.testing import CliRunner

from workshop.cli import main
from workshop.grading import exercises, progress
from workshop.grading.progress import Record
from workshop.lab import load


@pytest.fixture
def workshop(monkeypatch, tmp_path):
    """Return a function that runs `workshop` in a folder of its own, and gives its exit code and output."""
    monkeypatch.setenv("WORKSHOP_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments, **settings):
        done = CliRunner().invoke(main, [str(argument) for argument in arguments], env=settings)
        return done.exit_code, done.output

    return run


def passed(number, *, hints=0, tries=1):
    record = Record(passed=1.0, hints=hints)
    for _ in range(tries):
        record.answer("speed", "3.2", right=True)
    progress.write(load(), number, record)


def test_a_student_hands_in_and_the_teacher_sees_it(workshop, tmp_path):
    passed("01", hints=2, tries=3)
    count = len(exercises.find())
    assert workshop("hand-in", "--name", "Ada L", tmp_path / "class" / "a.json") == (
        0,
        f"1 of {count} labs passed: {tmp_path}/class/a.json\n",
    )
    code, output = workshop("class", tmp_path / "class", "--json")
    assert code == 0
    (student,) = json.loads(output)["students"]
    assert student["name"] == "Ada L"
    assert student["labs"]["01"] == {"state": "passed", "passed": 1.0, "hints": 2, "tries": 3}
    assert student["labs"]["02"]["state"] == "open"
    code, output = workshop("class", tmp_path / "class", COLUMNS="200")
    assert code == 0
    assert re.split(r"  +", output.splitlines()[-1].strip()) == ["Ada L", "✓", f"1/{count}", "2", "3"]


def test_the_file_has_a_name_of_its_own_by_default(workshop, tmp_path):
    workshop("hand-in", "--name", "Grace Hopper")
    assert (tmp_path / "hand-in-Grace-Hopper.json").exists()


def test_the_newest_file_of_a_student_counts(workshop, tmp_path):
    workshop("hand-in", "--name", "Ada", "class/b.json")
    passed("01")
    workshop("hand-in", "--name", "Ada", "class/a.json")
    (student,) = json.loads(workshop("class", "class", "--json")[1])["students"]
    assert student["labs"]["01"]["state"] == "passed"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace('"open"', '"passed"', 1), "the signature does not fit"),
        (lambda text: text.replace('"summary"', '"other"'), "no summary as `workshop hand-in` writes it"),
        (lambda text: text[:-20], "no summary as `workshop hand-in` writes it"),
        (lambda _: "[]", "no summary as `workshop hand-in` writes it"),
    ],
)
def test_a_file_that_was_changed_is_refused(workshop, tmp_path, damage, said):
    workshop("hand-in", "--name", "Ada", "class/ada.json")
    workshop("hand-in", "--name", "Eve", "class/eve.json")
    file = tmp_path / "class" / "eve.json"
    file.write_text(damage(file.read_text()))
    code, output = workshop("class", "class", "--json")
    assert code == 1
    report = json.loads(output)
    assert [student["name"] for student in report["students"]] == ["Ada"]
    assert report["refused"] == [
        f"class/eve.json: {said}"
        + (": it was changed, or signed with another CLASS_KEY" if "signature" in said else "")
    ]


def test_another_key_is_refused(workshop):
    workshop("hand-in", "--name", "Ada", "class/ada.json", CLASS_KEY="monday")
    assert workshop("class", "class", CLASS_KEY="monday")[0] == 0
    assert workshop("class", "class", CLASS_KEY="tuesday")[0] == 1
    assert workshop("class", "class")[0] == 1


def test_the_page_shows_names_as_text(workshop, tmp_path):
    workshop("hand-in", "--name", "<script>alert(1)<", "class/x.json")
    assert workshop("class", "class", "--html", "class.html")[0] == 0
    page = (tmp_path / "class.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "://" not in page, "it needs nothing from elsewhere"


@pytest.mark.parametrize("name", ["", " ", "../up", "a/b", "x" * 81, ".hidden", "two\nlines"])
def test_a_name_that_is_no_name(workshop, name, tmp_path):
    code, output = workshop("hand-in", "--name", name or " ", "x.json")
    assert code == 2
    assert "is not usable: up to 80 characters" in output
    assert not (tmp_path / "x.json").exists()


def test_a_folder_without_summaries(workshop, tmp_path):
    (tmp_path / "empty").mkdir()
    code, output = workshop("class", "empty")
    assert code == 2
    assert "has no summaries" in output
