"""Where a request that this cache cannot answer may go.

Decides nothing: one way after the other, in order of preference. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cdnlab.forward.exchange import Forwarder


class Way(NamedTuple):
    """One pool to ask: `lines` are request field lines for it alone, each ended by CRLF. `store` is false where what
    comes this way lies in a neighbour that keeps it."""

    forwarder: Forwarder
    lines: bytes = b""
    store: bool = True
