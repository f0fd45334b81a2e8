"""What the admin API of an edge says to purges: takes them, and tells how far it is.

Decides the way a purge goes: into the stream where there is a store that answers, else into this edge alone. It must
not know HTTP; the admin API's file does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from cdnlab.net.clock import now, wall
from cdnlab.node.node import BadRequest
from cdnlab.node.store import StoreAway
from edge.purge.asked import BadPurge, TargetRule, as_written, rules_of
from edge.purge.purges import Purges
from edge.purge.stream import PurgeStream


class Desk:
    """One edge's."""

    def __init__(
        self,
        purges: Purges,
        stream: PurgeStream | None,
        node: str,
        *,
        target: TargetRule = as_written,
        durable: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`target` is what the routes leave of a target. `durable` returns when purges that no stream carries are on
        disk, where there is one."""
        self._purges = purges
        self._stream = stream
        self._node = node
        self.target = target
        self._durable = durable

    async def purge(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """POST /purge. {"id", "node", "reach": "lab" or "edge"}: accepted for all edges that follow the stream, or
        applied at this edge, which then says why it went no further. BadRequest."""
        try:
            rules = rules_of(asked, self.target)
            local = asked.get("local", False) is True
        except BadPurge as error:
            raise BadRequest(error.error, error.remedy) from None
        why = "local was asked for" if local else "there is no store"
        if self._stream is not None and not local:
            try:
                return {"id": await self._stream.append(rules), "node": self._node, "reach": "lab"}
            except StoreAway as error:
                why = str(error)
        purge = self._purges.apply_local(rules, wall())
        if self._durable is not None:
            await self._durable()
        return {"id": purge, "node": self._node, "reach": "edge", "why": why}

    def look(self, purge: str | None) -> Mapping[str, Any]:
        """GET /purges?id=ID: how far this edge is; whether, when (wall seconds) and how long after its acceptance a
        purge was applied."""
        purges = self._purges
        answer: dict[str, Any] = {"node": self._node, **purges.status(now())}
        if purge is not None:
            answer["id"] = purge
            found = next((one for one in reversed(purges.applied) if one.id == purge), None)
            answer["applied"] = found is not None or purges.reached(purge.encode())
            answer["wall"] = found.wall if found is not None else None
            answer["lag"] = round(found.lag, 6) if found is not None else None
        return answer
