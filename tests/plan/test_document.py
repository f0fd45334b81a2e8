"""docs/topology.md says what the declarations say, and every setting has a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from cdnlab.plan.bounds import Limits, UpstreamSpec
from cdnlab.plan.compression import CompressionSpec
from cdnlab.plan.disk import DiskSpec
from cdnlab.plan.document import document
from cdnlab.plan.layer4 import FlowSpec, L4Spec
from cdnlab.plan.load import DEFAULT
from cdnlab.plan.pools import (
    BackendSpec,
    BreakerSpec,
    EjectionSpec,
    HealthSpec,
    PoolSpec,
    RetrySpec,
    StickySpec,
)
from cdnlab.plan.routes import MirrorSpec, RateLimitSpec, RouteSpec
from cdnlab.plan.settings import (
    Clients,
    Distance,
    EdgeSpec,
    FailoverSpec,
    LogSpec,
    NodeSpec,
    OriginSpec,
    PlaceSpec,
    Ports,
    StoreSpec,
    Vip,
)
from cdnlab.plan.topology import Topology

PAGE = Path(__file__).parents[2] / "docs" / "topology.md"

SECTIONS: list[type[BaseModel]] = [
    Topology, Clients, Ports, Vip, Distance, PlaceSpec, NodeSpec, PoolSpec, BackendSpec, HealthSpec, RouteSpec,
    EjectionSpec, StickySpec, RetrySpec, BreakerSpec, RateLimitSpec, MirrorSpec, L4Spec, FlowSpec, OriginSpec,
    EdgeSpec, CompressionSpec, DiskSpec, Limits, UpstreamSpec, StoreSpec, FailoverSpec, LogSpec,
]  # fmt: skip


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), (
        "run python -m cdnlab.plan.document > docs/topology.md"
    )


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_setting_is_on_the_page_with_a_sentence(section: type[BaseModel]) -> None:
    page = document()
    for name, field in section.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert f"| `{name}` | " in page
        assert field.description in page


@pytest.mark.parametrize(
    "row",
    [
        "| `window` | `256KiB` | 4KiB to 64MiB |",
        "| `lease` | `1s` | 0.1 to 60 seconds |",
        "| `admin` | base + 1021 |",
        "| `tier` | required | `lb`, `edge`, `origin` |",
    ],
)
def test_rows(row: str) -> None:
    assert row in document()


def test_the_default_topology_is_on_the_page_as_it_ships() -> None:
    assert DEFAULT.read_text(encoding="utf-8").rstrip() in document()
