"""The disk of one edge's process: where it is, as the topology says, and what is shown of it.

Decides which directory is a node's. It must not know how a request is handled.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdnlab.node.process import StartError
from edge.disk.directory import Directory, DirectoryError
from edge.disk.shelf import Shelf
from edge.disk.storage import DiskStorage, Marks
from edge.purge import position_file

if TYPE_CHECKING:
    from cdnlab.node.node import Node
    from edge.cache import Cache


def directory_of(node: Node) -> Path | None:
    """Where a node stores on disk; None if it does not. It need not exist."""
    spec = node.topology.edge.disk
    if not spec.size:
        return None
    if spec.directory is not None:
        return Path(spec.directory).expanduser() / node.name
    return None if node.state is None else node.state / "disk" / node.name


def open_disk(node: Node, path: Path | None, marks: Marks) -> DiskStorage | None:
    """Take the directory, if the topology wants one. StartError."""
    spec = node.topology.edge.disk
    if not spec.size:
        return None
    if path is None:
        raise StartError("edge.disk.size is set, and nothing says where: set edge.disk.directory, too")
    try:
        directory = Directory(path, position_file.FILES)
    except DirectoryError as error:
        raise StartError(str(error)) from None
    return DiskStorage(
        directory,
        spec.size,
        variants_max=node.topology.edge.variants_max,
        objects_max=spec.objects_max,
        keep_free=spec.keep_free,
        marks=marks,
        say=lambda text: node.events.add("disk", node.name, text),
    )


def attach(cache: Cache, disk: DiskStorage, object_max: int) -> None:
    """Put the disk behind the memory of a cache, and begin to serve from it."""
    cache.shelf = cache.replies.shelf = shelf = Shelf(disk, cache, object_max)
    cache.storage.evicted = shelf.evicted
    disk.start()


async def last_words(cache: Cache | None, disk: DiskStorage, seconds: float) -> None:
    """The process ends in order: what lies in memory goes to disk, as much as half of `seconds` allow; then it is
    closed."""
    if cache is not None and cache.shelf is not None:
        await cache.shelf.spill(seconds / 2)
    await disk.close(seconds / 2)


def status(shelf: Shelf | None) -> dict[str, Any] | None:
    """The "disk" of /status; None without one."""
    if shelf is None:
        return None
    disk = shelf.disk
    return {
        "directory": str(disk.directory.path),
        "state": disk.state.value,
        "sentence": disk.state.sentence,
        "objects": disk.objects,
        "bytes": disk.used,
        "capacity": disk.capacity,
        "queued": disk.queued,
        "hits": shelf.hits,
        "written": disk.written,
        "evictions": disk.upkeep.evicted,
    }
