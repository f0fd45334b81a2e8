"""Parts of one representation that came in 206 responses, kept until they make a whole (RFC 9110 §14.4, §15.3.7.3).

Decides which bytes are there and how parts join; which responses may be joined is storing.py's question. Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from edge.object import StoredObject

PARTS_MAX = 64
"""Separate parts of one representation: beyond it the oldest response's bytes are given up, so that scattered single
bytes cost no more than so many pieces."""


class Parts:
    """Pieces of a representation of `size` bytes: ordered by their start, apart from each other by at least a byte."""

    __slots__ = ("pieces", "size")

    def __init__(self, size: int, pieces: tuple[tuple[int, bytes], ...] = ()) -> None:
        self.size = size
        self.pieces = pieces

    def with_part(self, start: int, data: bytes) -> Parts:
        """These and one more; where they overlap the newer bytes stand. With too many pieces only the newer one."""
        end = start + len(data)
        before = [(at, piece) for at, piece in self.pieces if at + len(piece) < start]
        after = [(at, piece) for at, piece in self.pieces if at > end]
        joined = data
        for at, piece in self.pieces:
            if at + len(piece) < start or at > end:
                continue
            if at < start:
                joined, start = piece[: start - at] + joined, at
            if at + len(piece) > end:
                joined, end = joined + piece[end - at :], at + len(piece)
        pieces = (*before, (start, joined), *after)
        return Parts(self.size, pieces if len(pieces) <= PARTS_MAX else ((start, joined),))

    def slice(self, start: int, end: int) -> bytes | None:
        """The bytes from `start` to before `end`, None if one of them is missing."""
        at = bisect_right(self.pieces, start, key=lambda piece: piece[0]) - 1
        if at < 0:
            return None
        begin, piece = self.pieces[at]
        return piece[start - begin : end - begin] if end <= begin + len(piece) else None

    def whole(self) -> bytes | None:
        """The representation, if nothing of it is missing."""
        return self.slice(0, self.size) if self.size else b""

    def __len__(self) -> int:
        return sum(len(piece) for _, piece in self.pieces)


class Partial(StoredObject):
    """A response of which only parts are stored. Its `start` is the head of the whole without framing; it answers
    requests for a range that lies wholly in one of its parts, and nothing else (RFC 9111 §3.3)."""

    __slots__ = ("parts",)

    def __init__(self, *, start: bytes, parts: Parts, **terms: Any) -> None:
        super().__init__(status=206, start=start, body=b"", **terms)
        self.parts = parts
        self.size += len(parts)
