"""One numbered list made of many nodes' rings, so that a reader follows a whole lab with one number.

Pure. Each node numbers its own entries; here they are put in order of their time, as far as they came together, and
numbered anew. What a node told is kept when it dies, as far as somebody asked for it before.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

#: Entries kept: what five nodes keep of their own.
KEPT = 5000

Json = dict[str, Any]


class Answer(NamedTuple):
    """What one process of a node answered: `ring` is {"seen", "entries": [{"n": its number, "time", …}]}.

    `life` tells the node's processes from one another: when this one started, since a container's next process has
    the pid of the last one.
    """

    node: str
    life: float | None
    ring: Json


def well_formed(ring: Json) -> bool:
    """Whether an answer is a ring's: what another version, or a stranger, says must not stop the others' rows."""
    entries = ring.get("entries")
    return isinstance(entries, list) and all(
        isinstance(one, dict) and isinstance(one.get("n"), int) and isinstance(one.get("time"), int | float)
        for one in entries
    )


class Feed:
    """Requests, or events, of all nodes."""

    def __init__(self) -> None:
        self.seen = 0
        self._rows: deque[Json] = deque(maxlen=KEPT)
        self._cursors: dict[str, tuple[float | None, int]] = {}

    def life(self, node: str) -> float | None:
        """Which process of `node` was asked last; None if none was."""
        return self._cursors.get(node, (None, 0))[0]

    def cursor(self, node: str, life: float | None) -> int:
        """The number after which to ask this process of `node`; 0 for one not asked before."""
        asked, number = self._cursors.get(node, (None, 0))
        return number if asked == life else 0

    def take(self, answers: list[Answer]) -> None:
        """Add what the nodes answered when they were asked from their cursors on."""
        fresh: list[Json] = []
        for node, life, ring in answers:
            entries = ring["entries"]
            self._cursors[node] = (life, entries[-1]["n"] if entries else self.cursor(node, life))
            fresh += [{**entry, "node": node} for entry in entries]
        for entry in sorted(fresh, key=lambda entry: float(entry["time"])):
            del entry["n"]
            self.seen += 1
            self._rows.append({"seq": self.seen, **entry})

    def after(self, number: int, node: str | None, limit: int) -> list[Json]:
        """The newest `limit` rows with "seq" above `number`, oldest first, of one node or of all."""
        if number > self.seen:  # it was read from a lab that is no more
            number = 0
        rows = [row for row in self._rows if row["seq"] > number and node in (None, row["node"])]
        return rows[-limit:] if limit else []
