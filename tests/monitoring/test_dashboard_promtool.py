"""What the dashboard asks, answered by Prometheus itself: every expression parses, the clever ones are right."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from deploy.grafana.expressions import asked

PROMTOOL = shutil.which("promtool")
pytestmark = [pytest.mark.peers, pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")]
EXPRESSIONS = dict(asked())

UP_A, UP_B, UP_EDGE = (
    f'up{{job="cdnlab", tier="{tier}", node="{node}"}}'
    for tier, node in (("lb", "lb-a"), ("lb", "lb-b"), ("edge", "edge-icn"))
)
HOLDS_A, HOLDS_B = (f'cdnlab_lb_vip_active{{vip="main", node="{node}"}}' for node in ("lb-a", "lb-b"))
ONE, TWO, NOBODY = (
    {HOLDS_A: "1x9", HOLDS_B: "0x9"},
    {HOLDS_A: "1x9", HOLDS_B: "1x9"},
    {HOLDS_A: "0x9", HOLDS_B: "0x9"},
)
RETRIES = 'cdnlab_pool_retries_total{{node="lb-a", pool="edges", reason="{}"}}'


def failover(node: str, **states: str) -> dict[str, str]:
    """A balancer's three series of its failover state."""
    return {
        f'cdnlab_lb_failover_state{{vip="main", node="{node}", state="{s}"}}': v for s, v in states.items()
    }


class Case(NamedTuple):
    """What Prometheus holds (steps of 5 s), and what a panel shows of it after `at`: legend's labels to value."""

    name: str
    where: str
    series: dict[str, str]
    shown: dict[str, float]
    at: str = "40s"


CASES = [
    Case("one holds it", "panel Active balancer A", ONE, {'{node="lb-a", vip="main"}': 1}),
    Case("two hold it", "panel Active balancer A", TWO, {f'{{node="{n}", vip="main"}}': 2 for n in ("lb-a", "lb-b")}),
    Case("nobody holds it", "panel Active balancer A", NOBODY, {'{node="nobody"}': 0}),
    Case("no balancer answers", "panel Active balancer A", {UP_A: "0x9"}, {'{node="nobody"}': 0}),
    Case(
        # of two: a mean of three depends in its last digit on the order in which Prometheus happens to add
        "one of two is missing", "panel Nodes up A", {UP_A: "0x9", UP_EDGE: "1x9"},
        {'{all="2", up="1"}': 0.5},
    ),
    Case("all are there", "panel Nodes up A", {UP_A: "1x9", UP_B: "1x9"}, {'{all="2", up="2"}': 1}),
    Case("no alert", "panel Alerts A", {UP_A: "1x9"}, {'{alert="none"}': 0}),
    Case(
        "two alerts of a kind, one pending", "panel Alerts A",
        {
            'ALERTS{alertname="CdnlabNodeDown", alertstate="firing", node="lb-a"}': "1x9",
            'ALERTS{alertname="CdnlabNodeDown", alertstate="firing", node="lb-b"}': "1x9",
            'ALERTS{alertname="CdnlabStoreLost", alertstate="pending"}': "1x9",
            'ALERTS{alertname="Somebody else\'s", alertstate="firing"}': "1x9",
        },
        {'{alert="NodeDown"}': 2},
    ),
    Case(
        "active and backup", "panel Failover A",
        failover("lb-a", initialize="0x9", backup="0x9", active="1x9")
        | failover("lb-b", initialize="0x9", backup="1x9", active="0x9")
        | {UP_A: "1x9", UP_B: "1x9"},
        {'{node="lb-a"}': 2, '{node="lb-b"}': 1},
    ),
    Case(
        "initialize, and one that is dead", "panel Failover A",
        failover("lb-a", initialize="1x9", backup="0x9", active="0x9") | {UP_A: "1x9", UP_B: "0x9", UP_EDGE: "0x9"},
        {'{node="lb-a"}': 0, '{node="lb-b"}': -1},
    ),
    Case(
        "ready, draining, dead", "panel Nodes A",
        {
            'cdnlab_node_ready{job="cdnlab", tier="lb", node="lb-a"}': "1x9",
            'cdnlab_node_ready{job="cdnlab", tier="lb", node="lb-b"}': "0x9",
            UP_A: "1x9", UP_B: "1x9", UP_EDGE: "0x9",
        },
        {'{node="lb-a"}': 2, '{node="lb-b"}': 1, '{node="edge-icn"}': 0},
    ),
    Case(
        "balancers that disagree", "panel Backends A",
        {
            f'cdnlab_pool_backend_up{{tier="lb", node="{node}", pool="edges", backend="{backend}"}}': value
            for node, backend, value in (
                ("lb-a", "edge-icn", "1x9"), ("lb-b", "edge-icn", "0x9"), ("lb-a", "edge-fra", "1x9"),
                ("lb-b", "edge-fra", "1x9"),
            )
        },
        {'{backend="edge-icn", tier="lb"}': 0.5, '{backend="edge-fra", tier="lb"}': 1},
    ),
    Case(
        "nothing was retried", "panel Retries A", {RETRIES.format("connect"): "0x20", RETRIES.format("cut"): "7x20"},
        {'{reason="none"}': 0}, "90s",
    ),
    Case(
        "one reason of two", "panel Retries A", {RETRIES.format("connect"): "0+10x20", RETRIES.format("cut"): "7x20"},
        {'{reason="connect"}': 2}, "90s",
    ),
    Case(
        "a store that only one node reaches", "panel Store A",
        {'cdnlab_store_up{node="lb-a"}': "1x9", 'cdnlab_store_up{node="lb-b"}': "0x9"}, {"{}": 0.5},
    ),
    Case(
        "a ratio without requests is left out", "panel Hit ratio by place of the clients A",
        {
            'client_place:edge_hit_ratio_requests:rate1m{client_place="icn"}': "0.5x9",
            'client_place:edge_hit_ratio_requests:rate1m{client_place="fra"}': " ".join(["NaN"] * 10),
            'client_place:edge_hit_ratio_requests:rate1m{client_place="gru"}': "0x9",
        },
        {
            'client_place:edge_hit_ratio_requests:rate1m{client_place="icn"}': 0.5,
            'client_place:edge_hit_ratio_requests:rate1m{client_place="gru"}': 0,
        },
    ),
    Case(
        "an offload below zero is shown", "panel Origin offload B", {"cdnlab:origin_offload_bytes:rate1m": "-3x9"},
        {"cdnlab:origin_offload_bytes:rate1m{}": -3},
    ),
    Case(
        "a takeover is marked once it has happened", "annotation Takeovers", {HOLDS_A: "1x4 0x9", HOLDS_B: "0x6 1x9"},
        {f"{HOLDS_B}": 1}, "40s",
    ),
    Case(
        "and no longer ten seconds after", "annotation Takeovers", {HOLDS_A: "1x4 0x9", HOLDS_B: "0x6 1x9"}, {}, "50s",
    ),
    Case("a first holder is marked too", "annotation Takeovers", {HOLDS_A: "_x7 1x9"}, {HOLDS_A: 1}, "40s"),
]  # fmt: skip


def promtool(*words: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_reads_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"asked:number{n}", "expr": text} for n, text in enumerate(EXPRESSIONS.values())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


@pytest.mark.parametrize("case", CASES, ids=[f"{case.where}: {case.name}" for case in CASES])
def test_a_panel_shows(case: Case, tmp_path: Path) -> None:
    asked_for = {
        "expr": EXPRESSIONS[case.where],
        "eval_time": case.at,
        "exp_samples": [{"labels": labels, "value": value} for labels, value in case.shown.items()],
    }
    held = {
        "interval": "5s",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "promql_expr_test": [asked_for],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"evaluation_interval": "5s", "tests": [held]}))
    promtool("test", "rules", str(file))


TILES = [where for where in EXPRESSIONS if where.startswith("panel ")][:8]


@pytest.mark.parametrize("where", TILES)
def test_a_tile_says_that_there_is_nothing_once_nobody_answers(where: str, tmp_path: Path) -> None:
    """Its last value would stand there otherwise, for as long as the graph is."""
    series = [
        (UP_A, "1x4 0x90"),
        (UP_B, "1x4 0x90"),
        (HOLDS_A, "1x4 stale"),
        ('tier:requests:rate1m{tier="lb"}', "100x4 stale"),
        ('tier:error_ratio:rate1m{tier="lb"}', "0.5x4 stale"),
        ("cdnlab:edge_hit_ratio_requests:rate1m", "0.5x4 stale"),
        ('tier:request_duration_seconds:p99_rate1m{tier="lb"}', "0.5x4 stale"),
        ('cdnlab_store_up{node="lb-a"}', "1x4 stale"),
    ]
    held = {
        "interval": "5s",
        "input_series": [{"series": name, "values": values} for name, values in series],
        "promql_expr_test": [
            {
                "expr": f"count({EXPRESSIONS[where]})",
                "eval_time": "2m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"evaluation_interval": "5s", "tests": [held]}))
    promtool("test", "rules", str(file))
