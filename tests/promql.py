"""Which metrics and labels a PromQL expression names, without a parser.

It knows the parts of PromQL that the lab uses. Where a Prometheus 3 runs, a live test compares it with that
one's own parser.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

STRING = r'"(?:[^"\\]|\\.)*"'
MATCHER = re.compile(rf"(\w+)\s*(?:=~|!~|!=|=)\s*({STRING})")
SELECTOR = re.compile(rf"([a-zA-Z_:][\w:]*)?\s*\{{((?:{STRING}|[^}}\"])*)\}}")
AGGREGATION = re.compile(r"\b(?:by|without)\s*\(([^)]*)\)\s*")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
KEYWORDS = {"and", "or", "unless", "bool", "offset", "Inf", "NaN"}


@dataclass
class Names:
    """The metrics of an expression, each with the labels that are matched, and all labels of groupings."""

    metrics: dict[str, set[str]] = field(default_factory=dict)
    grouping: set[str] = field(default_factory=set)


def names(expression: str) -> Names:
    """Return what an expression names."""
    found = Names()

    def take_selector(match: re.Match[str]) -> str:
        assert match[1], f"a selector without the name of a metric: {match[0]}"
        found.metrics.setdefault(match[1], set()).update(label for label, _ in MATCHER.findall(match[2]))
        return " "

    def take_grouping(match: re.Match[str]) -> str:
        found.grouping.update(re.findall(r"\w+", match[1]))
        return " "

    rest = SELECTOR.sub(take_selector, expression)
    rest = re.sub(STRING, " ", rest)
    rest = GROUPING.sub(take_grouping, rest)
    rest = re.sub(r"\[[^]]*\]", " ", rest)
    for name, parenthesis in re.findall(r"(?<![\w.:])([a-zA-Z_:][\w:]*)\s*(\(?)", rest):
        if not parenthesis and name not in KEYWORDS:
            found.metrics.setdefault(name, set())
    return found


def aggregations(expression: str) -> Iterator[tuple[set[str], set[str]]]:
    """Yield the labels of each `by` or `without`, and the metrics that are aggregated by them."""
    text = re.sub(STRING, '""', expression)
    for match in AGGREGATION.finditer(text):
        yield set(re.findall(r"\w+", match[1])), set(names(_in_parentheses(text[match.end() :])).metrics)


def _in_parentheses(text: str) -> str:
    """Return what stands in the parentheses with which a text begins."""
    assert text.startswith("("), (
        f"the labels of an aggregation stand before what is aggregated, not after: {text}"
    )
    depth = 0
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if not depth:
            return text[1:position]
    raise AssertionError(f"a parenthesis that does not end: {text}")
