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
    """What one process of a node answered: `ring` is {"seen", "entries": [{"n": its number, "time", …}]}."""

    node: str
    pid: int | None
    ring: Json


class Feed:
    """Requests, or events, of all nodes."""

    def __init__(self) -> None:
        self.seen = 0
        self._rows: deque[Json] = deque(maxlen=KEPT)
        self._cursors: dict[str, tuple[int | None, int]] = {}

    def cursor(self, node: str, pid: int | None) -> int:
        """The number after which to ask this process of `node`; 0 for one not asked before."""
        asked, number = self._cursors.get(node, (None, 0))
        return number if asked == pid else 0

    def take(self, answers: list[Answer]) -> None:
        """Add what the nodes answered when they were asked from their cursors on."""
        fresh: list[Json] = []
        for node, pid, ring in answers:
            entries = ring["entries"]
            self._cursors[node] = (pid, entries[-1]["n"] if entries else self.cursor(node, pid))
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
