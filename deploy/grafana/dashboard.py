"""The Grafana dashboard of a lab, as a program: `python -m deploy.grafana.dashboard` writes `dashboards/cdnlab.json`.

Decides the order of the rows, what can be chosen at the top, and what is marked across all graphs. The panels are in
`deploy.grafana.traffic` and `deploy.grafana.machinery`; docs/dashboard.md tells people how to read them. Change those,
run the command, commit both: a test fails while the file differs from what this makes.

Ids are numbers in the order of the panels, so a link to one panel holds until one is put in before it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana.kit import PROMETHEUS
from deploy.grafana.machinery import health_and_failover, machines, store
from deploy.grafana.traffic import hit_ratio, is_it_well, origin_offload, what_clients_wait_for

FILE = Path(__file__).parent / "dashboards" / "cdnlab.json"
COMMAND = "python -m deploy.grafana.dashboard"

TAKEOVERS = "(cdnlab_lb_vip_active == 1) unless on (node, vip) (cdnlab_lb_vip_active offset 10s == 1)"
"""For ten seconds after a balancer has taken a virtual address. A counter of changes would miss those of a process that
made its first change before the first scrape."""
FIRING = 'ALERTS{alertname=~"Cdnlab.+", alertstate="firing"}'


def rows() -> list[tuple[str, Sequence[Builder[model.Panel]]]]:
    """The rows in the order in which a person needs them."""
    return [
        ("Is it well?", is_it_well()),
        ("What clients wait for", what_clients_wait_for()),
        ("Hit ratio", hit_ratio()),
        ("Health and failover", health_and_failover()),
        ("Origin offload", origin_offload()),
        ("Store", store()),
        ("Machines", machines()),
    ]


def variable(name: str, label: str, description: str, query: str) -> dashboard.QueryVariable:
    """A choice of several, all at first."""
    everything = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    asked = dashboard.QueryVariable(name).label(label).description(description).datasource(PROMETHEUS)
    asked = asked.query({"query": query, "refId": name}).refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    asked = asked.sort(model.VariableSort.ALPHABETICAL_ASC).multi(True).include_all(True).all_value(".*")
    return asked.current(everything)


def variables() -> list[dashboard.QueryVariable]:
    """What can be chosen at the top. The first row shows the whole lab, whatever is chosen."""
    return [
        variable("tier", "Tier", "Which tiers", 'label_values(up{job="cdnlab"}, tier)'),
        variable(
            "node",
            "Node",
            "Which nodes of these tiers",
            'label_values(up{job="cdnlab", tier=~"$tier"}, node)',
        ),
        variable(
            "client_place",
            "Clients in",
            "Where they stand",
            "label_values(cdnlab_lb_requests_total, client_place)",
        ),
    ]


def mark(name: str, color: str, expression: str, title: str, text: str) -> dict[str, object]:
    """Marks across all graphs. Plain words: Grafana's builders do not know what Prometheus adds to an annotation."""
    return {
        "name": name,
        "datasource": PROMETHEUS.to_json(),
        "enable": True,
        "hide": False,
        "iconColor": color,
        "expr": expression,
        "step": "5s",
        "titleFormat": title,
        "textFormat": text,
        "tagKeys": "",
        "useValueForTime": False,
    }


def marks() -> list[dict[str, object]]:
    """Takeovers and alerts."""
    return [
        mark("Takeovers", "blue", TAKEOVERS, "{{node}} takes the virtual address", "VIP {{vip}}"),
        mark("Alerts", "red", FIRING, "{{alertname}}", "{{severity}} {{node}}"),
    ]


def build() -> dict[str, object]:
    """The dashboard as Grafana reads it, ids and all."""
    board = dashboard.Dashboard("cdnlab").uid("cdnlab").tags(["cdnlab"])
    board.description(
        f"A cdnlab lab, read from top to bottom. Made by `{COMMAND}`; docs/dashboard.md explains it."
    )
    board.time("now-15m", "now").refresh("5s").tooltip(model.DashboardCursorSync.CROSSHAIR).readonly()
    board.variables(list(variables()))
    for title, panels in rows():
        board.with_row(dashboard.Row(title))
        for panel in panels:
            board.with_panel(panel)
    link = dashboard.DashboardLink("The lab's page").type(model.DashboardLinkType.LINK).icon("external link")
    board.link(link.url("http://127.0.0.1:9100/").target_blank(True))
    made: dict[str, object] = json.loads(JSONEncoder().encode(board.build()))
    made["annotations"] = {"list": marks()}
    panels_made = made["panels"]
    assert isinstance(panels_made, list)
    for number, each in enumerate(panels_made, 1):
        each["id"] = number
    return made


def render() -> str:
    """The file's text."""
    return json.dumps(build(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(render())
    print(f"{FILE.relative_to(Path.cwd()) if FILE.is_relative_to(Path.cwd()) else FILE} written")
