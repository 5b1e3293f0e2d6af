"""How values are written: the units of Grafana that the dashboards use."""

from collections.abc import Sequence

# A unit has scales, from the greatest down. A value is divided by the first size that it reaches, and by the
# last if it reaches none.
Scales = Sequence[tuple[float, str]]

UNITS: dict[str, Scales] = {
    "s": [(1, " s"), (1e-3, " ms"), (1e-6, " µs")],
    "percentunit": [(0.01, " %")],
    "reqps": [(1, " req/s")],
    "short": [(1e9, " Bil"), (1e6, " Mil"), (1e3, " K"), (1, "")],
    "bytes": [(2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"), (1, " B")],
}
SUFFIX = "suffix:"


def scales(unit: str) -> Scales | None:
    """Return how to write a value of a unit, or None for a unit that the console does not know."""
    if unit.startswith(SUFFIX):
        return [(1, f" {unit.removeprefix(SUFFIX).strip()}")]
    return UNITS.get(unit)
