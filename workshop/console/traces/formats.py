"""How the pages write durations, times, numbers, and the colour of a service."""

from datetime import datetime
from zlib import crc32

# Those that webui's style sheet and traces.css name. Any other service gets one of the other colours, always
# the same one.
KNOWN_SERVICES = ("rng", "hasher", "worker", "webui", "redis")
OTHER_COLOURS = 6


def duration(microseconds: float) -> str:
    """Return a duration in the unit that suits it, with three digits or so."""
    amount = abs(microseconds)
    if amount == 0:
        return "0"
    if amount < 1_000:
        return f"{microseconds:.0f} µs"
    if amount < 1_000_000:
        return f"{microseconds / 1_000:.{1 if amount < 99_950 else 0}f} ms"
    if amount < 60_000_000:
        return f"{microseconds / 1_000_000:.2f} s"
    return f"{microseconds / 60_000_000:.1f} min"


def signed_duration(microseconds: float) -> str:
    """Return a difference of durations, with its sign."""
    return f"{_sign(microseconds)}{duration(abs(microseconds))}"


def signed_percent(share: float) -> str:
    """Return a relative difference as a whole percentage, with its sign."""
    rounded = round(100 * share)
    return f"{_sign(rounded)}{abs(rounded)} %"


def rate(per_second: float | None) -> str:
    """Return a rate, or a dash if it cannot be told."""
    if per_second is None:
        return "\N{EN DASH}"
    return f"{per_second:.{1 if per_second >= 10 else 2}f}/s"


def clock(microseconds: int) -> str:
    """Return a point in time as local time of the day."""
    return _local(microseconds).strftime("%H:%M:%S.%f")[:-3]


def moment(microseconds: int) -> str:
    """Return a point in time as local date and time."""
    return _local(microseconds).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def percent(share: float) -> str:
    """Return a share between 0 and 1 as a percentage."""
    return f"{100 * share:.{0 if share in (0, 1) else 1}f} %"


def colour(service: str) -> str:
    """Return the name of the CSS class with the colour of a service."""
    if service in KNOWN_SERVICES:
        return f"hue-{service}"
    return f"hue-{crc32(service.encode()) % OTHER_COLOURS}"


def _sign(number: float) -> str:
    return "+" if number > 0 else "\N{MINUS SIGN}" if number < 0 else ""


def _local(microseconds: int) -> datetime:
    # The console runs where it is looked at: its time zone is that of the reader.
    return datetime.fromtimestamp(microseconds / 1_000_000).astimezone()
