"""The metrics of compression, declared in one table, and how they are filled when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cdnlab.node.metrics import Family, MetricSpec, family
from cdnlab.plan.compression import CODINGS
from edge.coding.codable import NotCoded

if TYPE_CHECKING:
    from edge.coding.coder import Coder

MADE = MetricSpec(
    "cdnlab_edge_forms_made_total", "counter", ("coding",), "Compressed forms of stored objects made."
)
BEFORE = MetricSpec(
    "cdnlab_edge_coding_in_bytes_total",
    "counter",
    ("coding",),
    "Bytes of the bodies that forms were made of.",
)
AFTER = MetricSpec(
    "cdnlab_edge_coding_out_bytes_total",
    "counter",
    ("coding",),
    "Bytes of the forms made of them.",
)
SECONDS = MetricSpec(
    "cdnlab_edge_coding_seconds_total",
    "counter",
    ("coding",),
    "Seconds that the thread which makes forms worked.",
)
ANSWERS = MetricSpec(
    "cdnlab_edge_coded_answers_total",
    "counter",
    ("coding",),
    "Answers for which a compressed form was chosen, HEAD and 304 included.",
)
NOT_CODED = MetricSpec(
    "cdnlab_edge_not_coded_total", "counter", ("reason",), "Stored objects without a compressed form, by why."
)
WAITING = MetricSpec(
    "cdnlab_edge_forms_waiting", "gauge", (), "Compressed forms being made, or waiting for it."
)
WAITING_BYTES = MetricSpec(
    "cdnlab_edge_forms_waiting_bytes", "gauge", (), "Bytes of the bodies that these are made of."
)

TABLE = (MADE, BEFORE, AFTER, SECONDS, ANSWERS, NOT_CODED, WAITING, WAITING_BYTES)

_BY_CODING = (
    (MADE, "made"),
    (BEFORE, "before"),
    (AFTER, "after"),
    (SECONDS, "seconds"),
    (ANSWERS, "answers"),
)


def families(coder: Coder | None) -> Iterator[Family]:
    """The table, filled; zeros where compression is off."""
    tallies = {
        coding: coder.tallies.get(coding.encode()) if coder is not None else None for coding in CODINGS
    }
    for spec, slot in (
        (MADE, "made"),
        (BEFORE, "before"),
        (AFTER, "after"),
        (SECONDS, "seconds"),
        (ANSWERS, "answers"),
    ):
        yield family(spec, [((coding,), getattr(tally, slot, 0)) for coding, tally in tallies.items()])
    reasons = coder.not_coded if coder is not None else {}
    yield family(NOT_CODED, [((str(reason),), reasons.get(reason, 0)) for reason in NotCoded])
    yield family(WAITING, [((), coder.waiting if coder is not None else 0)])
    yield family(WAITING_BYTES, [((), coder.waiting_bytes if coder is not None else 0)])
