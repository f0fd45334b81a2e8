"""What the dashboard asks of Prometheus: every expression of its JSON, with Grafana's variables filled in.

Reads the file that ships, so it sees what Grafana sees. Must not know how the file is made, nor a Grafana package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "dashboards" / "cdnlab.json"

_VARIABLE = re.compile(r"\$\{?([a-z_]\w*)\}?", re.IGNORECASE)
"""`$tier` or `${tier}`; never the `$1` of label_replace."""
_LABEL_VALUES = re.compile(r"label_values\((.*),\s*\w+\)")


def load() -> dict[str, Any]:
    """The dashboard that ships."""
    board: dict[str, Any] = json.loads(FILE.read_text())
    return board


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels without the rows, in the order in which they are read; those of a collapsed row too."""
    found: list[dict[str, Any]] = []
    for each in board["panels"]:
        found += each.get("panels", []) if each["type"] == "row" else [each]
    return found


def raw(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(where it stands, PromQL as written) of every panel's query, every variable and every annotation."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield f"panel {panel['title']} {target['refId']}", target["expr"]
    for variable in board["templating"]["list"]:
        selector = _LABEL_VALUES.fullmatch(variable["query"]["query"])
        if selector is None:
            raise ValueError(
                f"variable {variable['name']}: not label_values(…): {variable['query']['query']}"
            )
        yield f"variable {variable['name']}", selector[1]
    for annotation in board["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["expr"]


def variables(expression: str) -> set[str]:
    """The names of Grafana's variables in an expression."""
    return set(_VARIABLE.findall(expression))


def filled(expression: str) -> str:
    """An expression with everything chosen: each variable is `.*`, which is what All stands for."""
    return _VARIABLE.sub(".*", expression)


def asked() -> list[tuple[str, str]]:
    """(where it stands, PromQL that a Prometheus can be asked) of the whole file. Annotations may answer nothing."""
    return [(where, filled(expression)) for where, expression in raw(load())]
