"""How flows look: each once, by the word of who relays it, and what is said of replicas."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from cdnlab.lab import flows_view

NOW = 1000.0


def row(
    state: str, client: str = "10.0.0.1:5", first: float = 990.0, vip: str = "127.0.0.1:8082"
) -> dict[str, Any]:
    ends = {"client": client, "vip": vip, "local": "127.0.1.10:7", "remote": "127.1.1.20:8082"}
    counts = {"first": first, "last": 995.0, "up": 10, "down": 2048, "left": 25.0}
    return {"service": "echo", "protocol": "udp", "backend": "origin-1", "state": state, **ends, **counts}


def node(name: str, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    counts = {
        state: sum(each["state"] == state for each in rows) for state in ("active", "replica", "closed")
    }
    follows = {"state": "follows", "age": 0.1, "unsent": 0}
    return {"node": name, **counts, "max": 10, "replica_status": follows, "rows": list(rows), **more}


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("a", row("active")), node("b", row("replica"))], [("a", ["b"])]),
        ([node("a", row("replica")), node("b", row("active"))], [("b", ["a"])]),
        ([node("a", row("replica")), node("b", row("replica"))], [(None, ["a", "b"])]),
        ([node("a", row("active"), row("closed"))], [("a", [])]),  # it expired, and began anew
        ([node("a", row("closed"), row("active"))], [("a", [])]),
        ([node("a", row("closed"))], [(None, [])]),
        ([node("a", row("active"), row("active", vip="127.0.0.2:8082"))], [("a", []), ("a", [])]),
        ([node("a"), node("b")], []),
    ],
)
def test_each_flow_stands_there_once(
    nodes: list[dict[str, Any]], said: list[tuple[str | None, list[str]]]
) -> None:
    assert [(each["by"], each["known"]) for each in flows_view.merged(nodes)] == said


def test_live_flows_come_first_and_the_youngest_of_them() -> None:
    rows = (row("replica", "c:1"), row("active", "c:2", 100.0), row("active", "c:3", 200.0))
    assert [each["client"] for each in flows_view.merged([node("a", *rows)])] == ["c:3", "c:2", "c:1"]


def drawn(*nodes: dict[str, Any], width: int = 80) -> str:
    console = Console(width=width, highlight=False, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(flows_view.render({"nodes": list(nodes)}, NOW, width))
    return console.export_text()


@pytest.mark.parametrize(
    ("replica", "words"),
    [
        (None, "no replica"),
        ({"state": "loads", "age": None, "unsent": 0}, "nothing heard"),
        ({"state": "follows", "age": 0.3, "unsent": 0}, "replica 0.3 s old"),
        (
            {"state": "away", "age": 12.0, "unsent": 4000},
            "replica 12.0 s old: the store is away, 4,000 changes wait",
        ),
    ],
)
def test_what_is_said_of_a_replica(replica: dict[str, Any] | None, words: str) -> None:
    text = " ".join(drawn(node("lb-a", replica_status=replica)).split())
    assert words in text


def test_narrow_and_wide() -> None:
    both = node("lb-a", row("active")), node("lb-b", row("replica"))
    narrow = drawn(*both)
    assert "10.0.0.1:5 > 127.0.0.1:8082 | 127.0.1.10:7 > 127.1.1.20:8082" in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    (line,) = [line for line in drawn(*both, width=170).splitlines() if "10.0.0.1:5" in line]
    assert line.split()[-4:] == ["lb-a;", "known", "to", "lb-b"]
    assert "2.0 KiB" in line


def test_says_how_many_are_not_shown_and_when_there_is_nobody() -> None:
    assert "and 1,233 more" in drawn(node("lb-a", row("active"), active=1234))
    assert "No balancer" in drawn()


def test_a_strangers_bytes_do_not_steer_the_terminal() -> None:
    evil = {**row("replica"), "backend": "x\x1b[31m", "client": "\x07"}
    assert "\x1b" not in drawn(node("lb-a", evil))
