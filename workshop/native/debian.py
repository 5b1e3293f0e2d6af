"""Take Prometheus out of its Debian or Ubuntu package, without installing it: no root is needed."""

import os
import shutil
from pathlib import Path
from time import monotonic

from workshop.native.external import BackendError, Say, run

# An apt without a network gives up after this time, in seconds, and not after minutes.
TIMEOUT = 20


def extract_prometheus(scratch: Path, say: Say) -> None:
    """Put `prometheus` and `promtool` of this system's package into `scratch/result`.

    apt checks the package against its signed lists. Raises `BackendError` where there is no apt, no list or
    no network.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise BackendError("this is not Debian or Ubuntu: there is no apt-get")
    say("Prometheus: downloading the Debian package, to unpack it without installing it")
    started = monotonic()
    lines: list[str] = []
    limits = (
        option for scheme in ("http", "https") for option in ("-o", f"Acquire::{scheme}::Timeout={TIMEOUT}")
    )
    try:
        run(
            ["apt-get", "download", "prometheus", "-o", "Acquire::Retries=0", *limits],
            cwd=scratch,
            environment={**os.environ, "LC_ALL": "C"},
            on_line=lines.append,
        )
    except BackendError:
        errors = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
        if any("Unable to locate package" in error or "Can't find a source" in error for error in errors):
            raise BackendError(
                "apt knows no package prometheus: `sudo apt-get update` fetches the package lists"
            ) from None
        raise BackendError(f"apt-get download failed: {errors[0] if errors else 'no reason given'}") from None
    run(["dpkg-deb", "-x", *scratch.glob("prometheus_*.deb"), "root"], cwd=scratch)
    for program in ("prometheus", "promtool"):
        (scratch / "root" / "usr" / "bin" / program).rename(scratch / "result" / program)
    say(f"Prometheus: unpacked in {monotonic() - started:.0f} s")
