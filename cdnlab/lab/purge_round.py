"""One purge's round through the edges: who takes it, who has applied it, and when.

It speaks to admin APIs with the standard library, a thread for each edge, so that one that is frozen holds up nobody.
It must not know what a purge names.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import quote

from cdnlab.lab.tell import NoAnswer, tell

Json = dict[str, Any]

TAKE = 1.5
"""Seconds for an edge to take a purge: it gives the store half a second."""
PAUSE = 0.01
"""Seconds between two questions to one edge whether it has applied it."""


class Edge(NamedTuple):
    """A node's name, and its admin API; None where it has none."""

    name: str
    address: tuple[str, int] | None


class Said(NamedTuple):
    """What came of it. `id` and `accepted_by` are None if no edge could tell the others; `why` says what kept them."""

    id: str | None
    accepted_by: str | None
    why: str
    edges: list[Json]


class Round:
    """Asks the edges, with the lab's admin token."""

    def __init__(self, edges: Sequence[Edge], token: str, within: float) -> None:
        self._edges = edges
        self._token = token
        self._within = within

    def run(self, purges: Sequence[Json]) -> Said:
        """Hand the purges over one after the other, and wait for the edges. LabError for one that is refused."""
        with ThreadPoolExecutor(max(1, len(self._edges))) as threads:
            for purge in purges[:-1]:
                self._hand_over(purge, threads)
            taken, rows, why = self._hand_over(purges[-1], threads)
            if taken is None and len(self._edges) > 1:
                # before the last was told, one that was told first may have fetched from it what it had dropped
                for purge in purges:
                    self._hand_over(purge, threads)
            if taken is not None:
                waiting = [threads.submit(self._wait, edge, taken[0]) for edge in self._edges]
                rows = {row["node"]: row for row in (each.result() for each in waiting)}
        edges = [rows[edge.name] for edge in self._edges]
        return Said(taken[0] if taken else None, taken[1] if taken else None, why, edges)

    def _hand_over(
        self, purge: Json, threads: ThreadPoolExecutor
    ) -> tuple[tuple[str, str] | None, dict[str, Json], str]:
        """((id, edge that took it) of a purge that every edge hears of; what each that was told said; why it goes no
        further)."""
        rows: dict[str, Json] = {}
        why = ""
        for edge in self._edges:
            row, answer = self._tell(edge, purge)
            rows[edge.name] = row
            if answer is not None:
                if answer.get("reach") == "lab":
                    return (str(answer["id"]), edge.name), rows, ""
                why = str(answer.get("why", ""))
                break
        others = [edge for edge in self._edges if edge.name not in rows]
        accepted = None
        for edge, (row, answer) in zip(
            others, threads.map(lambda one: self._tell(one, purge), others), strict=True
        ):
            rows[edge.name] = row
            if answer is not None and answer.get("reach") == "lab":
                accepted = (str(answer["id"]), edge.name)
        return accepted, rows, why

    def _tell(self, edge: Edge, purge: Json) -> tuple[Json, Json | None]:
        begun = time.monotonic()
        try:
            answer = tell(edge.name, edge.address, "/purge", purge, self._token, TAKE)
        except NoAnswer as error:
            return _row(edge, why=str(error)), None
        return _row(edge, applied=True, seconds=time.monotonic() - begun), answer

    def _wait(self, edge: Edge, purge: str) -> Json:
        """Ask one edge until it has applied a purge."""
        deadline = time.monotonic() + self._within
        why = "it was not asked in time"
        while (left := deadline - time.monotonic()) > 0:
            try:
                answer = tell(edge.name, edge.address, f"/purges?id={quote(purge)}", None, self._token, left)
            except NoAnswer as error:
                return _row(edge, why=str(error))
            if answer.get("applied"):
                return _row(edge, applied=True, seconds=answer.get("lag"), state=answer.get("state"))
            why = f"it is {answer.get('state')}, and has not applied it within {self._within:g} s"
            time.sleep(PAUSE)
        return _row(edge, why=why)


def _row(
    edge: Edge,
    *,
    applied: bool = False,
    seconds: float | None = None,
    why: str = "",
    state: str | None = None,
) -> Json:
    return {"node": edge.name, "applied": applied, "seconds": seconds, "state": state, "why": why}
