"""Faults that a teacher can switch on, by flags in the file that `FAULTS_FILE` names.

Each service with faults has them in a `faults.py` of its own; the service itself knows nothing of them.
Without `FAULTS_FILE` there are none, and nothing of this is even imported.
"""

import os
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.flags import Flags


@cache
def flags() -> "Flags | None":
    """Return the flags of this process, or None where it can have no faults."""
    path = os.environ.get("FAULTS_FILE")
    if not path:
        return None
    from telemetry.flags import Flags

    flags = Flags(Path(path))
    threading.Thread(target=flags.watch, name="flags", daemon=True).start()
    return flags
