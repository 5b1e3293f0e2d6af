"""The images that compose.yaml names: pulled, or made from what the machine can get.

Where there is no registry, stand-ins bear the names of the official images, so that compose.yaml is tested as
it is. The tests make them only in CI, or in an engine that was started for the tests. Grafana has none:
Debian has no package of it.

`make stand-ins` makes those that an engine lacks, for a classroom without a registry.
"""

import hashlib
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from tests.compose.engine import Engine, answers, run, with_compose
from workshop.lab import ROOT
from workshop.native import gobuild, toolcache
from workshop.native.external import BackendError

SUITE = "trixie"  # that of the official Python image; it has Python 3.13 and Redis 8
MIRROR = "http://deb.debian.org/debian"
PACKAGES = ("busybox-static", "python3", "python3-venv", "redis-server")
STAND_INS = Path(__file__).with_name("stand-ins") / "Dockerfile"
WITHOUT_GRAFANA = STAND_INS.with_name("compose.yaml")
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


def obtain(engine: Engine) -> tuple[set[str], list[str]]:
    """Pull the images, or make stand-ins for all; return the services that have no image, and what was used.

    Raises `BackendError` where neither is possible. Where some can be pulled and others cannot, that is no
    lack of a registry, but a mistake in a name, and stand-ins would hide it.
    """
    images = pinned()
    if not engine.disposable:
        present = {name for name, image in images.items() if is_there(engine, image)}
        missing = {name: image for name, image in images.items() if name not in present}
        if all(pull_all(engine, missing).values()):
            return set(), [f"{image}: official" for image in images.values()]
        raise BackendError(f"{', '.join(missing.values())} cannot be pulled")
    pulled = pull_all(engine, images)
    if all(pulled.values()):
        return set(), [f"{image}: official" for image in images.values()]
    if any(pulled.values()):
        failed = ", ".join(images[name] for name, succeeded in pulled.items() if not succeeded)
        raise BackendError(f"{failed} cannot be pulled, and other images can")
    del images["grafana"]
    make_stand_ins(engine, images)
    return {"grafana"}, [f"{image}: {title(engine, image)}" for image in images.values()]


def pull_all(engine: Engine, images: dict[str, str]) -> dict[str, bool]:
    """Pull images, side by side; return of which that succeeded."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(images, pool.map(lambda image: pull(engine, image), images.values()), strict=True))


def title(engine: Engine, image: str) -> str:
    """Return what an image says that it is."""
    label = '{{index .Config.Labels "org.opencontainers.image.title"}}'
    return engine.docker("image", "inspect", "--format", label, image).strip()


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
            # Not any on PATH: it must run where there is no library.
            built = gobuild.target(program) / gobuild.TOOLS[program].programs[0]
            if not built.exists():
                raise BackendError(f"there is no {built}: `make tools` builds it")
            shutil.copy2(built, folder)
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
    key = hashlib.sha256(" ".join((SUITE, *PACKAGES)).encode()).hexdigest()[:12]
    target = toolcache.folder() / "stand-ins" / f"debian-{key}"
    with toolcache.locked(target, print):
        if not target.exists():
            if shutil.which("debootstrap") is None:
                raise BackendError("there is no debootstrap to make stand-ins with")
            if os.geteuid() != 0:
                raise BackendError("debootstrap, which makes the stand-ins, wants to be run as root")
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


def main() -> int:
    """Make the stand-ins that the engine lacks; return 0 if it has them then, else 1."""
    with TemporaryDirectory() as folder:
        try:
            environment = with_compose(Path(folder))
            if not answers(environment):
                raise BackendError("no Docker engine answers `docker info`")
            engine = Engine(environment, disposable=False)
            images = {name: image for name, image in pinned().items() if name != "grafana"}
            present = {name for name, image in images.items() if is_there(engine, image)}
            lacking = {name: image for name, image in images.items() if name not in present}
            if lacking:
                make_stand_ins(engine, lacking)
        except BackendError as error:
            print(error, file=sys.stderr)
            return 1
    for name, image in images.items():
        print(f"{image:<50} {'was there' if name in present else 'stand-in'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
