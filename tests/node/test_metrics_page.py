"""docs/metrics.md names each metric that any tier declares, and each declaration follows the rules."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from cdnlab.node.metrics import MetricSpec, problems, undocumented

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
TABLES = (
    ("cdnlab.node.node", "NODE_METRICS"),
    ("cdnlab.node.store", "STORE_METRICS"),
    ("cdnlab.node.replica_metrics", "REPLICA_METRICS"),
    ("cdnlab.forward.metrics", "TABLE"),
    ("cdnlab.forward.pins", "PIN_METRICS"),
    ("lb.stats", "TABLE"),
    ("lb.traffic", "TABLE"),
    ("lb.flow_replica", "FLOW_METRICS"),
    ("lb.l4_stats", "TABLE"),
    ("lb.udp_stats", "UDP_METRICS"),
    ("edge.stats", "TABLE"),
    ("origin.metrics", "ORIGIN_METRICS"),
)


def table(module: str, name: str) -> tuple[MetricSpec, ...]:
    found: tuple[MetricSpec, ...] = getattr(import_module(module), name)
    return found


@pytest.mark.parametrize(("module", "name"), TABLES)
def test_a_table_follows_the_rules_and_is_documented(module: str, name: str) -> None:
    declared = table(module, name)
    assert problems(declared) == []
    assert undocumented(declared, PAGE.read_text()) == []


@pytest.mark.parametrize(("module", "name"), TABLES)
def test_a_table_holds_every_metric_of_its_module(module: str, name: str) -> None:
    made = {value for value in vars(import_module(module)).values() if isinstance(value, MetricSpec)}
    assert made <= set(table(module, name))


def test_no_name_is_used_twice() -> None:
    assert problems([spec for row in TABLES for spec in table(*row)]) == []


def test_the_page_names_nothing_that_nobody_declares() -> None:
    declared = {spec.name for row in TABLES for spec in table(*row)}
    rows = [line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `cdnlab_")]
    assert sorted(rows) == sorted(declared)
