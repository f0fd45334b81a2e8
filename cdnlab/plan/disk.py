"""The settings of what edges store on disk.

Decides what may be set and what holds if nothing is. How it lies there is edge/disk's.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from cdnlab.plan.section import MIB, Section, setting
from cdnlab.plan.units import Size

SIZE_MIN = 8 * MIB
"""Eight segments of the smallest size: fewer would leave too little each time that one goes."""


def _size(value: int) -> int:
    if 0 < value < SIZE_MIN:
        raise ValueError(f"write 0 for no disk, or at least {SIZE_MIN // MIB}MiB")
    return value


class DiskSpec(Section):
    """What an edge keeps on disk of what overflows its memory or is too large for it (docs/storage.md). Off by default.

    In a lab, too: its edges' memory takes what its sites have, and its state directory is memory on most machines.
    """

    size: Annotated[Size, AfterValidator(_size)] = setting(
        0, "What one edge may store on disk; 0 stores nothing there. At least 8MiB.", "bytes", ge=0
    )
    directory: str | None = setting(
        None,
        "Each edge stores in a directory of its own name below this one. By default below the lab's state directory, "
        "where every `cdnlab up` begins with nothing; what lies here stays.",
        "path",
        min_length=1,
    )
    keep_free: Size = setting(
        64 * MIB,
        "No new file is begun where less than this would be left on the file system for others.",
        "bytes",
        ge=0,
    )
    objects_max: int = setting(
        1_000_000,
        "Objects on disk; the oldest go first. Each takes about 130 bytes of memory.",
        "objects",
        ge=1000,
        le=100_000_000,
    )
