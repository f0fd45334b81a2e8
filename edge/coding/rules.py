"""What the topology says about compression, in the form in which requests need it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edge.coding.types import TYPES, Types

if TYPE_CHECKING:
    from cdnlab.plan.compression import CompressionSpec

LEAST_SAVING = 0.1
"""Share of the body that a form must save. A form costs memory as long as its object lives; below a tenth a packet is
seldom saved."""
JOBS_MAX = 64
"""Forms that may wait at a time: at a few milliseconds each, a client's next visit comes later than that."""
WAITING_BYTES_MAX = 32 << 20
"""Bytes of their bodies, which stay in memory even when their objects are evicted meanwhile."""


class Rules:
    """codings: those offered, the preferred first; levels: by coding; smallest, largest: bytes of a body."""

    __slots__ = (
        "codings",
        "jobs_max",
        "largest",
        "least_saving",
        "levels",
        "smallest",
        "types",
        "waiting_max",
    )

    def __init__(
        self,
        codings: tuple[bytes, ...] = (b"br", b"zstd", b"gzip"),
        *,
        smallest: int = 1024,
        largest: int = 10 << 20,
        types: tuple[str, ...] = TYPES,
        levels: Mapping[bytes, int] | None = None,
        jobs_max: int = JOBS_MAX,
        waiting_max: int = WAITING_BYTES_MAX,
    ) -> None:
        self.codings = codings
        self.smallest = smallest
        self.largest = largest
        self.types = Types(types)
        self.levels = {b"br": 5, b"zstd": 9, b"gzip": 6, **(levels or {})}
        self.least_saving = LEAST_SAVING
        self.jobs_max = jobs_max
        self.waiting_max = waiting_max


def from_spec(spec: CompressionSpec, memory: int) -> Rules | None:
    """The rules of a topology; None where nothing is to be coded. A body that is coded, and those that wait for it,
    take no more than an eighth of `memory`, the bytes that may be stored: what is larger lies on disk."""
    if not spec.enabled or not spec.codings:
        return None
    return Rules(
        tuple(coding.encode() for coding in spec.codings),
        smallest=spec.min_size,
        largest=min(spec.max_size, memory // 8),
        types=spec.types or TYPES,
        levels={b"br": spec.br_level, b"zstd": spec.zstd_level, b"gzip": spec.gzip_level},
        waiting_max=min(WAITING_BYTES_MAX, memory // 8),
    )
