"""Files that others may read at any moment, or that must outlive a crash."""

import json
import os
from pathlib import Path


def write_json(file: Path, content: object, mode: int | None = None) -> None:
    """Write a readable JSON file in one step: it has the old content or the new one, and never half of it.

    Its folder is made if it is missing. `mode` are the file's permissions, by default those of the process.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".tmp")
    with draft.open("w") as output:
        json.dump(content, output, indent=2)
        output.write("\n")
        output.flush()
        os.fsync(output.fileno())
    if mode is not None:
        draft.chmod(mode)
    draft.replace(file)
