"""What a page tells to write into a file: a block of Python that begins with the name of the file.

Such a block begins with ```python and a file: it is the whole file. Or with a file and a name: it takes the
place of what has that name in the file. That is a function, a class or a variable, or with a dot a method.
"""

import ast
import re
import sys
from pathlib import Path

KIND = re.compile(r"python (workbench/(?:rng|hasher|worker|webui)/\w+\.py)(?: (\w+(?:\.\w+)?))?")


def write(file: Path, name: str | None, block: str) -> None:
    """Do to a file what a block tells."""
    file.write_text(replaced(file.read_text(), name, block) if name else block)


def replaced(text: str, name: str, block: str) -> str:
    """Return the text of a file in which a block takes the place of what is called `name`."""
    scope = ast.parse(text).body
    *outer, last = name.split(".")
    for part in outer:
        scope = definition(scope, part).body
    old = definition(scope, last)
    first = min([old.lineno, *(decorator.lineno for decorator in getattr(old, "decorator_list", []))])
    lines = text.splitlines(keepends=True)
    return "".join([*lines[: first - 1], block, *lines[old.end_lineno :]])


def definition(scope: list[ast.stmt], name: str) -> ast.stmt:
    """Return the one statement that defines a name."""
    (found,) = (
        statement
        for statement in scope
        if getattr(statement, "name", None) == name
        or [getattr(target, "id", None) for target in getattr(statement, "targets", ())] == [name]
    )
    return found


if __name__ == "__main__":
    path, *names = sys.argv[1:]
    write(Path(path), names[0] if names else None, sys.stdin.read())
