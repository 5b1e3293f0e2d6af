"""Makes what is generated in docs/: `make docs`.

telemetry.md comes from services/telemetry/contract.yaml, faults.md from workshop/faults/catalogue.yaml,
measurements.md from bench/results/*.json; architecture.svg from architecture.dot, by Graphviz.
"""

import ast
import hashlib
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.__main__ import NAMES
from bench.report import RESULTS, Report, goal_text, load
from workshop.faults import catalogue
from workshop.faults.catalogue import Fault, Sign

DOCS = Path(__file__).resolve().parent
CONTRACT = DOCS.parent / "services" / "telemetry" / "contract.yaml"
TELEMETRY = DOCS / "telemetry.md"
FAULTS = DOCS / "faults.md"
MEASUREMENTS = DOCS / "measurements.md"
DIAGRAM = DOCS / "architecture.dot"
PICTURE = DOCS / "architecture.svg"

INTRODUCTION = """\
# Metrics and spans

<!-- Made by `make docs` from services/telemetry/contract.yaml: change it there. -->

This is what the programs of this repository emit: the services, and the lab's own trace store. A test
compares it with a running lab in both directions: nothing is emitted that is not here, and nothing is here
that is not emitted. Of what the Collector and Prometheus add, it has what dashboards and rules use.

Names follow the [OpenTelemetry semantic conventions](https://opentelemetry.io/docs/specs/semconv/); the lab's
own begin with `dockercoins`. Units are written as there: `s` seconds, `By` bytes, `1` a ratio or a flag,
`{thing}` a count of things.

## Metrics

Prometheus adds two labels: `job`, the name of the service, and `instance`, the address of the process. All
histograms have the same [buckets](../services/telemetry/metrics.py) and carry exemplars, with the IDs of a
trace and of a span. A label in brackets may be empty.
"""

RULES = """\
## Recorded by Prometheus

What the [rules](../prometheus/rules) compute of the metrics, every two seconds. A name says
`level:metric:operations`: over which labels, of what, and how.
"""

SPANS = """\
## Spans

An attribute in brackets may be absent.
"""


EVENTS = """\
## Events of spans

Spans have them only while a [fault](faults.md) is on.
"""

# What is measured of spans, in the words of the page.
MEASURES = {
    "roots": "the share of them without a parent",
    "names": "how many different names they have, divided by their number",
    "skew": "the median time from the start of their parent to their own, in seconds",
}

FAULTS_INTRODUCTION = """\
# Faults

<!-- Made by `make docs` from workshop/faults/catalogue.yaml: change it there. -->

This is all that can be broken in the lab. Do not read it before you look for a fault: it tells the answers.

```sh
workshop break rng-slow             # until it is healed
workshop break rng-slow --for 2m    # it heals by itself
workshop faults                     # what is on
workshop heal                       # all of it
```

For each fault a test breaks a running lab. After at most 15 s its signs are in the range *broken*, when
they no longer look back at the time before. Then the test heals the fault, and after at most 30 s the signs
are in the range *healthy* again. The ranges hold for the usual delays of 0.1 s. Other tests wait for the
alerts: with three workers, an alert that is named here fires within 150 s.

How it works: the services read flags from a file, twice a second. It is `faults.json` in the lab's folder;
with Docker it is `faults/NAME.json`, NAME being that of the project. [OpenFeature](https://openfeature.dev)
writes on a span that a flag had an effect on it; only `webui-stuck-scrape` acts where there is no span, on a
scrape. If the file is damaged, its last good state is in force, `workshop status` says so, and
`dockercoins_faults_file_damaged` is 1. Faults of processes are no flags: their process is stopped, paused or
killed.
"""

MEASUREMENTS_INTRODUCTION = """\
# Measurements

<!-- Made by `make docs` from bench/results/*.json, and from what bench/*.py say of themselves. -->

What the lab costs, how it scales, and what it survives. The programs in [bench/](../bench) measure it on labs
that they start without Docker, and leave the numbers in `bench/results/`. This page is made of those:

```sh
make bench    # what it costs, and how it scales
make soak     # whether something grows or gets lost in the long run
make chaos    # whether it comes back when something breaks
make docs     # this page
```

Nothing else should run on the machine meanwhile. Another machine gives other numbers; the goals should be met
on each.
"""


def telemetry_page(contract: Mapping[str, Any]) -> str:
    """Return the contract as a page in Markdown."""
    return "\n".join(
        [
            *(INTRODUCTION, *map(_metric, contract["metrics"])),
            *(RULES, *map(_rule, contract["rules"])),
            *(SPANS, *map(_span, contract["spans"])),
            *(EVENTS, *map(_event, contract["events"])),
        ]
    )


def _metric(metric: Mapping[str, Any]) -> str:
    facts = f"A {metric['type']}. Unit: `{metric['unit']}`. From: {', '.join(metric['emitted_by'])}."
    labels = _names(metric["labels"], metric.get("optional_labels", []))
    fault = f" Only while the fault `{metric['fault']}` is on." if "fault" in metric else ""
    return _entry(f"`{metric['name']}`", metric["meaning"], f"{facts} Labels: {labels}.{fault}")


def _rule(rule: Mapping[str, Any]) -> str:
    facts = f"Unit: `{rule['unit']}`. Labels: {_names(rule['labels'], [])}."
    return _entry(f"`{rule['name']}`", rule["meaning"], facts)


def _span(span: Mapping[str, Any]) -> str:
    attributes = _names(span["attributes"], span["optional_attributes"])
    facts = f"Kind: {span['kind']}. Attributes: {attributes}."
    return _entry(f"{span['service']}: `{span['name']}`", span["meaning"], facts)


def _event(event: Mapping[str, Any]) -> str:
    return _entry(f"`{event['name']}`", event["meaning"], f"Attributes: {_names(event['attributes'], [])}.")


def faults_page(faults: Iterable[Fault]) -> str:
    """Return the catalogue of faults as a page in Markdown."""
    return "\n".join([FAULTS_INTRODUCTION, *map(_fault, faults)])


def _fault(fault: Fault) -> str:
    signs = "\n".join(map(_sign, fault.signs))
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(fault.diagnosis, 1))
    alert = f"Alert: `{fault.alert}`." if fault.alert else f"Alert: none. {fault.no_alert}"
    return "\n".join(
        [
            f"## {fault.name}\n",
            f"{fault.summary} Level {fault.level}. To be named: `{fault.service} {fault.cause}`.\n",
            f"{signs}\n{alert}\n\nDiagnosis:\n\n{steps}\n\nCure: {fault.cure}\n",
        ]
    )


def _sign(sign: Sign) -> str:
    ranges = f"Healthy: {_range(sign.healthy)}. Broken: {_range(sign.broken)}."
    if sign.prometheus:
        query = textwrap.fill(sign.prometheus, 100, break_on_hyphens=False, break_long_words=False)
        return f"```text\n{query}\n```\n\n{ranges}\n"
    if sign.jaeger:
        spans = f"{sign.jaeger['service']}'s spans"
        if "operation" in sign.jaeger:
            spans += f" `{sign.jaeger['operation']}`"
        what = MEASURES.get(sign.jaeger["measure"], f"the mean of their `{sign.jaeger['measure']}`")
        return f"Of {spans}: {what}. {ranges}\n"
    return f"Whether {sign.answers.capitalize()} answers: 1 or 0. {ranges}\n"


def _range(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def measurements(folder: Path) -> list[tuple[Report, str]]:
    """Return each report in a folder, and what the module that made it says of itself."""
    files = {file.stem: file for file in sorted(folder.glob("*.json"))}
    order = [name for name in NAMES if name in files]
    return [(load(files[name]), _docstring(name)) for name in dict.fromkeys([*order, *files])]


def _docstring(benchmark: str) -> str:
    # Not by an import: what a benchmark needs to run, these documents do without.
    module = DOCS.parent / "bench" / f"{benchmark}.py"
    return ast.get_docstring(ast.parse(module.read_text())) or ""


def measurements_page(found: Iterable[tuple[Report, str]]) -> str:
    """Return reports, each with what is to be said about it, as a page in Markdown."""
    return "\n".join([MEASUREMENTS_INTRODUCTION, *(_report(report, text) for report, text in found)])


def _report(report: Report, text: str) -> str:
    # The last paragraph of a program with a command line is for those who run it.
    meaning = text.partition("\n\nExit codes:")[0]
    on = report.machine
    machine = (
        f"{on['processor']}, {on['cores']} cores, {on['memory_gb']} GB, {on['system']}, Python {on['python']}"
    )
    picture = RESULTS / f"{report.name}.svg"
    shown = [f"![{report.title}](../bench/results/{picture.name})"] if picture.exists() else []
    goals = "\n".join(f"- {'met' if goal.met else 'missed'}: {goal_text(goal)}" for goal in report.goals)
    paragraphs = [
        *(f"## {report.title}", meaning, f"Measured on {report.date}: {machine}. {report.how}"),
        *(_table(report), *report.notes, *shown, *([f"Goals:\n\n{goals}"] if goals else [])),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _table(report: Report) -> str:
    headings = [heading for heading, _ in report.columns.values()]
    rule = ["---" if report.is_text(key) else "--:" for key in report.columns]
    lines = [headings, rule, *map(report.cells, report.rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _names(usual: Sequence[str], optional: Sequence[str]) -> str:
    names = [f"`{name}`" for name in usual] + [f"[`{name}`]" for name in optional]
    return ", ".join(names) or "none"


def _entry(title: str, *paragraphs: str) -> str:
    wrapped = (textwrap.fill(text, 110, break_on_hyphens=False) for text in paragraphs)
    return "\n\n".join([f"### {title}", *wrapped]) + "\n"


def digest_comment(diagram: bytes) -> str:
    """Return the comment by which a picture tells the source that it was made from."""
    digest = hashlib.sha256(diagram).hexdigest()
    return f"<!-- Made by `make docs` from architecture.dot, SHA-256 {digest} -->"


def picture(diagram: bytes) -> str:
    """Return a diagram in Graphviz's language as SVG.

    Raises `OSError` if there is no Graphviz, `subprocess.CalledProcessError` if it refuses the diagram.
    """
    svg = subprocess.run(["dot", "-Tsvg"], input=diagram, stdout=subprocess.PIPE, check=True).stdout.decode()
    return svg.replace("<svg ", f"{digest_comment(diagram)}\n<svg ", 1)


def main() -> int:
    """Write all of it; return 1 if there is no Graphviz, or if it refuses the diagram."""
    TELEMETRY.write_text(telemetry_page(yaml.safe_load(CONTRACT.read_text())))
    FAULTS.write_text(faults_page(catalogue.faults().values()))
    MEASUREMENTS.write_text(measurements_page(measurements(RESULTS)))
    try:
        PICTURE.write_text(picture(DIAGRAM.read_bytes()))
    except FileNotFoundError:
        print("no `dot` on PATH: install Graphviz to make docs/architecture.svg", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError:  # dot has said what is wrong
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
