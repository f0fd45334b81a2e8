"""Which changes of a topology nodes can take up while they run."""

from __future__ import annotations

from typing import Any

import pytest

from cdnlab.plan.changes import changes, refusals
from cdnlab.plan.topology import Topology

BASE: dict[str, Any] = {
    "nodes": {
        "lb-a": {"tier": "lb", "address": "127.0.1.10"},
        "edge-icn": {"tier": "edge", "place": "icn", "address": "127.82.1.10"},
        "origin-1": {"tier": "origin", "address": "127.1.1.20"},
    },
    "pools": {
        "edges": {"tier": "edge"},
        "origins": {"tier": "origin"},
        "apps": {"backends": [{"name": "a", "address": "127.0.0.1", "port": 3000}]},
    },
    "routes": [{"pool": "edges"}],
}


def changed(**sections: Any) -> tuple[Topology, Topology]:
    return Topology.build(BASE), Topology.build({**BASE, **sections})


def paths(**sections: Any) -> list[str]:
    return [change.path for change in changes(*changed(**sections))]


def refused(**sections: Any) -> list[str]:
    return [problem.where for problem in refusals(changes(*changed(**sections)))]


def test_what_is_equal_has_no_changes() -> None:
    assert paths() == []


def test_a_setting_is_named_by_its_path() -> None:
    pools = {**BASE["pools"], "edges": {"tier": "edge", "algorithm": "maglev", "health": {"interval": 1}}}
    assert paths(pools=pools, upstream={"retries": 5}) == [
        "pools.edges.algorithm",
        "pools.edges.health.interval",
        "upstream.retries",
    ]


def test_a_pool_more_or_less_is_one_change() -> None:
    fewer = {name: pool for name, pool in BASE["pools"].items() if name != "apps"}
    assert paths(pools={**BASE["pools"], "new": BASE["pools"]["apps"]}) == ["pools.new"]
    assert paths(pools=fewer) == ["pools.apps"]


@pytest.mark.parametrize(
    "sections",
    [
        {"pools": {**BASE["pools"], "apps": {"backends": [{"name": "b", "address": "::1", "port": 1}]}}},
        {"routes": [{"pool": "edges"}, {"path": "/api", "pool": "apps", "rate_limit": {"requests": 5}}]},
        {"limits": {"header_bytes": "16KiB"}},
        {"upstream": {"retries": 0}},
        {"edge": {"policy": "sieve"}},
        {"edge": {"negative": [{"status": 404, "ttl": 5}]}},
    ],
    ids=lambda sections: next(iter(sections)),
)
def test_what_nodes_take_up(sections: dict[str, Any]) -> None:
    assert paths(**sections)
    assert refused(**sections) == []


@pytest.mark.parametrize(
    ("sections", "where"),
    [
        (
            {"nodes": {**BASE["nodes"], "edge-nrt": {"tier": "edge", "address": "127.81.1.10"}}},
            "nodes.edge-nrt",
        ),
        ({"ports": {"base": 9000}}, "ports.base"),
        ({"vips": [{"name": "main", "address": "127.0.0.2"}]}, "vips"),
        ({"edge": {"memory": "1MiB"}}, "edge.memory"),
        ({"edge": {"shield": "edge-icn"}}, "edge.shield"),
        ({"name": "other"}, "name"),
        ({"l4": {"echo": {"protocol": "tcp", "pool": "apps"}}}, "l4.echo"),
        ({"default_place": "fra"}, "default_place"),
        ({"failover": {"lease": 2}}, "failover.lease"),
    ],
)
def test_what_needs_a_new_lab(sections: dict[str, Any], where: str) -> None:
    assert where in refused(**sections)


def test_a_refusal_says_why_and_what_to_do() -> None:
    (problem,) = refusals(changes(*changed(name="other")))
    assert "the lab's name in the store" in problem.problem
    assert "cdnlab up" in problem.remedy
