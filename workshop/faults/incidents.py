"""Incidents: faults that nobody is told, to be found by their signs.

An incident is made from its seed and its level, so everybody who starts it with the same two gets the same
one, and its file does not hold the answer.
"""

import json
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from workshop.clients import BackendAwayError, Prometheus
from workshop.faults import catalogue, control
from workshop.faults.catalogue import Fault
from workshop.faults.flags import FOREVER
from workshop.files import write_json
from workshop.lab import Lab, LabError

LEVELS = (1, 2, 3)
# The points of a fault that is found: so many for its level, less those for time and for guesses.
POINTS_PER_LEVEL = 100
POINTS_PER_MINUTE = 10
POINTS_PER_WRONG_ANSWER = 20
LEAST_POINTS = 10


@dataclass(frozen=True)
class Incident:
    """An incident that is under way, or over; times are Unix times in seconds.

    `seen` is when its first symptom was reported, `found` when the cause of each fault was, by its name.
    """

    seed: int
    level: int
    started: float
    seen: float | None = None
    wrong_answers: int = 0
    found: Mapping[str, float] = field(default_factory=dict)
    gave_up: bool = False

    @property
    def faults(self) -> list[Fault]:
        """The faults that it consists of."""
        return choose(self.seed, self.level)

    @property
    def left(self) -> list[Fault]:
        """The faults that are not found yet."""
        return [fault for fault in self.faults if fault.name not in self.found]

    @property
    def points(self) -> int:
        """What it is worth now; nothing for a fault that was not found."""
        total = 0
        for fault in self.faults:
            if fault.name in self.found:
                minutes = int((self.found[fault.name] - self.started) // 60)
                lost = POINTS_PER_MINUTE * minutes + POINTS_PER_WRONG_ANSWER * self.wrong_answers
                total += max(LEAST_POINTS, POINTS_PER_LEVEL * fault.level - lost)
        return total


def choose(seed: int, level: int) -> list[Fault]:
    """Return the faults of an incident: one of its level, and in level 3 a second one in another service."""
    chance = random.Random(f"{seed}/{level}")  # noqa: S311 - not a secret; of a text, it is the same everywhere
    of_level = {
        number: [fault for fault in catalogue.faults().values() if fault.level == number] for number in LEVELS
    }
    chosen = [chance.choice(of_level[level])]
    if level == max(LEVELS):
        # Nothing that stops a process: it would leave no signs of the first fault.
        second = [f for f in of_level[2] if f.service != chosen[0].service and f.process is None]
        chosen.append(chance.choice(second))
    return chosen


def current(lab: Lab) -> Incident | None:
    """Return the incident that is under way, or None; raises `LabError` for a damaged file."""
    file = lab.incident_file
    try:
        return Incident(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        raise LabError(f"{file} is damaged: remove it, and `workshop heal` what it broke") from None


def under_way(lab: Lab) -> Incident:
    """Return the incident that is under way; raises `LabError` if there is none."""
    incident = current(lab)
    if incident is None:
        raise LabError("no incident is under way: `workshop incident start` begins one")
    return incident


def start(lab: Lab, seed: int, level: int) -> Incident:
    """Begin an incident; raises `LabError` if one is under way, or if something is broken already."""
    if current(lab):
        raise LabError("an incident is under way: `workshop incident give-up` ends it")
    if control.on(lab):
        raise LabError("something is broken already: `workshop heal` mends it")
    incident = Incident(seed, level, started=time.time())
    for fault in incident.faults:
        control.break_by(lab, fault, FOREVER)
    write_json(lab.incident_file, asdict(incident))
    return incident


def see(lab: Lab) -> Incident:
    """Take down that a symptom was seen; only the first time counts."""
    incident = under_way(lab)
    if incident.seen is None:
        incident = replace(incident, seen=time.time())
        write_json(lab.incident_file, asdict(incident))
    return incident


def solve(lab: Lab, service: str, cause: str) -> tuple[Incident, Fault | None]:
    """Judge a diagnosis; a fault that it names rightly is healed. Return it, or None for a wrong diagnosis.

    When the last fault is found, the incident is over and stands in the scores.
    """
    incident = see(lab)
    hit = next((fault for fault in incident.left if (fault.service, fault.cause) == (service, cause)), None)
    if hit is None:
        incident = replace(incident, wrong_answers=incident.wrong_answers + 1)
    else:
        control.heal(lab, hit)
        incident = replace(incident, found={**incident.found, hit.name: time.time()})
    if incident.left:
        write_json(lab.incident_file, asdict(incident))
    else:
        _close(lab, incident)
    return incident, hit


def give_up(lab: Lab) -> Incident:
    """End the incident that is under way, and heal what it broke."""
    incident = replace(under_way(lab), gave_up=True)
    control.heal(lab, None)  # also if the file with the flags is damaged
    _close(lab, incident)
    return incident


def scores(lab: Lab) -> list[dict[str, Any]]:
    """Return the incidents that are over, the oldest first; raises `LabError` for a damaged file."""
    file = _scores_file(lab)
    try:
        entries: list[dict[str, Any]] = json.loads(file.read_text())
        return [dict(entry) for entry in entries]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError):
        raise LabError(f"{file} is damaged: mend or remove it") from None


def first_alert(prometheus: Prometheus, incident: Incident) -> tuple[str, float] | None:
    """Return the first alert that fired in an incident, and after how many seconds; None if none did.

    Alerts that fired before do not count.
    """
    seconds = max(2, int(time.time() - incident.started))
    firing = 'timestamp(ALERTS{alertstate="firing"})'
    try:
        samples = prometheus.query(f"min by (alertname) (min_over_time({firing}[{seconds + 10}s:2s]))")
    except BackendAwayError:
        return None
    fired = [(sample.value - incident.started, sample.labels["alertname"]) for sample in samples]
    after = sorted((delay, name) for delay, name in fired if delay > 0)
    return (after[0][1], after[0][0]) if after else None


def _close(lab: Lab, incident: Incident) -> None:
    entry = {
        "seed": incident.seed,
        "level": incident.level,
        "started": round(incident.started, 1),
        "faults": [fault.name for fault in incident.faults],
        "found": len(incident.found),
        "wrong_answers": incident.wrong_answers,
        "seconds_to_detect": _seconds(incident, incident.seen),
        "seconds_to_diagnose": None if incident.gave_up else _seconds(incident, max(incident.found.values())),
        "points": incident.points,
    }
    write_json(_scores_file(lab), [*scores(lab), entry])
    lab.incident_file.unlink(missing_ok=True)


def _seconds(incident: Incident, moment: float | None) -> float | None:
    return None if moment is None else round(moment - incident.started, 1)


def _scores_file(lab: Lab) -> Path:
    return lab.state / "scores.json"
