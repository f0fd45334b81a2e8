"""The dashboard that ships: made from its source, whole, and asking only for what exists.

No Grafana takes part: the file is held to what Grafana does with it, and to the repository's own pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana import dashboard
from deploy.grafana.expressions import FILE, asked, filled, load, panels, raw, variables
from tests.support.labs import ROOT

BOARD = load()
PANELS = panels(BOARD)
TITLES = [panel["title"] for panel in PANELS]
#: Labels that the scrape sets on every series of a target, and what a histogram's buckets bear besides.
TARGET = {"job", "instance", "node", "tier", "place"}
#: Words that stand before a parenthesis or between series and are no metrics.
WORDS = set(re.findall(r"\w+", """
    sum avg min max count count_values rate increase histogram_quantile label_replace vector scalar by without on
    ignoring group_left group_right or and unless offset bool Inf NaN
"""))  # fmt: skip
LEVELS = ("tier_client_place_le", "tier_client_place", "client_place", "node", "tier", "cdnlab")


def documented() -> dict[str, set[str]]:
    """Every metric of docs/metrics.md with its own labels; histograms under the names of their series."""
    found: dict[str, set[str]] = {
        "up": set(),
        "ALERTS": {"alertname", "alertstate", "severity", "vip"},
        "process_cpu_seconds_total": set(),
        "process_resident_memory_bytes": set(),
    }
    page = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(cdnlab_\w+)` \| (\w+) \|([^|]*)\|", page, re.MULTILINE)
    for name, kind, labels in rows:
        own = {label.strip() for label in labels.split(",")} - {""}
        if kind == "histogram":
            found |= {f"{name}_sum": own, f"{name}_count": own, f"{name}_bucket": own | {"le"}}
        else:
            found[name] = own
    return found


def recorded() -> dict[str, set[str]]:
    """Every recording rule that ships, with the labels that its level names."""
    found: dict[str, set[str]] = {}
    for file in sorted((ROOT / "cdnlab/lab/monitoring").glob("*.yml")):
        for group in yaml.safe_load(file.read_text()).get("groups", []):
            for rule in group["rules"]:
                if "record" in rule:
                    level = rule["record"].split(":")[0]
                    assert level in LEVELS
                    names = {"client_place"} if "client_place" in level else set()
                    found[rule["record"]] = names | {
                        word for word in ("tier", "node", "le") if word in level.split("_")
                    }
    return found


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression names: what is left of its words without strings, labels and functions."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    return set(re.findall(r"(?<![\w:.$])[A-Za-z_][\w:]*", bare)) - WORDS - {"s", "m", "10s"}


def labels_of(expression: str) -> Iterator[tuple[str, str]]:
    """(metric or "", label) of every matcher, and of every grouping under ""."""
    for name, inside in re.findall(r"([A-Za-z_][\w:]*)\{([^}]*)\}", expression):
        yield from (
            (name, label) for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', inside))
        )
    for inside in re.findall(r"\b(?:by|on|group_left)\s*\(([^)]*)\)", expression):
        yield from (("", label.strip()) for label in inside.split(",") if label.strip())


def legend_labels(panel: dict[str, Any]) -> list[tuple[str, str]]:
    """(label in a legend, expression) of a panel."""
    return [
        (label, target["expr"])
        for target in panel["targets"]
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
    ]


def test_the_file_is_what_the_source_makes() -> None:
    assert FILE.read_text() == dashboard.render(), (
        f"run `{dashboard.COMMAND}` and commit {FILE.relative_to(ROOT)}"
    )


def test_the_docstring_names_the_command() -> None:
    assert dashboard.COMMAND in (dashboard.__doc__ or "")
    assert dashboard.COMMAND in BOARD["description"]


def test_ids_and_titles_are_unique() -> None:
    assert len({each["id"] for each in BOARD["panels"]}) == len(BOARD["panels"])
    assert sorted(set(TITLES)) == sorted(TITLES)
    assert 0 not in {each["id"] for each in BOARD["panels"]}


def test_no_panel_covers_another() -> None:
    areas = [each["gridPos"] for each in BOARD["panels"]]
    assert [area for area in areas if area["x"] < 0 or area["x"] + area["w"] > 24 or area["h"] < 1] == []
    for one, other in combinations(areas, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


def test_every_row_is_full_from_left_to_right() -> None:
    widths: dict[int, int] = {}
    for each in BOARD["panels"]:
        widths[each["gridPos"]["y"]] = widths.get(each["gridPos"]["y"], 0) + each["gridPos"]["w"]
    assert set(widths.values()) == {24}


@pytest.mark.parametrize("panel", PANELS, ids=TITLES)
def test_a_panel_says_what_it_is(panel: dict[str, Any]) -> None:
    assert re.fullmatch(r".+\n\n\*\*Worry\*\* .+\n\n\*\*Then\*\* .+", panel["description"])
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"]
    assert defaults["noValue"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
    assert [target["datasource"] for target in panel["targets"]] == [panel["datasource"]] * len(
        panel["targets"]
    )
    letters = [target["refId"] for target in panel["targets"]]
    assert letters == list("ABCDEFGH")[: len(letters)]
    steps = defaults["thresholds"]["steps"]
    assert steps[0].get("value") is None
    assert [step["value"] for step in steps[1:]] == sorted(step["value"] for step in steps[1:])
    if panel["type"] in ("stat", "bargauge"):
        assert defaults["color"]["mode"] == "thresholds"
        assert "null+nan" in {mapping["options"].get("match") for mapping in defaults["mappings"]}
    if defaults["unit"] == "percentunit" and "Loop" not in panel["title"] and panel["type"] != "stat":
        assert defaults["max"] == 1


def test_what_a_description_points_at_is_there() -> None:
    pointed = {
        name
        for panel in PANELS
        for name in re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", panel["description"])
    }
    elsewhere = {"Backends passed over"}  # in `cdnlab status`
    assert pointed - set(TITLES) - elsewhere - {"Alerts", "Health and failover"} == set()


@pytest.mark.parametrize("where, expression", list(raw(BOARD)), ids=[where for where, _ in raw(BOARD)])
def test_an_expression_names_only_what_exists(where: str, expression: str) -> None:
    known = documented() | recorded()
    metrics = metrics_of(filled(expression))
    assert metrics, expression
    assert metrics - set(known) == set()
    made = set(re.findall(r'count_values\("(\w+)"|label_replace\(.*?, "(\w+)", "', expression))
    invented = {name for pair in made for name in pair if name}
    for metric, label in labels_of(expression):
        owners = [metric] if metric else metrics
        allowed = {label for owner in owners for label in known[owner]} | invented
        plain = {owner for owner in owners if ":" not in owner}
        assert label in allowed | (TARGET if plain else set()), f"{where}: {metric or metrics} has no {label}"


@pytest.mark.parametrize("panel", PANELS, ids=TITLES)
def test_a_legend_names_only_labels_that_are_left(panel: dict[str, Any]) -> None:
    for label, expression in legend_labels(panel):
        grouped = re.search(rf"\bby \([^)]*\b{label}\b[^)]*\)", expression)
        made = f'"{label}"' in expression
        whole = not re.search(r"\b(sum|avg|max|min)( by)? \(", expression)
        assert grouped or made or whole, f"{label} is not in the answer of {expression}"


def test_variables_are_declared_and_used() -> None:
    declared = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    used = set().union(*(variables(expression) for _, expression in raw(BOARD)))
    assert used == set(declared) == {"tier", "node", "client_place"}
    for variable in declared.values():
        assert variable["multi"]
        assert variable["includeAll"]
        assert variable["allValue"] == ".*"
        assert variable["current"]["value"] == ["$__all"]
        assert variable["datasource"] == {"type": "prometheus", "uid": "prometheus"}


def test_a_variable_stands_in_a_regular_expression() -> None:
    """Several chosen values become `(a|b)`, which `=` would take by the letter."""
    for where, expression in raw(BOARD):
        assert len(re.findall(r'=~"\$\w+"', expression)) == len(re.findall(r"\$[a-z]\w*", expression)), where


def test_the_first_row_shows_the_whole_lab_whatever_is_chosen() -> None:
    assert [
        panel["title"] for panel in PANELS[:8] if any(variables(t["expr"]) for t in panel["targets"])
    ] == []
    assert {panel["type"] for panel in PANELS[:8]} == {"stat"}


def test_what_is_asked_has_no_variable_left() -> None:
    assert len(asked()) == sum(len(panel["targets"]) for panel in PANELS) + 3 + 2
    assert [where for where, expression in asked() if variables(expression)] == []


def test_one_name_has_one_colour_everywhere() -> None:
    """A place, tier or result that changes its colour between two graphs is read wrongly."""
    colors: dict[str, set[str]] = {}
    for panel in PANELS:
        for override in panel["fieldConfig"]["overrides"]:
            for each in override["properties"]:
                if each["id"] == "color":
                    colors.setdefault(override["matcher"]["options"], set()).add(each["value"]["fixedColor"])
    assert {name: found for name, found in colors.items() if len(found) > 1} == {}
    assert any("icn" in name for name in colors)


def test_provisioning_is_what_the_dashboard_expects() -> None:
    folder = ROOT / "deploy/grafana/provisioning"
    [source] = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    assert {"type": source["type"], "uid": source["uid"]} == PANELS[0]["datasource"]
    assert source["isDefault"] is True
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["global"][
        "scrape_interval"
    ]
    assert source["jsonData"]["timeInterval"] == scraped
    [provider] = yaml.safe_load((folder / "dashboards/cdnlab.yml").read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"


def test_compose_mounts_what_is_provisioned_and_opens_it_first() -> None:
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    mounts = {
        inside: ROOT / outside for outside, inside, _ in (each.split(":") for each in grafana["volumes"])
    }
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert mounts[str(home.parent)] / home.name == FILE
    assert mounts["/etc/grafana/provisioning"] == ROOT / "deploy/grafana/provisioning"


def test_the_page_names_every_row_and_panel_in_order() -> None:
    page = (ROOT / "docs/dashboard.md").read_text()
    rows = [each["title"] for each in BOARD["panels"] if each["type"] == "row"]
    assert re.findall(r"^### (.+)$", page, re.MULTILINE) == rows
    assert re.findall(r"^\| \*\*(.+?)\*\* \|", page, re.MULTILINE) == TITLES
    assert dashboard.COMMAND in page
