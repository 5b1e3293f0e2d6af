"""The images that compose.yaml names: pulled, or made from what the machine can get.

Where there is no registry, stand-ins bear the names of the official images, so that compose.yaml is tested as
it is. They are made only in CI, or in an engine that was started for the tests. Grafana has none: Debian has
no package of it.
"""

import hashlib
import json
import re
import shutil
import ssl
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from tests.compose.engine import Engine, run
from workshop.lab import ROOT
from workshop.native import backends, toolcache
from workshop.native.external import BackendError

SUITE = "trixie"  # that of the official Python image; it has Python 3.13 and Redis 8
MIRROR = "http://deb.debian.org/debian"
PACKAGES = ("busybox-static", "python3", "python3-venv", "redis-server")
STAND_INS = Path(__file__).with_name("stand-ins") / "Dockerfile"
PROGRAMS = ("prometheus", "collector", "jaeger")


def pinned() -> dict[str, str]:
    """Return the images that the lab does not build: the service's name, and python, to the image's name."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    images = {name: service["image"] for name, service in services.items() if "image" in service}
    dockerfiles = (ROOT / "services").glob("*/Dockerfile")
    bases = {
        name for file in dockerfiles for name in re.findall(r"^FROM (\S+)", file.read_text(), re.MULTILINE)
    }
    (python,) = bases
    return {**images, "python": python}


def obtain(engine: Engine) -> set[str]:
    """Pull the images, or make stand-ins; return the names of the services that have no image.

    Raises `BackendError` where neither is possible.
    """
    images = pinned()
    if not engine.disposable:
        present = {name for name, image in images.items() if is_there(engine, image)}
        missing = {name: image for name, image in images.items() if name not in present}
        if all(pull(engine, image) for image in missing.values()):
            return set()
        raise BackendError(f"{', '.join(missing.values())} cannot be pulled")
    if all(pull(engine, image) for image in images.values()):
        return set()
    make_stand_ins(engine, {name: image for name, image in images.items() if name != "grafana"})
    return {"grafana"}


def is_there(engine: Engine, image: str) -> bool:
    return bool(engine.docker("image", "ls", "--quiet", image).strip())


def pull(engine: Engine, image: str) -> bool:
    """Pull an image; return whether that succeeded."""
    done = subprocess.run(
        ["docker", "pull", "--quiet", image], env=engine.environment, capture_output=True, timeout=600
    )
    return done.returncode == 0


def make_stand_ins(engine: Engine, images: dict[str, str]) -> None:
    """Build a stand-in for each image, a stage of the Dockerfile each; the engine caches them."""
    with TemporaryDirectory(dir=toolcache.folder()) as context:
        folder = Path(context)
        shutil.copy2(STAND_INS, folder)
        shutil.copy2(debian() / "debian.tar", folder)
        shutil.copy2(ssl.get_default_verify_paths().cafile or "", folder / "ca-certificates.crt")
        for program in PROGRAMS:
            backend = backends.find(program)
            if backend is None:
                raise BackendError(f"there is no {program} here: `make tools` builds it")
            shutil.copy2(backend.path, folder / {"collector": "otelcol"}.get(program, program))
        project = folder / "compose.json"
        stand_ins = {
            name: {"image": image, "build": {"context": ".", "target": name}}
            for name, image in images.items()
        }
        project.write_text(json.dumps({"name": "stand-ins", "services": stand_ins}))
        run(
            ["docker", "compose", "--file", str(project), "build", "--quiet"], engine.environment, timeout=600
        )


def debian() -> Path:
    """Return the folder with `debian.tar`, a small Debian with Python and Redis, made once."""
    if shutil.which("debootstrap") is None:
        raise BackendError("the images cannot be pulled, and there is no debootstrap to make stand-ins")
    key = hashlib.sha256(" ".join((SUITE, *PACKAGES)).encode()).hexdigest()[:12]
    target = toolcache.folder() / "stand-ins" / f"debian-{key}"
    with toolcache.locked(target, print):
        if not target.exists():
            with toolcache.staged(target) as scratch:
                root = scratch / "root"
                options = ("--variant=minbase", f"--include={','.join(PACKAGES)}")
                subprocess.run(
                    ["debootstrap", *options, SUITE, root, MIRROR], check=True, stdout=subprocess.DEVNULL
                )
                excluded = [f"--exclude=./{path}/*" for path in ("dev", "proc", "sys", "var/cache/apt")]
                lists = "--exclude=./var/lib/apt/lists/*"
                archive = scratch / "result" / "debian.tar"
                subprocess.run(["tar", "-C", root, *excluded, lists, "-cf", archive, "."], check=True)
    return target
