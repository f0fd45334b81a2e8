"""Whom this edge asks when it cannot answer: the owner of the key at its place, the shield, the origin.

Decides the ways of a request and their order. It must not know connections, tasks or responses; `now` is a parameter.
Pure.

    a request that missed, or may have changed something      owner, then shield, then origin
    one that a sibling has sent already                       shield, then origin
    one that no cache between could answer or learn from      origin

An owner that is this edge itself is left out, and so is whoever health checks call down. Shields ask no shield. Whoever
fails before the head of a response is followed by the next way within the same request.

Why a request with an unsafe method goes the same way: what it changes has to go from every cache that would be asked
for it, and a cache sees that only if the answer passes through it (RFC 9111 §4.4).

Why an edge that is not the owner does not store: two copies at one place are memory for one object less. But an owner
that is asked for one thing too often is spared by the balancer, who sends some of it here, and if each of these asked
the owner again, nobody would be spared. So what is asked for here twice within a second is kept, for a second: long
enough that only what is really hot profits, and so short that nothing else is driven out for it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from cdnlab.forward.client import SIBLING_FIELD
from cdnlab.forward.owner import owner
from edge.routing import Parent, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.pool.backend import Backend
    from cdnlab.pool.pool import Passed
    from edge.object import StoredObject
    from edge.reader import Reader

BRIEF = 1.0  # seconds for which a copy of what another edge owns is kept, and within which two requests make it hot
WANTED_MAX = 1024  # keys remembered, in each of two generations
WANTED_BYTES = 1024  # a longer key is never hot

ANSWERS = (100, 200, 300, 304, 400, 500, 0)
"""Classes of a parent's answers; 304 by itself, and 0 for none."""


class Parents:
    """The ways out of one edge."""

    __slots__ = (
        "_lent",
        "_me",
        "_origin",
        "_wanted",
        "bytes",
        "fetches",
        "position",
        "sharing",
        "shield",
        "skipped",
    )

    def __init__(
        self,
        node: str,
        origin: Forwarder,
        *,
        sharing: Forwarder | None = None,
        shield: Forwarder | None = None,
        position: Callable[[], bytes] = bytes,
    ) -> None:
        """`sharing`: the edges between which the keys of this place are shared, this one (`node`) included; None where
        it is alone. `shield`: None where there is none, or where this edge is one. `position`: the field line that says
        how far this edge has followed the purges."""
        self._me = node
        self._origin = Way(origin)
        self.sharing = sharing
        self.shield = shield
        self.position = position
        self.fetches: dict[Parent, dict[int, int]] = {each: dict.fromkeys(ANSWERS, 0) for each in Parent}
        """Requests to other edges by the class of their answer."""
        self.bytes: dict[Parent, int] = dict.fromkeys(Parent, 0)
        """Body bytes that came from them."""
        self.skipped = 0
        """Requests for which the shield was not asked because it is down."""
        self._wanted = Wanted()
        self._lent: deque[tuple[float, StoredObject]] = deque()

    def ways(self, reader: Reader, now: float) -> list[Way]:
        """Where a request may go, in order of preference; the origin last."""
        if (self.sharing is None and self.shield is None) or not _concerns_caches(reader):
            return [self._origin]
        lines = b"Cdnlab-Place: %b\r\n%b" % (reader.place.encode(), self.position())
        found = []
        owner_way = self._to_owner(reader, lines, now)
        if owner_way is not None:
            found.append(owner_way)
        passed: Passed = []
        if self.shield is not None:
            pool = self.shield.pool
            if pool.on_offer:
                ours = all(backend.ours for backend in pool.backends)
                found.append(Way(self.shield, lines if ours else b"", parent=Parent.SHIELD, ours=ours))
            else:
                self.skipped += 1
                passed = [(backend.name, backend.reason()) for backend in pool.backends]
        found.append(self._origin._replace(passed=passed) if passed else self._origin)
        return found

    def neighbour(self, reader: Reader, now: float) -> Way | None:
        """The way of a request that says only-if-cached: to the owner, which lies in the same house, or nowhere."""
        lines = b"Cdnlab-Place: %b\r\n%b" % (reader.place.encode(), self.position())
        return self._to_owner(reader, lines, now)

    def _to_owner(self, reader: Reader, lines: bytes, now: float) -> Way | None:
        found = self._owner(reader)
        if found is None:
            return None
        assert self.sharing is not None
        whole = reader.line.method == b"GET" and reader.facts.range is None
        hot = whole and self._wanted.again(reader.key, now)
        lines += b"Cdnlab-Sibling: %b\r\n" % self._me.encode()
        return Way(self.sharing, lines, store=hot, parent=Parent.OWNER, ours=True, only=found, brief=hot)

    def _owner(self, reader: Reader) -> Backend | None:
        """The sibling to ask: nobody for what is our own, nor for what a sibling asks of us."""
        if self.sharing is None or (reader.trusted and SIBLING_FIELD in reader.block.index):
            return None
        found = owner(self.sharing.pool, reader.key)
        return None if found is None or found.name == self._me else found

    # -- copies of what others own ------------------------------------------------------------------------------------

    def lend(self, stored: StoredObject, now: float) -> None:
        """A brief copy has been stored."""
        self._lent.append((now + BRIEF, stored))

    def due(self, now: float) -> Iterator[StoredObject]:
        """The copies whose moment is over, each once."""
        lent = self._lent
        while lent and lent[0][0] <= now:
            yield lent.popleft()[1]


def _concerns_caches(reader: Reader) -> bool:
    """Could a cache on the way answer it, or must one learn of it?"""
    if not reader.line.safe:
        return reader.block.upgrade is None
    return reader.line.method in (b"GET", b"HEAD") and reader.facts.bypass is None


class Wanted:
    """The keys that were asked for within the last BRIEF seconds, or at most twice that; bounded in number and size."""

    __slots__ = ("_before", "_keys", "_until")

    def __init__(self) -> None:
        self._keys: set[bytes] = set()
        self._before: set[bytes] = set()
        self._until = 0.0

    def again(self, key: bytes, now: float) -> bool:
        """Was `key` asked for a moment ago? Notes that it is now."""
        if now >= self._until or len(self._keys) >= WANTED_MAX:
            self._before = self._keys if now < self._until + BRIEF else set()
            self._keys = set()
            self._until = now + BRIEF
        found = key in self._keys or key in self._before
        if len(key) <= WANTED_BYTES:
            self._keys.add(key)
        return found
