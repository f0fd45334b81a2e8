"""What all panels of the dashboard share: queries, thresholds, colours, and one function for each kind of panel.

Decides how things look. Must not know what is shown: that is `deploy.grafana.traffic` and `deploy.grafana.machinery`.

The builders are Grafana's own (`grafana-foundation-sdk`): a misspelt option or a colour mode that does not exist is an
error of mypy, where a dictionary would be an option that Grafana ignores in silence. They also place the panels and
know the version of the schema. The package is needed only to make the JSON, never to run anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
)
from grafana_foundation_sdk.builders import timeseries as graphs
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = words.DataSourceRef(type_val="prometheus", uid="prometheus")
"""The provisioned data source: deploy/grafana/provisioning/datasources/prometheus.yml."""

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "#EAB839", "orange", "red", "blue", "#8E8E8E"
IDLE = "nothing in the last minute for what is chosen above"

TIERS = {"lb": "#5794F2", "edge": "#73BF69", "origin": "#FF9830"}
PLACES = {
    "icn": "#5794F2", "nrt": "#8AB8FF", "sin": "#37872D", "bom": "#96D98D", "fra": "#F2CC0C", "lhr": "#FFEE52",
    "cdg": "#B877D9", "iad": "#F2495C", "sjc": "#FF9830", "gru": "#E02F44", "syd": "#CA95E5", "jnb": "#C4162A",
    "other": GREY,
}  # fmt: skip
RESULTS = {
    "hit": "#73BF69", "revalidated": "#96D98D", "collapsed": "#8AB8FF", "miss": "#F2CC0C", "pass": "#5794F2",
    "refused": "#B877D9", "error": "#F2495C",
}  # fmt: skip
OUTCOMES = {
    "ok": "#73BF69", "tunnel": "#8AB8FF", "refused": "#B877D9", "client_gone": GREY, "server_error": "#F2495C",
    "no_backend": "#C4162A", "unreachable": "#FF9830", "timeout": "#FF780A", "cut": "#FA6400",
}  # fmt: skip
ANSWERS = {
    "1xx": "#B877D9", "2xx": "#73BF69", "304": "#96D98D", "3xx": "#5794F2", "4xx": "#F2CC0C", "5xx": "#F2495C",
    "none": "#C4162A",
}  # fmt: skip
QUANTILES = {"p50": (1, "dot"), "p95": (1, "solid"), "p99": (3, "solid")}
"""How each quantile's line is drawn: width and dash. Its colour says the tier."""

AnyPanel = TypeVar("AnyPanel", stat.Panel, graphs.Panel, statetimeline.Panel, heatmap.Panel, bargauge.Panel)
Steps = Sequence[tuple[float | None, str]]
"""Thresholds: from which value on (None: the lowest), which colour."""
PLAIN: Steps = ((None, GREEN),)


class Query(NamedTuple):
    """PromQL and what its series are called; `instant` asks for now only, `cells` for a heatmap's buckets."""

    expression: str
    legend: str = ""
    instant: bool = False
    cells: bool = False

    def build(self, letter: str) -> prometheus.Dataquery:
        """The query as Grafana's builder; `letter` is its name within the panel."""
        asked = prometheus.Dataquery().ref_id(letter).datasource(PROMETHEUS).expr(self.expression)
        asked = asked.instant() if self.instant else asked.range()
        if self.cells:
            asked = asked.format(PromQueryFormat.HEATMAP)
        return asked.legend_format(self.legend or "__auto")


class Note(NamedTuple):
    """What a panel says about itself. `idle` stands where it has nothing to show."""

    title: str
    shows: str
    worry: str
    do: str
    idle: str = IDLE

    def description(self) -> str:
        """The text behind the panel's (i), in Markdown."""
        return f"{self.shows}\n\n**Worry** {self.worry}\n\n**Then** {self.do}"


def result(text: str, color: str, index: int = 0) -> model.ValueMappingResult:
    """How a value is shown; `index` orders the legend."""
    return model.ValueMappingResult(text=text, color=color, index=index)


def nothing() -> model.SpecialValueMap:
    """A ratio of nothing is no failure: a dash, in grey."""
    return model.SpecialValueMap(
        options=model.DashboardSpecialValueMapOptions(
            match=model.SpecialValueMatch.NULL_AND_NAN, result=result("–", GREY, 9)
        )
    )


def named(values: Mapping[int, tuple[str, str]]) -> model.ValueMap:
    """Numbers that mean states: each one's word and colour."""
    return model.ValueMap(
        options={str(value): result(*word, index) for index, (value, word) in enumerate(values.items())}
    )


def between(low: float, high: float, text: str, color: str) -> model.RangeMap:
    """All values from `low` to `high` as one word."""
    return model.RangeMap(
        options=model.DashboardRangeMapOptions(from_val=low, to=high, result=result(text, color, 5))
    )


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Absolute thresholds, lowest first."""
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=color) for value, color in steps])
    )


def colored(mode: model.FieldColorModeId) -> dashboard.FieldColor:
    """How colours are chosen, where no override does."""
    return dashboard.FieldColor().mode(mode)


def _described(
    panel: AnyPanel, note: Note, unit: str, queries: Sequence[Query], span: int, height: int
) -> AnyPanel:
    panel.title(note.title).description(note.description()).datasource(PROMETHEUS)
    panel.unit(unit).no_value(note.idle).span(span).height(height)
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        panel.with_target(query.build(letter))
    return panel


def tile(
    note: Note,
    unit: str,
    query: Query,
    steps: Steps,
    *,
    text: words.BigValueTextMode = words.BigValueTextMode.VALUE,
    values: Sequence[model.ValueMapping] = (),
    spark: bool = True,
) -> stat.Panel:
    """One number, word or name on a coloured ground, of which eight fit into a row."""
    panel = _described(stat.Panel(), note._replace(idle="–"), unit, [query], 3, 4)
    panel.mappings([nothing(), *values]).thresholds(thresholds(steps))
    panel.color_scheme(colored(model.FieldColorModeId.THRESHOLDS)).color_mode(
        words.BigValueColorMode.BACKGROUND
    )
    panel.graph_mode(words.BigValueGraphMode.AREA if spark else words.BigValueGraphMode.NONE)
    panel.text_mode(text).justify_mode(words.BigValueJustifyMode.CENTER)
    # The last value even where it is NaN: what was before says nothing about now.
    return panel.reduce_options(common.ReduceDataOptions().calcs(["last"]).values(False))


def lines(
    note: Note,
    unit: str,
    *queries: Query,
    colors: Mapping[str, str] | None = None,
    span: int = 8,
    low: float | None = 0,
) -> graphs.Panel:
    """A graph over time from `low` up, with last values in its legend. `colors`: by what a series' name ends with."""
    panel = _described(graphs.Panel(), note, unit, queries, span, 8)
    panel.thresholds(thresholds(PLAIN)).color_scheme(colored(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    panel.line_width(1).fill_opacity(6).show_points(words.VisibilityMode.AUTO).span_nulls(False)
    panel.axis_soft_min(0) if low is None else panel.min(low)
    panel.tooltip(_tooltip(words.SortOrder.DESCENDING)).legend(
        common.VizLegendOptions()
        .display_mode(words.LegendDisplayMode.LIST)
        .placement(words.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["last"])
    )
    for name, color in (colors or {}).items():
        panel.override_by_regexp(
            f"/(^|[-\\s]){name}$/", [_property("color", {"mode": "fixed", "fixedColor": color})]
        )
    return panel


def stacked(
    note: Note, unit: str, query: Query, *, colors: Mapping[str, str] | None = None, span: int = 8
) -> graphs.Panel:
    """Shares of a whole over time, one upon the other."""
    panel = lines(note, unit, query, colors=colors, span=span).fill_opacity(60).line_width(0)
    return panel.stacking(_stack()).show_points(words.VisibilityMode.NEVER)


def bars(
    note: Note, unit: str, query: Query, *, colors: Mapping[str, str] | None = None, span: int = 8
) -> graphs.Panel:
    """What happens now and then: a bar where it did, and nothing where it did not."""
    return stacked(note, unit, query, colors=colors, span=span).draw_style(words.GraphDrawStyle.BARS)


def ratio(panel: graphs.Panel, steps: Steps) -> graphs.Panel:
    """A graph of shares: its axis ends at 100 %, and its thresholds are drawn."""
    style = common.GraphThresholdsStyleConfig().mode(words.GraphThresholdsStyleMode.DASHED)
    return panel.max(1).decimals(1).thresholds(thresholds(steps)).thresholds_style(style)


def quantiles(panel: graphs.Panel) -> graphs.Panel:
    """Series named `p50 lb`: the width and dash of each line say the quantile."""
    for name, (width, dash) in QUANTILES.items():
        style = {"fill": dash, "dash": [0, 6]} if dash == "dot" else {"fill": dash}
        panel.override_by_regexp(
            f"/^{name}/", [_property("custom.lineWidth", width), _property("custom.lineStyle", style)]
        )
    return panel.fill_opacity(0)


def states(
    note: Note, query: Query, values: Mapping[int, tuple[str, str]], *between_them: model.RangeMap
) -> statetimeline.Panel:
    """A row per series, and in it a stripe for each state that it was in."""
    panel = _described(statetimeline.Panel(), note, "none", [query], 8, 8)
    panel.mappings([named(values), *between_them]).thresholds(thresholds(((None, GREY),)))
    panel.color_scheme(colored(model.FieldColorModeId.THRESHOLDS)).tooltip(_tooltip(words.SortOrder.NONE))
    panel.show_value(words.VisibilityMode.AUTO).row_height(0.85).fill_opacity(75).line_width(0).merge_values(
        True
    )
    return panel.legend(
        common.VizLegendOptions()
        .display_mode(words.LegendDisplayMode.LIST)
        .placement(words.LegendPlacement.BOTTOM)
        .show_legend(True)
    )


def cells(note: Note, unit: str, query: Query) -> heatmap.Panel:
    """Buckets over time, darker where more fell in."""
    panel = _described(heatmap.Panel(), note, unit, [query._replace(cells=True)], 8, 8)
    panel.calculate(False).thresholds(thresholds(PLAIN)).y_axis(heatmap.YAxisConfig().unit(unit).decimals(1))
    color = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    panel.color(color).cell_values(heatmap.CellValues().unit("reqps")).filter_values(
        heatmap.FilterValueRange().le(1e-9)
    )
    return panel.mode(words.TooltipDisplayMode.SINGLE).hide_y_histogram().show_legend()


def gauges(note: Note, unit: str, query: Query, steps: Steps) -> bargauge.Panel:
    """A bar per series for the value now, between 0 and 1."""
    panel = _described(bargauge.Panel(), note, unit, [query], 8, 8).min(0).max(1)
    panel.mappings([nothing()]).thresholds(thresholds(steps))
    panel.color_scheme(colored(model.FieldColorModeId.THRESHOLDS)).orientation(
        words.VizOrientation.HORIZONTAL
    )
    panel.display_mode(words.BarGaugeDisplayMode.BASIC).show_unfilled(True)
    return panel.reduce_options(common.ReduceDataOptions().calcs(["last"]).values(False))


def now_and_then(label: str, counter: str, *, share: str = "rate") -> Query:
    """What a counter counted, by one of its labels: the series above zero. Where none is, one at zero that is called
    `none`, since an empty graph looks broken. `share`: `rate`, per second, or `increase`, in the last minute."""
    counted = f"sum by ({label}) ({share}({counter}[1m])) > 0"
    name = label.partition(",")[0]
    return Query(
        f'{counted} or on () label_replace(vector(0), "{name}", "none", "", "")',
        " ".join(f"{{{{{each.strip()}}}}}" for each in label.split(",")),
    )


def _tooltip(sort: words.SortOrder) -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(words.TooltipDisplayMode.MULTI).sort(sort)


def _stack() -> common.StackingConfig:
    return common.StackingConfig().mode(words.StackingMode.NORMAL).group("A")


def _property(name: str, value: object) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val=name, value=value)
