"""The instructor's guide as tests read it: its sections, and the commands in them."""

import re

from workshop.lab import ROOT

GUIDE = ROOT / "docs" / "instructors.md"


def sections() -> dict[str, str]:
    """Return the text of each section by its heading, without that of the sections below it."""
    _, *parts = re.split(r"^##+ (.*)\n", GUIDE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def blocks(heading: str) -> list[str]:
    """Return the blocks of commands in a section."""
    return re.findall(r"^```sh\n(.*?)^```", sections()[heading], re.MULTILINE | re.DOTALL)
