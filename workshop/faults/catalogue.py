"""The catalogue of faults, from `catalogue.yaml`."""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from workshop.lab import SettingError

FILE = Path(__file__).with_name("catalogue.yaml")


@dataclass(frozen=True)
class Process:
    """A fault that is done to a process: `action` is `kill`, `stop` or `pause`."""

    action: str
    service: str


@dataclass(frozen=True)
class Sign:
    """Something to measure, and its range (both ends included) while all is healthy and with the fault.

    One of `prometheus`, `jaeger` and `answers` says what is measured; `catalogue.yaml` tells how.
    """

    healthy: tuple[float, float]
    broken: tuple[float, float]
    prometheus: str = ""
    jaeger: dict[str, str] | None = None
    answers: str = ""

    def is_healthy(self, value: float | None) -> bool:
        """Tell whether a measured value is in the healthy range; one that could not be measured is not."""
        return value is not None and self.healthy[0] <= value <= self.healthy[1]

    def is_broken(self, value: float | None) -> bool:
        """Tell whether a measured value is in the range with the fault."""
        return value is not None and self.broken[0] <= value <= self.broken[1]


@dataclass(frozen=True)
class Fault:
    """One fault; a flag switches it on, unless it has a `process`."""

    name: str
    service: str
    cause: str
    level: int
    summary: str
    signs: tuple[Sign, ...]
    diagnosis: tuple[str, ...]
    cure: str
    alert: str = ""
    no_alert: str = ""
    process: Process | None = None


@cache
def faults() -> dict[str, Fault]:
    """Return all faults, by name."""
    return {entry["name"]: _fault(entry) for entry in yaml.safe_load(FILE.read_text())}


def flags() -> list[str]:
    """Return the names of the faults that are flags."""
    return [fault.name for fault in faults().values() if fault.process is None]


def find(name: str) -> Fault:
    """Return a fault; raises `SettingError` with the names that are nearest to an unknown one."""
    if name in faults():
        return faults()[name]
    nearest = get_close_matches(name, faults(), n=3, cutoff=0.4)
    hint = f"{' or '.join(nearest)}?" if nearest else "`workshop faults --list` tells all of them"
    raise SettingError(f"there is no fault {name!r}: {hint}")


def _fault(entry: dict[str, Any]) -> Fault:
    signs = tuple(
        Sign(**sign | {"healthy": tuple(sign["healthy"]), "broken": tuple(sign["broken"])})
        for sign in entry["signs"]
    )
    process = Process(**entry["process"]) if "process" in entry else None
    return Fault(**entry | {"signs": signs, "diagnosis": tuple(entry["diagnosis"]), "process": process})
