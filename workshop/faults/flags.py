"""The file with the fault flags of a lab, which its services read; in the format of flagd.

It always has every flag, under keys that tell nothing. Of each flag one of two variants is in force, `a` or
`b`, and which of them means on differs from flag to flag. So the file does not tell at a glance what is on.
https://flagd.dev/reference/flag-definitions/
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from workshop.faults import catalogue
from workshop.files import write_json
from workshop.lab import LabError

FOREVER = float("inf")

Until = dict[str, float]
"""The faults that are on, each with the Unix time in seconds at which it ends; `FOREVER` for none."""


class DamagedError(LabError):
    """The file cannot be used; the services keep to its last good state."""


def key(fault: str) -> str:
    """Return the key of the flag of a fault; the services compute it in the same way."""
    return sha256(fault.encode()).hexdigest()[:8]


def read(file: Path) -> Until:
    """Return the faults that are on now; raises `DamagedError`.

    As for the services, a flag that is not there is off, and a bad flag makes all of the file unusable.
    """
    try:
        flags = json.loads(file.read_text()).get("flags", {})
        ends = {name: _end(flag) for name, flag in flags.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise DamagedError(
            f"{file} is damaged, the services keep to its last good state: `workshop heal` writes it anew, "
            "in an incident `workshop incident give-up` does"
        ) from None
    found = {fault: ends.get(key(fault), 0) for fault in catalogue.flags()}
    return {fault: end for fault, end in found.items() if end > time.time()}


def write(file: Path, on: Mapping[str, float]) -> None:
    """Write the file in one step, so that services read the old flags or the new ones."""
    flags = {key(fault): _flag(fault, on.get(fault, 0)) for fault in sorted(catalogue.flags(), key=key)}
    write_json(file, {"flags": flags}, mode=0o644)  # containers read it as another user


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Keep others from changing the file while the block reads and writes it."""
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _variants(fault: str) -> tuple[str, str]:
    """Return the variants of a fault's flag that mean on and off."""
    return ("a", "b") if int(key(fault)[0], 16) % 2 else ("b", "a")


def _flag(fault: str, end: float) -> dict[str, Any]:
    on, off = _variants(fault)
    flag = {
        "state": "ENABLED",
        "variants": {"a": on == "a", "b": on == "b"},
        "defaultVariant": on if end == FOREVER else off,
    }
    if time.time() < end < FOREVER:
        flag["targeting"] = {"if": [{"<": [{"var": "$flagd.timestamp"}, end]}, on, off]}
    return flag


def _end(flag: Mapping[str, Any]) -> float:
    on = flag["variants"][flag["defaultVariant"]]
    if not isinstance(on, bool) or flag["state"] != "ENABLED":
        raise ValueError(flag)
    if "targeting" in flag:
        return float(flag["targeting"]["if"][0]["<"][1])
    return FOREVER if on else 0
