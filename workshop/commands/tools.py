"""`workshop tools`: build the real backends into the tools cache."""

from collections.abc import Callable, Sequence

from workshop.lab import SettingError
from workshop.native import backends


def tools(names: Sequence[str], say: Callable[[str], None]) -> int:
    """Build these tools, all of them if none is named; return the exit code, 1 if one could not be built.

    Those that are built already are left alone. Raises `SettingError` for a name that is not a tool.
    """
    if unknown := [name for name in names if name not in backends.TOOLS]:
        raise SettingError(f"no such tool: {', '.join(unknown)}; {', '.join(backends.TOOLS)} can be built")
    failed = False
    for name in names or backends.TOOLS:
        try:
            backend = backends.build(name, say)
            say(f"{name} {backend.version}: {backend.path}")
        except backends.BackendError as error:
            failed = True
            say(f"{name}: {error}")
    return 1 if failed else 0
