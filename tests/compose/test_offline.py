"""The images of a classroom without a network, as the instructor's guide saves and loads them."""

import json
import subprocess
import tarfile

from tests.guide import blocks

SECTION = "Images"
TRIED = {SECTION}

# In place of the guide's `green`, which may be somebody's.
BESIDE = "dockercoins-test-beside"


def does(stack, folder, commands):
    """Carry out commands with the engine and the project of `stack`; return what they print."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=stack.environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_file_has_the_images_of_a_lab_and_of_one_beside_it(green, tmp_path):
    """Without `pull`, for the images are there, and without `up`, which is in all other tests."""
    save, load = (
        text.replace("--project-name green", f"--project-name {BESIDE}") for text in blocks(SECTION)
    )
    pull, save = save.split("\n", 1)
    load, up = load.splitlines()
    assert "docker compose pull" in pull
    assert "docker compose up" in up
    does(green, tmp_path, save)
    images = {project: images_of(green, project) for project in (green.project, BESIDE)}
    with tarfile.open(tmp_path / "images.tar.gz") as archive:
        saved = json.load(archive.extractfile("manifest.json"))
    assert {tag for image in saved for tag in image["RepoTags"]} == images[green.project] | images[BESIDE]

    only_beside = images[BESIDE] - images[green.project]
    assert len(only_beside) == 4, "rng, hasher, worker and webui are called after their project"
    try:
        green.engine.docker("image", "rm", *only_beside)
        loaded = does(green, tmp_path, load)
        assert all(f"Loaded image: {image}" in loaded for image in only_beside)
    finally:
        green.engine.docker("image", "rm", *only_beside)


def images_of(stack, project):
    """Return the names of the images of a project, each with its tag."""
    named = stack.compose("--project-name", project, "config", "--images").split()
    return {name if ":" in name.rpartition("/")[2] else f"{name}:latest" for name in named}
