"""The tools cache: programs that were built or unpacked once, for all checkouts of the lab on a machine."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workshop.native.external import Say


def folder() -> Path:
    """Return the tools cache: `$XDG_CACHE_HOME/dockercoins-lab`, by default below `~/.cache`.

    A relative `XDG_CACHE_HOME` does not count, as the XDG Base Directory Specification says.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "dockercoins-lab"


@contextmanager
def locked(target: Path, say: Say) -> Iterator[None]:
    """Let one process at a time make `target`; another one waits here, and says so."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run is making {target}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Give a scratch folder; its folder `result` becomes `target`, whole, when the block ends well.

    A block that fails, or is interrupted, leaves `target` as it was, and nothing else. The caller holds the
    lock.
    """
    scratch = target.parent / f".{target.name}.scratch"
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed run has left
    result = scratch / "result"
    result.mkdir(parents=True)
    try:
        yield scratch
        shutil.rmtree(target, ignore_errors=True)
        result.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
