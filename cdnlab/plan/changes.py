"""What differs between two topologies, and what of it nodes can take up while they run.

Decides which settings may change under traffic. Must not know how a node takes one up: what is listed here as
changeable is a promise that the tiers keep. The rest was used once, when processes and sockets were made, and a node
that took half of a file would be neither the old one nor the new one: so one such change refuses the whole file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cdnlab.plan.errors import PlanError
from cdnlab.plan.section import Section

if TYPE_CHECKING:
    from cdnlab.plan.topology import Topology

CHANGEABLE = (
    "pools",
    "routes",
    "limits",
    "upstream",
    "edge.policy",
    "edge.object_max",
    "edge.collapse_waiters",
    "edge.collapse_timeout",
    "edge.stale_disconnected",
    "edge.background_max",
    "edge.negative",
)
"""Settings, and sections with all that is in them."""

_FIXED = {
    "name": "it is the lab's name in the store",
    "nodes": "processes are started by `cdnlab up`",
    "ports": "sockets are opened when a lab starts",
    "vips": "the addresses are opened when a lab starts",
    "l4": "the ports are opened when a lab starts",
}
_OTHERWISE = "nodes take it up when they start"


class Change(NamedTuple):
    """One setting that differs."""

    path: str
    before: Any
    after: Any


def changes(old: Topology, new: Topology) -> list[Change]:
    """Every setting that differs, by its path; a pool or node that is only in one of them counts as one."""
    return list(_differences("", old, new))


def refusals(found: list[Change]) -> list[PlanError]:
    """Of these, what can't be taken up by nodes that run, each with the reason."""
    return [
        PlanError(
            f"this can't change while the lab runs: {_FIXED.get(change.path.partition('.')[0], _OTHERWISE)}",
            change.path,
            "end the lab and start it with this file: cdnlab down, cdnlab up FILE",
        )
        for change in found
        if not changeable(change.path)
    ]


def changeable(path: str) -> bool:
    """Whether nodes can take it up while they run."""
    return any(path == known or path.startswith((known + ".", known + "[")) for known in CHANGEABLE)


def _differences(path: str, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, Section) and type(old) is type(new):
        for name in type(old).model_fields:
            yield from _differences(_step(path, name), getattr(old, name), getattr(new, name))
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in (*old, *(each for each in new if each not in old)):
            yield from _differences(_step(path, str(name)), old.get(name), new.get(name))
    elif old != new:
        yield Change(path, old, new)


def _step(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
