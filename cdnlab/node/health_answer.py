"""What a data listener says when one of our own tiers asks whether this node can serve.  Pure.

It answers for this node alone: starting, draining or behind on purges is "no"; that something further up is
down is not, or else one dead origin takes every edge out. Who may ask (trusted peers only) is the
listener's to decide.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

ALIVE_PATH = b"/.well-known/cdnlab/alive"


class NodeState(StrEnum):
    """What a node is doing; only a ready one wants requests."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    BEHIND = "behind"

    @property
    def sentence(self) -> str:
        """The state in words."""
        return _SENTENCES[self]

    @property
    def alive(self) -> bool:
        """Whether a health check passes."""
        return self is NodeState.READY


_SENTENCES = {
    NodeState.STARTING: "not ready yet",
    NodeState.READY: "serving",
    NodeState.DRAINING: "finishing what runs, taking nothing new",
    NodeState.BEHIND: "may hold objects that were purged while it could not hear",
}


@lru_cache(maxsize=64)
def answer(state: NodeState, node: str) -> tuple[int, bytes, bytes]:
    """Status, head (lines that end in CRLF, no blank line) and body of the health answer."""
    status, phrase = (200, "OK") if state.alive else (503, "Service Unavailable")
    body = f"{node} {state}: {state.sentence}\n".encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Cache-Control: no-store\r\nContent-Length: {len(body)}\r\n"
    )
    return status, head.encode(), body
