"""The table of what is measured, and what each row is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.l4 import LARGE_RELAYS, RELAYS
from bench.load import THREADS, Shape
from bench.peers import CACHES, PROXIES, Contender

#: Connections that ask at the same time, and the objects they ask for.
CONNECTIONS = 64
SMALL = 1000
#: Objects of 1 MiB: few enough that every cache holds them all.
LARGE = 16


@dataclass(frozen=True)
class Goal:
    """Ours may cost `ratio` times the cheapest of `against`."""

    ratio: float
    against: tuple[str, ...]

    def __str__(self) -> str:
        peers = " and ".join(self.against)
        return f"at most {self.ratio:.2f} x {'the better of ' if len(self.against) > 1 else ''}{peers}"


@dataclass(frozen=True)
class Row:
    """One line of work, and who does it; ours first. `cached`: the upstream must not be asked while measuring."""

    name: str
    title: str
    shape: Shape
    body: int
    contenders: Sequence[Contender]
    goal: Goal | None
    cached: bool


def _row(
    name: str,
    title: str,
    contenders: Sequence[Contender],
    goal: Goal | None,
    *,
    same: bool = False,
    few: bool = False,
) -> Row:
    large = "1m" in name
    shape = Shape(
        prefix="/1m/" if large else "/1k/",
        objects=LARGE if large else SMALL,
        connections=CONNECTIONS,
        cookies=1 if same else THREADS,
        few=few,
    )
    return Row(name, title, shape, 1 << 20 if large else 1 << 10, contenders, goal, contenders is CACHES)


_PROXIES = ("nginx", "HAProxy")

ROWS = (
    _row("edge-1k", "edge, fresh hit, 1 KiB", CACHES, Goal(0.95, ("HAProxy",))),
    _row("edge-1k-same", "edge, fresh hit, 1 KiB, identical header blocks", CACHES, None, same=True),
    _row("edge-1m", "edge, fresh hit, 1 MiB", CACHES, Goal(1.0, ("Varnish",))),
    _row("l7-1k", "L7 proxy, 1 KiB", PROXIES, Goal(1.1, _PROXIES)),
    _row("l7-1k-same", "L7 proxy, 1 KiB, identical header blocks", PROXIES, None, same=True),
    _row("l7-1m", "L7 proxy, 1 MiB", PROXIES, Goal(1.0, ("HAProxy",))),
    _row("l4-1k", "L4 TCP, exchanges of 1 KiB", RELAYS, Goal(0.95, ("HAProxy",)), few=True),
    _row("l4-1m", "L4 TCP, 1 MiB", LARGE_RELAYS, Goal(0.75, ("HAProxy",)), few=True),
)

#: What the table should have and can't yet: (row, why).
NOT_YET = (("QUIC, HTTP/2, TLS", "listeners speak HTTP/1.1 only so far"),)
