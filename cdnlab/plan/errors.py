"""What a person is told when a topology can't be used: what was wrong, where, and the remedy.

Decides the words. Must not know which file was read or which rule failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches


class PlanError(Exception):
    """A topology, or a command line that makes one, can't be used. str() is the whole message.

    `where` is the file with its line, then the path in it: `lab.yaml:12: pools.edges.algorithm`.
    `more` holds further errors of the same reading; str() gives each a line of its own.
    """

    def __init__(
        self, problem: str, where: str = "", remedy: str = "", more: Iterable[PlanError] = ()
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.remedy = remedy
        self.more = tuple(more)

    def __str__(self) -> str:
        first = f"{self.where}: {self.problem}" if self.where else self.problem
        if self.remedy:
            first = f"{first}; {self.remedy}"
        return "\n".join([first, *(str(error) for error in self.more)])


def nearest(word: object, options: Iterable[str]) -> str | None:
    """The one of `options` that `word` most likely meant, or None."""
    given = str(word).lower()
    close = get_close_matches(given, list(options), n=3, cutoff=0.6)
    return max(close, key=lambda option: _likeness(given, option), default=None)


def _likeness(a: str, b: str) -> tuple[float, int]:
    """How alike two words are. Letters in the same position decide between equals: ibn is icn, not sin."""
    return SequenceMatcher(None, b, a).ratio(), sum(x == y for x, y in zip(a, b, strict=False))


def did_you_mean(word: object, options: Iterable[str]) -> str:
    """The remedy for a name that isn't known: the nearest one, or all there are (at most twenty)."""
    names = list(options)
    close = nearest(word, names)
    if close is not None:
        return f'did you mean "{close}"?'
    if not names:
        return "there are none here"
    return "known: " + ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
