"""What people read of sticky sessions."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group

from cdnlab.lab.pins_view import pins


def said(*nodes: dict[str, Any]) -> list[str]:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(Group(*pins(nodes)))
    return [line.strip() for line in capture.get().splitlines() if line.strip()]


def node(name: str, *pools: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "pins": {"pools": list(pools)}, **more}


def test_nothing_where_no_pool_keeps_its_clients() -> None:
    assert said({"name": "edge-icn"}, node("edge-fra")) == []


def test_a_line_for_each_pool_over_all_nodes() -> None:
    row = {"pool": "origins", "mode": "cookie", "pins": 2, "most": 100, "made": 7, "evicted": 0}
    other = {**row, "pins": 3, "made": 1, "repins": {"down": 2}, "refused": {"malformed": 1, "no_match": 3}}
    gone = {**row, "made": 1000}
    assert said(node("a", row), node("b", other), node("c", gone, running=False)) == [
        "Sticky sessions",
        "origins  by a cookie of ours, 8 clients pinned; 3 of at most 100 in the table; 2 moved (2 down); "
        "4 cookies refused (1 malformed, 3 no_match)",
    ]


def test_a_table_that_is_full_says_so() -> None:
    row = {"pool": "origins", "mode": "source", "pins": 100, "most": 100, "made": 150, "evicted": 50}
    assert said(node("a", row))[1] == (
        "origins  by address, 150 clients pinned; 100 of at most 100 in the table; "
        "50 forgotten too early, since the table was full"
    )
