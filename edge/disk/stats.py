"""The disk's metrics, declared in one table, and how they are filled when somebody scrapes. Without one they are 0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cdnlab.node.metrics import Family, MetricSpec, family
from edge.disk.layout import Bad
from edge.disk.reasons import Dropped, State

if TYPE_CHECKING:
    from edge.disk.shelf import Shelf

STATE = MetricSpec(
    "cdnlab_edge_disk_state",
    "gauge",
    ("state",),
    "1 for the state that the disk storage is in, 0 for the others.",
)
OBJECTS = MetricSpec("cdnlab_edge_disk_objects", "gauge", (), "Objects on disk that can be found.")
USED = MetricSpec("cdnlab_edge_disk_bytes", "gauge", (), "Bytes of the files on disk.")
CAPACITY = MetricSpec("cdnlab_edge_disk_capacity_bytes", "gauge", (), "Bytes that may be stored on disk.")
QUEUED = MetricSpec("cdnlab_edge_disk_queued_bytes", "gauge", (), "Bytes that wait to be written.")
HITS = MetricSpec(
    "cdnlab_edge_disk_hits_total", "counter", (), "Requests for which something was read from disk."
)
WRITTEN = MetricSpec("cdnlab_edge_disk_written_total", "counter", (), "Objects written to disk.")
WRITTEN_BYTES = MetricSpec(
    "cdnlab_edge_disk_written_bytes_total", "counter", (), "Bytes of the bodies written to disk."
)
DROPPED = MetricSpec(
    "cdnlab_edge_disk_dropped_total", "counter", ("reason",), "Objects that were not written, by why."
)
BAD = MetricSpec(
    "cdnlab_edge_disk_bad_total",
    "counter",
    ("reason",),
    "Records and segments that were not used, by what is wrong.",
)
EVICTIONS = MetricSpec(
    "cdnlab_edge_disk_evictions_total",
    "counter",
    (),
    "Objects that went from disk with the segment they lay in.",
)
KEPT = MetricSpec(
    "cdnlab_edge_disk_kept_total",
    "counter",
    (),
    "Objects written once more since they were asked for lately.",
)
FAILURES = MetricSpec(
    "cdnlab_edge_disk_failures_total", "counter", (), "Times that writing failed, each tried again later."
)
REFUSED = MetricSpec(
    "cdnlab_edge_disk_reads_refused_total",
    "counter",
    (),
    "Reads that were too many at once, and taken for misses.",
)
TABLE = (
    STATE, OBJECTS, USED, CAPACITY, QUEUED, HITS, WRITTEN, WRITTEN_BYTES, DROPPED, BAD, EVICTIONS, KEPT, FAILURES,
    REFUSED,
)  # fmt: skip


def families(shelf: Shelf | None) -> Iterator[Family]:
    """The table, filled."""
    disk = shelf.disk if shelf is not None else None
    upkeep = disk.upkeep if disk is not None else None
    state = disk.state if disk is not None else State.CLOSED
    dropped = disk.dropped if disk is not None else dict.fromkeys(Dropped, 0)
    bad = disk.bad if disk is not None else dict.fromkeys(Bad, 0)
    yield family(STATE, [((str(each),), int(each is state)) for each in State])
    plain = (
        (OBJECTS, disk, "objects"), (USED, disk, "used"), (CAPACITY, disk, "capacity"), (QUEUED, disk, "queued"),
        (HITS, shelf, "hits"), (WRITTEN, disk, "written"), (WRITTEN_BYTES, disk, "written_bytes"),
        (EVICTIONS, upkeep, "evicted"), (KEPT, upkeep, "kept"), (FAILURES, upkeep, "failures"),
        (REFUSED, disk, "reads_refused"),
    )  # fmt: skip
    for spec, owner, name in plain:
        yield family(spec, [((), getattr(owner, name, 0))])
    yield family(DROPPED, [((str(reason),), count) for reason, count in dropped.items()])
    yield family(BAD, [((str(reason),), count) for reason, count in bad.items()])
