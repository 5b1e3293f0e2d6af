"""The workbench: what an exercise puts there, and that no work of a student is lost."""

from types import SimpleNamespace

import pytest

from workshop import workbench
from workshop.grading import exercises
from workshop.lab import ROOT, LabError, SettingError, load

START = ROOT / "labs/00-instrument/start"


@pytest.fixture
def lab(tmp_path):
    """What the workbench needs of a lab: its folder."""
    return SimpleNamespace(workbench=tmp_path / "workbench")


def files(lab):
    return {str(file.relative_to(lab.workbench)) for file in lab.workbench.rglob("*") if file.is_file()}


def test_an_exercise_puts_its_start_there_and_the_rest_of_the_service(lab):
    assert workbench.services(lab) == []
    assert workbench.lay_out(lab, START) == ({"rng"}, None)
    assert workbench.services(lab) == ["rng"]
    assert files(lab) == {"rng/__init__.py", "rng/faults.py", "rng/rng.py"}
    assert (lab.workbench / "rng/rng.py").read_bytes() == (START / "rng/rng.py").read_bytes()
    assert (lab.workbench / "rng/faults.py").read_bytes() == (ROOT / "services/rng/faults.py").read_bytes()


def test_another_exercise_takes_it_away(lab):
    workbench.lay_out(lab, START)
    (lab.workbench / "rng/__pycache__").mkdir()
    (lab.workbench / "rng/__pycache__/rng.pyc").write_bytes(b"made by Python")
    assert workbench.lay_out(lab, None) == ({"rng"}, None)
    assert list(lab.workbench.iterdir()) == []
    assert workbench.lay_out(lab, None) == (set(), None)


@pytest.mark.parametrize("start", [START, None])
@pytest.mark.parametrize("name", ["rng.py", "metrics.py"])
def test_what_was_changed_is_kept(lab, start, name):
    workbench.lay_out(lab, START)
    (lab.workbench / "rng" / name).write_text("mine")
    affected, kept = workbench.lay_out(lab, start)
    assert affected == {"rng"}
    assert kept.parent == lab.workbench / "kept"
    assert (kept / "rng" / name).read_text() == "mine"
    assert workbench.services(lab) == (["rng"] if start else [])
    # What is kept is nothing to run, and stays.
    workbench.lay_out(lab, None)
    assert (kept / "rng" / name).read_text() == "mine"


def test_what_is_no_service_is_left_alone(lab):
    (lab.workbench / "notes").mkdir(parents=True)
    (lab.workbench / "README.md").write_text("mine")
    assert workbench.lay_out(lab, None) == (set(), None)
    assert {file.name for file in lab.workbench.iterdir()} == {"notes", "README.md"}


def test_a_change_has_a_time(lab):
    workbench.lay_out(lab, START)
    before = workbench.changed_at(lab, "rng")
    new = lab.workbench / "rng/new.py"
    new.write_text("")
    assert workbench.changed_at(lab, "rng") == new.stat().st_mtime >= before


def test_a_workbench_that_is_no_folder_is_one_line(lab):
    lab.workbench.write_text("")
    with pytest.raises(LabError, match="the workbench cannot be laid out: ") as error:
        workbench.lay_out(lab, START)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["services", ".", "a:b"])
def test_a_folder_that_is_not_usable(monkeypatch, value):
    monkeypatch.setenv("WORKBENCH", value)
    with pytest.raises(SettingError, match="a folder of its own is accepted"):
        load()


def test_its_folder_is_that_of_the_setting(monkeypatch, tmp_path):
    monkeypatch.delenv("WORKBENCH", raising=False)
    assert load().workbench == ROOT / "workbench"
    monkeypatch.setenv("WORKBENCH", "./elsewhere")
    assert load().workbench == ROOT / "elsewhere", "as Docker Compose takes it"
    monkeypatch.setenv("WORKBENCH", str(tmp_path))
    assert load().workbench == tmp_path


def test_every_start_is_of_services_that_there_are():
    starts = [exercise.start for exercise in exercises.find() if exercise.start]
    assert {folder.name for start in starts for folder in start.iterdir()} <= set(workbench.SERVICES)
    assert starts
