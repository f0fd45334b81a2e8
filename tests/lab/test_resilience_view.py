"""What `cdnlab status` says of retries, moves, limits and cut responses."""

from __future__ import annotations

from rich.console import Console, Group

from cdnlab.lab import resilience_view

QUIET = {
    "pool": "edges",
    "retries": 0,
    "refused": {},
    "moved": 0,
    "hedges": 0,
    "hedges_won": 0,
    "cut": {},
    "pending": 0,
    "turned_away": 0,
}
BUSY = {**QUIET, "pool": "origins", "retries": 12, "refused": {"budget": 2, "unsafe": 1}, "cut": {"reset": 4}}


def shown(nodes: list[dict[str, object]]) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(Group(*resilience_view.resilience(nodes)))
    return capture.get()


def test_what_happened_is_said_where_it_happened() -> None:
    text = shown([{"name": "lb-a", "resilience": [QUIET]}, {"name": "edge-icn", "resilience": [QUIET, BUSY]}])
    assert "lb-a" not in text
    assert "edge-icn" in text
    assert "12 sent again, 3 not sent again (budget, unsafe), 4 cut after the head (reset)" in text


def test_nothing_is_said_of_nothing_nor_of_whom_nobody_hears() -> None:
    assert resilience_view.resilience([{"name": "lb-a", "resilience": [QUIET]}, {"name": "origin-1"}]) == []
    gone = {"name": "lb-b", "running": False, "resilience": [BUSY]}
    frozen = {"name": "lb-a", "paused": True, "resilience": [BUSY]}
    assert resilience_view.resilience([gone, frozen]) == []
