"""What the topology says about compression, and what it may say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cdnlab.plan.compression import CODINGS, CompressionSpec
from cdnlab.plan.single import single_edge
from cdnlab.plan.topology import Topology
from edge.coding.codecs import CODECS
from edge.coding.rules import from_spec
from edge.coding.types import TYPES

MIB = 1 << 20


def test_all_is_on_by_default() -> None:
    spec = single_edge("127.0.0.1:0", ["http://127.0.0.1:1"]).edge.compression
    rules = from_spec(spec, 256 * MIB)
    assert rules is not None
    assert rules.codings == (b"br", b"zstd", b"gzip")
    assert (rules.smallest, rules.largest, rules.waiting_max) == (1024, 10 * MIB, 32 * MIB)
    assert rules.levels == {b"br": 5, b"zstd": 9, b"gzip": 6}
    assert rules.types.holds(b"text/html")
    assert {coding.encode() for coding in CODINGS} == set(CODECS)


def test_what_is_set_holds() -> None:
    given: dict[str, Any] = {
        "codings": ("gzip", "zstd"),
        "min_size": "2KiB",
        "max_size": "1MiB",
        "types": ("Text/*",),
    }
    spec = CompressionSpec(**given, gzip_level=9, zstd_level=1)
    rules = from_spec(spec, 8 * MIB)
    assert rules is not None
    assert rules.codings == (b"gzip", b"zstd")
    assert (rules.smallest, rules.largest, rules.waiting_max) == (2048, MIB, MIB)
    assert (rules.levels[b"gzip"], rules.levels[b"zstd"]) == (9, 1)
    assert rules.types.holds(b"text/plain")
    assert not rules.types.holds(b"application/json")


@pytest.mark.parametrize("given", [{"enabled": False}, {"codings": []}])
def test_off_is_off(given: dict[str, Any]) -> None:
    assert from_spec(CompressionSpec(**given), 256 * MIB) is None


@pytest.mark.parametrize(
    "given",
    [
        {"codings": ["deflate"]},
        {"codings": ["br", "br"]},
        {"types": ["html"]},
        {"types": ["*/*"]},
        {"types": ["text/html;charset=utf-8"]},
        {"types": ["text/*/x"]},
        {"zstd_level": 20},
        {"br_level": 12},
        {"gzip_level": 0},
        {"min_size": 0},
        {"max_size": "1GiB"},
        {"level": 5},
    ],
)
def test_nonsense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CompressionSpec(**given)


@pytest.mark.parametrize("pattern", TYPES)
def test_what_ships_could_be_set(pattern: str) -> None:
    assert CompressionSpec(types=(pattern,)).types == (pattern,)


def test_it_reads_as_yaml() -> None:
    topology = Topology.build(
        {
            "nodes": {"edge": {"tier": "edge", "address": "127.0.0.1"}},
            "vips": [],
            "pools": {"origins": {"backends": [{"name": "o", "address": "127.0.0.1", "port": 1}]}},
            "edge": {"compression": {"enabled": "off", "codings": ["gzip"]}},
        }
    )
    assert from_spec(topology.edge.compression, MIB) is None
    assert topology.edge.compression.codings == ("gzip",)
