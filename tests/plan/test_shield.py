"""Who the shields are, who shares the keys with whom, and what cannot be a shield."""

from __future__ import annotations

from typing import Any

import pytest

from cdnlab.plan.errors import PlanError
from cdnlab.plan.topology import BackendSpec, Topology

NODES = {
    "lb-a": {"tier": "lb", "address": "127.0.1.10"},
    "icn-1": {"tier": "edge", "place": "icn", "address": "127.82.1.10"},
    "icn-2": {"tier": "edge", "place": "icn", "address": "127.82.1.11"},
    "iad-1": {"tier": "edge", "place": "iad", "address": "127.1.1.10", "addresses": ["127.1.9.10"]},
    "iad-2": {"tier": "edge", "place": "iad", "address": "127.1.1.11"},
    "fra-1": {"tier": "edge", "place": "fra", "address": "127.49.1.10"},
    "origin-1": {"tier": "origin", "place": "iad", "address": "127.1.1.20"},
}


def topology(shield: str | None = None, pools: Any = None, **edge: Any) -> Topology:
    return Topology.build(
        {
            "nodes": NODES,
            "pools": {"edges": {"tier": "edge"}, "origins": {"tier": "origin"}, **(pools or {})},
            "edge": {"shield": shield, **edge},
        }
    )


def listed(*backends: tuple[str, str, int]) -> dict[str, Any]:
    return {"backends": [{"name": n, "address": a, "port": p} for n, a, p in backends]}


def names(backends: tuple[BackendSpec, ...]) -> list[str]:
    return [backend.name for backend in backends]


@pytest.mark.parametrize(
    "shield,pools,expected",
    [
        (None, {}, []),
        ("iad-1", {}, ["iad-1"]),
        ("iad", {}, ["iad-1", "iad-2"]),
        ("far", {"far": listed(("a", "127.9.9.9", 80), ("iad-2", "127.1.1.11", 8080))}, ["a", "iad-2"]),
    ],
)
def test_a_shield_is_a_node_a_place_or_a_pool(
    shield: str | None, pools: dict[str, Any], expected: list[str]
) -> None:
    assert names(topology(shield, pools).shields()) == expected


@pytest.mark.parametrize(
    "shield,node,expected",
    [
        (None, "icn-1", ["icn-1", "icn-2"]),
        (None, "icn-2", ["icn-1", "icn-2"]),
        (None, "fra-1", ["fra-1"]),
        ("iad", "iad-1", ["iad-1", "iad-2"]),
        ("iad-1", "iad-1", ["iad-1"]),  # iad-2, asked for what it owns, would ask iad-1
        ("iad-1", "iad-2", ["iad-2"]),
        ("iad-1", "icn-1", ["icn-1", "icn-2"]),
    ],
)
def test_who_shares_the_keys(shield: str | None, node: str, expected: list[str]) -> None:
    assert names(topology(shield).shares_with(node)) == expected


def test_sharing_can_be_off() -> None:
    assert names(topology(share=False).shares_with("icn-1")) == ["icn-1"]


def test_a_shield_is_known_by_each_of_its_addresses() -> None:
    made = topology("far", {"far": listed(("s", "127.1.9.10", 8080))})
    assert [name for name in made.tier("edge") if made.is_shield(name)] == ["iad-1"]
    assert made.ours(made.shields()[0])
    assert names(made.shares_with("iad-2")) == ["iad-2"]


@pytest.mark.parametrize(
    "shield,pools,message",
    [
        (
            "iad-3",
            {},
            r'edge\.shield: "iad-3" is no edge, pool or place with edges; did you mean "iad-[12]"\?',
        ),
        ("gru", {}, r'edge\.shield: no edge stands at "gru"; name a place with an edge'),
        ("lb-a", {}, r"edge\.shield: lb-a is no edge; name an edge"),
        ("origins", {}, r"edge\.shield: the edges fetch from this pool already; leave it out"),
        (
            "iad",
            {"iad": listed(("a", "127.9.9.9", 80))},
            r'"iad" is a pool and a place with edges; rename one',
        ),
        ("iad-1", {"iad-1": listed(("a", "127.9.9.9", 80))}, r'"iad-1" is a node and a pool; rename one'),
    ],
)
def test_what_cannot_be_a_shield(shield: str, pools: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        topology(shield, pools)
