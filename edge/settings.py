"""What the topology says about one cache, in the form its requests need it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cdnlab.forward.key import KeyRules


class Settings:
    """What the topology says about this cache."""

    __slots__ = (
        "background_max", "explain_key", "forwarded_proto", "may_choose_place", "negative", "node", "object_max",
        "origin_host", "place", "places", "pool", "rules", "stale_disconnected", "trusted",
    )  # fmt: skip

    def __init__(
        self,
        node: str,
        place: str,
        *,
        pool: str = "origins",
        places: frozenset[str] = frozenset(),
        may_choose_place: bool = False,
        object_max: int = 32 << 20,
        origin_host: str | None = None,
        forwarded_proto: str | None = None,
        trusted: frozenset[str] = frozenset(),
        negative: Mapping[int, int] = MappingProxyType({}),
        stale_disconnected: float = 3600.0,
        background_max: int = 100,
        rules: KeyRules | None = None,
        explain_key: bytes = b"",
    ) -> None:
        """`place` is where it stands; `trusted` are the addresses whose X-Forwarded-For is believed. `negative`:
        seconds of freshness by status, for responses that say nothing of it. `rules`: what routes say about keys and
        cookies, None where none does. `explain_key` signs the mark of a request whose target a rule changes."""
        self.rules = rules
        self.explain_key = explain_key
        self.negative = negative
        self.stale_disconnected = stale_disconnected
        self.background_max = background_max
        self.trusted = trusted
        self.pool = pool
        self.node = node
        self.place = place
        self.places = places
        self.may_choose_place = may_choose_place
        self.object_max = object_max
        self.origin_host = origin_host.encode() if origin_host else None
        self.forwarded_proto = forwarded_proto.encode() if forwarded_proto else None
