"""Settings from the environment: read once, at start; an unusable value is one clear line.

Each service gathers what it needs in one frozen dataclass, for example::

    @dataclass(frozen=True)
    class Settings:
        delay: float

        @classmethod
        def from_environment(cls) -> Settings:
            return cls(delay=read_number("RNG_DELAY", default=0.1, minimum=0, maximum=60, unit="seconds"))
"""

import os
import sys
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import urlsplit


class SettingError(ValueError):
    """An environment variable has a value that the service cannot use.

    Its text names the variable, the value, and what is accepted.
    """

    def __init__(self, name: str, value: str, accepted: str) -> None:
        super().__init__(f"{name}={value!r} is not usable: {accepted} is accepted")


def read_number(name: str, default: float, minimum: float, maximum: float, unit: str) -> float:
    """Return the number in the variable `name`, or `default` where it is unset or empty.

    Raises `SettingError` unless the value is a number from `minimum` to `maximum`.
    """
    text = os.environ.get(name) or str(default)
    accepted = f"a number of {unit} from {minimum:g} to {maximum:g}"
    try:
        value = float(text)
    except ValueError:
        raise SettingError(name, text, accepted) from None
    if not minimum <= value <= maximum:  # this also refuses "nan"
        raise SettingError(name, text, accepted)
    return value


def read_count(name: str, default: int, minimum: int, maximum: int, unit: str) -> int:
    """Return the whole number in the variable `name`, or `default` where it is unset or empty.

    Raises `SettingError` unless the value is a whole number from `minimum` to `maximum`.
    """
    text = os.environ.get(name) or str(default)
    value = read_number(name, default, minimum, maximum, unit)
    if not value.is_integer():
        raise SettingError(name, text, f"a whole number of {unit} from {minimum} to {maximum}")
    return int(value)


def read_choice(name: str, choices: tuple[str, ...]) -> str:
    """Return the variable `name`, one of `choices`; the first of them where it is unset or empty.

    Raises `SettingError` for anything else.
    """
    text = os.environ.get(name) or choices[0]
    if text not in choices:
        raise SettingError(name, text, " or ".join(choices))
    return text


def read_url(name: str, default: str, schemes: tuple[str, ...] = ("http", "https")) -> str:
    """Return the URL in the variable `name`, without a slash at its end; or `default`.

    Raises `SettingError` unless it has one of the `schemes`, a host, and a usable port (or none).
    """
    text = os.environ.get(name) or default
    try:
        url = urlsplit(text)
        usable = url.scheme in schemes and bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is not a number
        usable = False
    if not usable:
        raise SettingError(name, text, f"a URL like {default}")
    return text.rstrip("/")


def read_host() -> str:
    """Return the address to listen on: `LISTEN_HOST`, or all addresses of the container where it is unset."""
    return os.environ.get("LISTEN_HOST") or "0.0.0.0"  # noqa: S104 - compose.yaml decides what is published


def telemetry_wanted() -> bool:
    """Tell whether the service is to be instrumented: `TELEMETRY` is `on` (the default) or `off`."""
    return read_choice("TELEMETRY", ("on", "off")) == "on"


def run_service(main: Callable[[], int]) -> NoReturn:
    """Run a service's `main` and exit with its code; 2 and one line for an unusable setting."""
    try:
        code = main()
    except SettingError as error:
        print(error, file=sys.stderr)
        code = 2
    except OSError as error:  # a port in use, most of the time
        print(f"cannot start: {error}", file=sys.stderr)
        code = 1
    sys.exit(code)
