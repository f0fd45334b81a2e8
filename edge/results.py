"""How a request ended, in one word: the label of metrics and the column of the log. Pure."""

from __future__ import annotations

from enum import StrEnum

from cdnlab.node.metrics import Tallies


class Result(StrEnum):
    """How a request was answered."""

    HIT = "hit"
    STALE = "stale"
    REVALIDATED = "revalidated"
    COLLAPSED = "collapsed"
    MISS = "miss"
    PASS = "pass"
    REFUSED = "refused"
    ERROR = "error"

    @property
    def sentence(self) -> str:
        """The result in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Result.HIT: "from the store, without asking anybody",
    Result.STALE: "from the store, although it is stale: its origin allows it, or could not be reached",
    Result.REVALIDATED: "from the store, after the origin said that it is still good",
    Result.COLLAPSED: "from a fetch that another request had begun",
    Result.MISS: "from the origin; the store had nothing that could be used",
    Result.PASS: "from the origin; requests like this one are never answered from the store",
    Result.REFUSED: "by this node: the request is one that it does not serve",
    Result.ERROR: "by this node, or cut short: the origin did not answer as it should",
}

RESULTS = tuple(Result)
POSITION = {result: position for position, result in enumerate(RESULTS)}
"""Where a result stands in a list of tallies."""


def new_tallies(places: tuple[str, ...]) -> Tallies:
    """The tallies of an edge. The hit ratio counts what was answered without asking anybody, which is also what
    Cache-Status calls a hit, so that a client that counts comes to the same."""
    return Tallies(RESULTS, places, errors=(Result.ERROR,), hits=(Result.HIT,))
