"""What the panels and dashboards of the lab have in common.

A panel shows one thing, and its description says what a healthy picture is. Its data source is the one that
the variable `datasource` names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import common, heatmap, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

# As often as Prometheus scrapes: between two scrapes nothing new can be seen.
MIN_STEP = "2s"
# Of every rate, as in the recording rules, so that panels and rules show the same numbers. A graph of many
# hours steps over some of the data, but each of its points stays right.
WINDOW = "30s"
TAG = "dockercoins"
# On the console's usual port; a dashboard cannot know another one.
LABS = "http://localhost:8010/labs/"
# What a panel says that is empty because nothing makes metrics of spans.
NEEDS_COLLECTOR = (
    "Needs the Collector, which is not there. Without Docker, `make tools` builds it for the next `make up`."
)
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

# Units as Grafana names them.
SECONDS = "s"
FRACTION = "percentunit"
REQUESTS_PER_SECOND = "reqps"
COUNT = "short"
BYTES = "bytes"
HASHES_PER_SECOND = "suffix: hashes/s"
SPANS_PER_SECOND = "suffix: spans/s"
ERRORS_PER_SECOND = "suffix: errors/s"

Panel = timeseries.Panel | stat.Panel | heatmap.Panel
AnyPanel = TypeVar("AnyPanel", timeseries.Panel, stat.Panel, heatmap.Panel)


@dataclass(frozen=True)
class Query:
    """One PromQL expression, and the name of its series, in which `{{label}}` stands for a label's value.

    With `exemplars`, measurements appear as dots, each of which opens its trace.
    """

    expression: str
    legend: str
    exemplars: bool = False


@dataclass(frozen=True)
class Row:
    """A row of panels below a title of its own."""

    title: str
    panels: Sequence[Panel]


def sum_rate(metric: str, labels: str = "", *, by: str = "") -> str:
    """Return the PromQL for the sum of the increase per second of counters, for each value of `by`."""
    selector = f"{metric}{{{labels}}}" if labels else metric
    return f"sum by ({by}) (rate({selector}[{WINDOW}]))" if by else f"sum(rate({selector}[{WINDOW}]))"


def quantile(q: float, metric: str, labels: str = "", *, by: str = "") -> str:
    """Return the PromQL for a quantile of a histogram, for each value of the labels `by`."""
    buckets = sum_rate(f"{metric}_bucket", labels, by=f"{by}, le" if by else "le")
    return f"histogram_quantile({q}, {buckets})"


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 12,
    stacked: bool = False,
    empty: str = "",
) -> timeseries.Panel:
    """Return a graph over time; `empty` is the reason why it may have no data, if there is one.

    That is either that all is well, or `NEEDS_COLLECTOR`.
    """
    panel = _with_queries(timeseries.Panel(), queries).title(title).description(description).unit(unit)
    panel = panel.datasource(SOURCE).interval(MIN_STEP).height(8).span(width)
    panel = (
        panel.line_width(2).fill_opacity(60 if stacked else 8).show_points(common_models.VisibilityMode.NEVER)
    )
    panel = panel.axis_soft_min(0)
    legend = common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM)
    panel = panel.legend(legend.display_mode(common_models.LegendDisplayMode.LIST).calcs(["lastNotNull"]))
    panel = panel.tooltip(
        common.VizTooltipOptions()
        .mode(common_models.TooltipDisplayMode.MULTI)
        .sort(common_models.SortOrder.DESCENDING)
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    return panel.no_value(empty) if empty else panel


def number(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    decimals: int = 2,
    width: int = 6,
) -> stat.Panel:
    """Return the latest value as a number, above a small graph of its past."""
    panel = _with_queries(stat.Panel(), queries).title(title).description(description).unit(unit)
    panel = panel.datasource(SOURCE).interval(MIN_STEP).height(5).span(width).decimals(decimals)
    panel = panel.graph_mode(common_models.BigValueGraphMode.AREA)
    panel = panel.color_mode(common_models.BigValueColorMode.NONE)
    return panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))


def heat_map(title: str, description: str, metric: str, labels: str, *, width: int = 12) -> heatmap.Panel:
    """Return how often each latency of a histogram occurs over time, with exemplars."""
    expression = sum_rate(f"{metric}_bucket", labels, by="le")
    target = _query("A", Query(expression, "{{le}}", exemplars=True)).format(PromQueryFormat.HEATMAP)
    panel = heatmap.Panel().with_target(target).title(title).description(description)
    panel = panel.datasource(SOURCE).interval(MIN_STEP).height(9).span(width).unit(REQUESTS_PER_SECOND)
    panel = panel.calculate(False).filter_values(heatmap.FilterValueRange().le(1e-9))
    panel = panel.color(
        heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64).exponent(0.5)
    )
    return panel.y_axis(heatmap.YAxisConfig().unit(SECONDS))


def service_variable(expression: str, description: str) -> builders.QueryVariable:
    """Return a choice of services, all of them at first: the variable `service`."""
    variable = builders.QueryVariable("service").label("Service").description(description)
    variable = variable.query(expression).datasource(SOURCE)
    variable = variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    variable = (
        variable.sort(models.VariableSort.ALPHABETICAL_ASC).multi(True).include_all(True).all_value(".+")
    )
    return variable.current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))


def dashboard(
    name: str,
    title: str,
    description: str,
    *rows: Row,
    variables: Sequence[Builder[models.VariableModel]] = (),
) -> models.Dashboard:
    """Return a dashboard of the lab, whose uid is `dockercoins-` and its name."""
    result = builders.Dashboard(title).uid(f"dockercoins-{name}").description(description).tags([TAG])
    result = result.time("now-5m", "now").refresh("5s").tooltip(models.DashboardCursorSync.CROSSHAIR)
    result = result.link(
        builders.DashboardLink("Dashboards of this lab")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .keep_time(True)
        .include_vars(False)
        .icon("external link")
        .tooltip("")
        .target_blank(False)
    )
    result = result.link(
        builders.DashboardLink("Labs")
        .type(models.DashboardLinkType.LINK)
        .url(LABS)
        .icon("external link")
        .tooltip("Pages of the console: `workshop console` serves them")
        .as_dropdown(False)
        .keep_time(False)
        .include_vars(False)
        .target_blank(True)
    )
    result = result.with_variable(
        builders.DatasourceVariable("datasource")
        .label("Prometheus")
        .description("Where the metrics come from.")
        .type("prometheus")
    )
    for variable in variables:
        result = result.with_variable(variable)
    number_of_panels = 0
    for row in rows:
        number_of_panels += 1
        result = result.with_row(builders.Row(row.title).id(number_of_panels))
        for panel in row.panels:
            number_of_panels += 1
            result = result.with_panel(panel.id(number_of_panels))
    return result.build()


def _with_queries(panel: AnyPanel, queries: Sequence[Query]) -> AnyPanel:
    for letter, query in zip("ABCDEFGHIJ", queries, strict=False):
        panel = panel.with_target(_query(letter, query))
    return panel


def _query(letter: str, query: Query) -> prometheus_builders.Dataquery:
    target = prometheus_builders.Dataquery().ref_id(letter).datasource(SOURCE).expr(query.expression)
    return target.range().legend_format(query.legend).exemplar(query.exemplars)
