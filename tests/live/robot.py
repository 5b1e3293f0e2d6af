"""A robot that diagnoses: it knows the catalogue, and sees no more than Prometheus' and Jaeger's APIs."""

from workshop.clients import Jaeger, Prometheus
from workshop.faults import catalogue, signs
from workshop.faults.catalogue import Fault


def diagnose(prometheus: Prometheus, jaeger: Jaeger) -> list[Fault]:
    """Return the faults all of whose signs are to be seen, first those with the most signs."""
    seen = [
        fault
        for fault in catalogue.faults().values()
        if all(sign.is_broken(signs.measure(sign, prometheus, jaeger)) for sign in fault.signs)
    ]
    return sorted(seen, key=lambda fault: -len(fault.signs))


def ailing(prometheus: Prometheus, jaeger: Jaeger) -> list[str]:
    """Return the names of the faults one of whose signs is not as in a healthy lab."""
    return [
        fault.name
        for fault in catalogue.faults().values()
        if not all(sign.is_healthy(signs.measure(sign, prometheus, jaeger)) for sign in fault.signs)
    ]
