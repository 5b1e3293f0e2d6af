"""What a student hands in: a summary of the progress, signed with a key that the class shares.

The signature tells that a file was not changed after it was written, and not mixed up with that of another
class. It cannot tell who wrote it: whoever knows the key can sign.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any

from itsdangerous import BadSignature, Signer

from workshop.files import write_json
from workshop.grading import progress
from workshop.grading.exercises import Exercise
from workshop.lab import Lab, LabError, SettingError

NAME = re.compile(r"[^\s/\\.][^/\\\n]{0,79}")


@dataclass(frozen=True)
class LabSummary:
    """What a student did in one lab; `passed` is a Unix time in seconds, `tries` counts all answers."""

    state: str
    passed: float | None
    hints: int
    tries: int


@dataclass(frozen=True)
class HandIn:
    """A summary as it is handed in: whose, when (a Unix time), and each lab by its number."""

    name: str
    time: float
    labs: dict[str, LabSummary]

    @property
    def passed(self) -> int:
        """How many labs are passed."""
        return sum(lab.passed is not None for lab in self.labs.values())


class RefusedError(LabError):
    """A file is no summary, or its signature does not fit; the text is one line."""


def summarise(lab: Lab, name: str, exercises: Iterable[Exercise]) -> HandIn:
    """Return the progress of a lab as it is handed in; raises `SettingError` for an unusable name."""
    if not NAME.fullmatch(name):
        raise SettingError(f"the name {name!r} is not usable: up to 80 characters without / are accepted")
    records = progress.read(lab)
    labs = {}
    for exercise in exercises:
        record = records.get(exercise.number, progress.Record())
        tries = sum(answer.tries for answer in record.answers.values())
        labs[exercise.number] = LabSummary(record.state, record.passed, record.hints, tries)
    return HandIn(name, time(), labs)


def write(summary: HandIn, file: Path, key: str) -> None:
    """Write a summary, signed; raises `LabError` if the file cannot be written."""
    fields = asdict(summary)
    try:
        write_json(file, {"summary": fields, "signature": _signature(fields, key)})
    except OSError as error:
        raise LabError(f"{file} cannot be written: {error.strerror}") from None


def read(file: Path, key: str) -> HandIn:
    """Return the summary in a file; raises `RefusedError`, also if it was not signed with this key."""
    try:
        content = json.loads(file.read_text())
        fields, signature = content["summary"], content["signature"]
        _signer(key).unsign(_canonical(fields) + b"." + str(signature).encode())
        labs = {str(number): LabSummary(**lab) for number, lab in fields["labs"].items()}
        return HandIn(str(fields["name"]), float(fields["time"]), labs)
    except OSError as error:
        raise RefusedError(f"{file}: cannot be read: {error.strerror}") from None
    except BadSignature:
        raise RefusedError(
            f"{file}: the signature does not fit: it was changed, or signed with another CLASS_KEY"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise RefusedError(f"{file}: no summary as `workshop hand-in` writes it") from None


def _signer(key: str) -> Signer:
    return Signer(key, salt="dockercoins hand-in", digest_method=sha256)


def _signature(fields: dict[str, Any], key: str) -> str:
    return _signer(key).get_signature(_canonical(fields)).decode()


def _canonical(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
