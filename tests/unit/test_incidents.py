"""Incidents: what they are made of, and what they are worth."""

import json
from dataclasses import replace

import pytest

from workshop.faults import catalogue, incidents
from workshop.faults.incidents import Incident
from workshop.lab import LabError, load


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_STATE", str(tmp_path))
    return load()


def test_the_same_seed_gives_the_same_incident():
    for level in incidents.LEVELS:
        made = [[fault.name for fault in incidents.choose(seed, level)] for seed in range(50)]
        assert made == [[fault.name for fault in incidents.choose(seed, level)] for seed in range(50)]
        assert len({tuple(names) for names in made}) > 5


def test_an_incident_is_the_same_on_every_machine():
    # Were this to change, a class with two versions of the lab would not race for the same thing.
    assert [fault.name for fault in incidents.choose(1, 3)] == ["hasher-clock-skew", "rng-lock"]


def test_levels():
    for seed in range(100):
        assert [fault.level for fault in incidents.choose(seed, 1)] == [1]
        assert [fault.level for fault in incidents.choose(seed, 2)] == [2]
        hidden, other = incidents.choose(seed, 3)
        assert (hidden.level, other.level) == (3, 2)
        assert hidden.service != other.service
        assert other.process is None


def test_every_diagnosis_is_of_one_fault():
    diagnoses = [(fault.service, fault.cause) for fault in catalogue.faults().values()]
    assert len(diagnoses) == len(set(diagnoses))


def test_points():
    incident = Incident(seed=1, level=3, started=1000)
    first, second = incident.faults
    assert incident.points == 0
    incident = replace(incident, found={first.name: 1059})
    assert incident.points == 300
    incident = replace(incident, found={first.name: 1060, second.name: 1125})
    assert incident.points == 290 + 180
    assert replace(incident, wrong_answers=2).points == 250 + 140
    assert replace(incident, wrong_answers=100).points == 2 * incidents.LEAST_POINTS


def test_the_file_does_not_hold_the_answer(lab):
    incident = Incident(seed=1, level=3, started=1000)
    lab.incident_file.parent.mkdir(parents=True)
    lab.incident_file.write_text(json.dumps({"seed": 1, "level": 3, "started": 1000}))
    assert incidents.current(lab) == incident
    incidents.see(lab)
    text = lab.incident_file.read_text()
    assert not [fault.name for fault in incident.faults if fault.name in text]


def test_no_incident(lab):
    assert incidents.current(lab) is None
    assert incidents.scores(lab) == []
    with pytest.raises(LabError, match="no incident is under way: `workshop incident start` begins one"):
        incidents.see(lab)


@pytest.mark.parametrize("text", ["{", "[]", '{"seed": 1}', '{"seed": 1, "level": 1, "started": 1, "x": 1}'])
def test_damaged_files(lab, text):
    lab.incident_file.parent.mkdir(parents=True)
    lab.incident_file.write_text(text)
    with pytest.raises(LabError, match="is damaged: remove it"):
        incidents.current(lab)
    (lab.state / "scores.json").write_text('[{"seed": 1')
    with pytest.raises(LabError, match=r"scores\.json is damaged: mend or remove it"):
        incidents.scores(lab)
