"""Keeps the clients of one pool with their backends.

    find      what a request shows -> Hold: where its client is pinned to, if it is
    where     the backend to ask first; moves the pin if that one is gone, and makes one where no answer is needed
    answered  after the response's head: makes or moves the pin, and says what the client must be told

A request comes by all three; a connection that repeats itself keeps its Hold, and then `where` looks at the backend and
`answered` compares it. Pins are made and moved in the table at once and written to the store behind (pins.py), so two
requests that a client sends at the same time come to the same backend, also where the one it had has just died.

Decides by cdnlab/pool/{sticky,pin_cookie,pin_table}.py; it must not know who reads requests and writes responses.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cdnlab.net.clock import now
from cdnlab.pool.pin_cookie import (
    RANDOM_BYTES,
    Refused,
    Signer,
    attributes,
    is_set,
    parse,
    signed_by,
    unpinned,
    values_of,
)
from cdnlab.pool.pin_table import PinTable
from cdnlab.pool.sticky import Hold, Keyring, Repin, client_network, dead, moved

if TYPE_CHECKING:
    from cdnlab.plan.pools import StickySpec
    from cdnlab.pool.backend import Backend
    from cdnlab.pool.pool import Passed, Pool
    from cdnlab.wire.fields import Field

VERIFIED_MAX = 32_768
"""Cookies remembered as verified, in each of two generations: verifying one again costs 2 µs for each backend."""
GONE_MAX = 64
"""Backends remembered after they were removed, so that their clients' cookies are known for what they are."""
RENEWALS = 8
"""How often in a pin's life its use is noted, and told to the others."""
SERVER_ERROR = 500
"""An answer from here on pins nobody who was not pinned."""

_NO_PASSED: Passed = []


class Stickiness:
    """One pool's pins on one node."""

    __slots__ = (
        "_attributes",
        "_gone",
        "_keyring",
        "_keys",
        "_kid",
        "_old",
        "_renew_after",
        "_signers",
        "_spec",
        "_young",
        "away",
        "cookie",
        "learns",
        "made",
        "members",
        "mode",
        "pool",
        "refused",
        "repins",
        "share",
        "table",
    )

    def __init__(self, pool: Pool, spec: StickySpec, cookie: str, secret: bytes) -> None:
        """`spec.mode` is not off; `cookie`: the name of ours, or of the application's."""
        self.pool = pool
        self.mode = spec.mode
        self.learns = spec.mode == "learn"
        self.cookie = cookie.encode() if spec.mode != "source" else b""
        self.table = PinTable(spec.table_max, spec.lifetime)
        self.share: Callable[[bytes, str], None] = lambda key, name: None
        """Tells the other nodes of a pin."""
        self.away: Callable[[], bool] = lambda: False
        """Whether the others can't be told."""
        self.made = 0
        self.repins: dict[Repin, int] = dict.fromkeys(Repin, 0)
        self.refused: dict[Refused, int] = dict.fromkeys(Refused, 0)
        self._spec = spec
        self._keyring = Keyring(secret, pool.name, spec.mode)
        self._keys: Mapping[str, bytes] = {}
        self._kid = ""
        self._signers: dict[str, Signer] = {}
        self._attributes: dict[str, bytes] = {}
        self._young: dict[tuple[str, bytes], str] = {}
        self._old: dict[tuple[str, bytes], str] = {}
        self._gone: dict[str, None] = {}
        self._renew_after = spec.lifetime / RENEWALS
        self.members: dict[str, Backend] = {}
        self._look()
        pool.watch(self._look)

    def _look(self) -> None:
        """Members have come or gone."""
        before, self.members = self.members, {backend.name: backend for backend in self.pool.backends}
        for name in before:
            if name not in self.members:
                self._gone[name] = None
        for name in self.members:
            self._gone.pop(name, None)
        while len(self._gone) > GONE_MAX:
            del self._gone[next(iter(self._gone))]

    def use_keys(self, keys: Mapping[str, bytes], kid: str) -> None:
        """Verify with `keys`, sign with the one named `kid`."""
        if dict(keys) == self._keys and kid == self._kid:
            return
        self._keys, self._kid = dict(keys), kid
        self._signers.clear()
        self._young, self._old = {}, {}

    def says(self, spec: StickySpec, cookie: str) -> bool:
        """Is it what these settings ask for?"""
        return spec == self._spec and (self.mode == "source" or cookie.encode() == self.cookie)

    def leave(self) -> None:
        """It is not used any more."""
        if self._look in self.pool.watchers:
            self.pool.watchers.remove(self._look)

    def take_over(self, before: Stickiness) -> None:
        """Go on where the pins of this pool's former version are, if clients are still told by the same."""
        self.made, self.repins, self.refused = before.made, before.repins, before.refused
        if before.mode == self.mode:
            self.table = before.table
            self.table.bound(self._spec.table_max, self._spec.lifetime)
        self._gone = {name: None for name in (*before._gone, *before.members) if name not in self.members}

    def unpinned(self, volatile: tuple[Field, ...]) -> tuple[Field, ...]:
        """A request's own fields without our cookie, which is nobody's business behind this node; the very same if
        it is not there."""
        return unpinned(volatile, self.cookie) if self.mode == "cookie" else volatile

    # -- a request ----------------------------------------------------------------------------------------------------

    def find(self, cookies: Iterable[bytes], address: str, route: str = "", path: str = "/") -> Hold:
        """The pin of a request: `cookies` are its Cookie fields' values, `address` its client's. `route` and `path`
        name the route, for which alone a cookie is good, and its path."""
        hold = Hold(route)
        if self.mode == "source":
            spec = self._spec
            hold.key = self._keyring.key(client_network(address, spec.prefix4, spec.prefix6))
            self._recall(hold, hold.key)
            return hold
        if route not in self._attributes:
            where = path if self._spec.path == "/" else self._spec.path
            self._attributes[route] = attributes(where, self._spec.same_site, self._spec.secure)
        for field in cookies:
            for value in values_of(field, self.cookie):
                if self._recognise(hold, value):
                    return hold
        return hold

    def _recognise(self, hold: Hold, value: bytes) -> bool:
        """Does a cookie's value pin its client?"""
        if self.learns:
            return self._recall(hold, self._keyring.key(value))
        name = self._verified(hold.route, value)
        if name is None:
            return False
        hold.key = self._keyring.key(b"%b.%b" % (hold.route.encode(), value))
        if self.table.count and self._recall(hold, hold.key):
            hold.told = None  # it goes on showing the cookie of a backend that it was moved off
            return True
        hold.backend = self.members.get(name)
        hold.lost = hold.backend is None
        if signed_by(value) == self._kid:
            hold.told = hold.backend
        return True

    def _recall(self, hold: Hold, key: bytes) -> bool:
        """Look into the table; False without a pin."""
        instant = now()
        name = self.table.find(key, instant)
        if name is None:
            return False
        hold.key = key
        hold.backend = hold.told = self.members.get(name)
        hold.lost = hold.backend is None
        self._renew(hold, instant)
        return True

    def _verified(self, route: str, value: bytes) -> str | None:
        """The name of the backend that a cookie is for; None, and counted, for one that is refused."""
        known = (route, value)
        name = self._young.get(known) or self._old.get(known)
        if name is not None:
            return name
        word = parse(value)
        found: str | Refused = Refused.MALFORMED
        if word is not None:
            found = self._signer(route).backend(word, (*self.members, *self._gone))
        if isinstance(found, Refused):
            self.refused[found] += 1
            return None
        if len(self._young) >= VERIFIED_MAX:
            self._old, self._young = self._young, {}
        self._young[known] = found
        return found

    def _signer(self, route: str) -> Signer:
        found = self._signers.get(route)
        if found is None:
            found = self._signers[route] = Signer(self._keys, self._kid, route, self.pool.name)
        return found

    # -- the choice ---------------------------------------------------------------------------------------------------

    def where(self, hold: Hold, place: str, key: bytes, instant: float) -> Backend | None:
        """The backend to ask first; None where the pool's algorithm has the word. `key` as for the pool."""
        backend = hold.backend
        if backend is not None and self.members.get(backend.name) is backend:
            if (not backend.ejected_until and backend.health.usable) or self.pool.panic:
                if instant >= hold.renew_at:
                    self._renew(hold, instant)
                return backend
            return self._move(hold, dead(backend) or Repin.DOWN, place, key, instant)
        if backend is not None or hold.lost:
            return self._move(hold, Repin.REMOVED, place, key, instant)
        if self.mode != "source":
            return None  # who answers makes the pin
        chosen = self._choose(hold, place, key)
        if chosen is not None:
            self.made += 1
            self._pin(hold, chosen, instant)
        return chosen

    def _move(self, hold: Hold, why: Repin, place: str, key: bytes, instant: float) -> Backend | None:
        """Its backend is gone: pin the client to another one now, so that all its requests come to the same."""
        chosen = self._choose(hold, place, key)
        if chosen is not None:
            self.repins[why] += 1
            self._pin(hold, chosen, instant)
            if self.mode == "cookie":
                hold.told = None
        return chosen

    def _choose(self, hold: Hold, place: str, key: bytes) -> Backend | None:
        """Whom the pool would choose. While the others can't be told, the one that they would come to as well: a hash
        of the key says so, unless it matters where the client stands."""
        pool = self.pool
        if self.away() and pool.algorithm_name != "nearest":
            return self._keyring.by_hash(hold.key, pool.on_offer)
        return next(iter(pool.candidates(place, None, key)), None)

    def _pin(self, hold: Hold, backend: Backend, instant: float) -> None:
        hold.backend = hold.told = backend
        hold.lost = False
        self.table.put(hold.key, backend.name, instant)
        self.share(hold.key, backend.name)
        hold.renew_at = instant + self._renew_after

    def _renew(self, hold: Hold, instant: float) -> None:
        """Its pin is in use: so it comes last in the table, and the others keep it, too."""
        name = hold.backend.name if hold.backend is not None else self.table.find(hold.key, instant)
        if name is None:
            return
        due = self.table.used(hold.key) + self._renew_after <= instant
        self.table.put(hold.key, name, instant)
        if due:
            self.share(hold.key, name)
        hold.renew_at = instant + self._renew_after

    # -- the answer ---------------------------------------------------------------------------------------------------

    def answered(
        self,
        hold: Hold,
        backend: Backend,
        status: int,
        fields: Iterable[Field],
        passed: Passed | None = None,
        tell: bool = True,
    ) -> bytes:
        """A response's head has come from `backend`, with `status` and `fields`. The Set-Cookie line that the client
        gets beside, or b"". `passed`: whom the request passed over. With `tell` false it can't be given one."""
        if self.learns:
            self._learn(backend, fields)
        if backend is hold.told:
            return b""
        instant = now()
        pinned = hold.backend
        if pinned is not None and pinned is not backend:
            elsewhere = self.members.get(self.table.find(hold.key, instant) or "")
            if elsewhere is not None and elsewhere is not pinned:
                hold.backend = (
                    elsewhere  # another request of this client was quicker, and it is moved only once
                )
                if elsewhere is not backend:
                    return b""
            else:
                self.repins[moved(pinned.name, passed or _NO_PASSED)] += 1
                self._pin(hold, backend, instant)
            if self.mode == "cookie":
                hold.told = None
        if self.mode != "cookie" or not tell or (pinned is None and status >= SERVER_ERROR):
            return b""
        said = self._attributes.get(hold.route)
        if said is None:
            return b""  # it was found by other settings, and is told with the next answer
        if pinned is None:
            self.made += 1
        value = self._signer(hold.route).value(backend.name, secrets.token_bytes(RANDOM_BYTES))
        return b"Set-Cookie: %b=%b%b\r\n" % (self.cookie, value, said)

    def _learn(self, backend: Backend, fields: Iterable[Field]) -> None:
        """The application has given its cookie to a client."""
        for name, field in fields:
            if name == b"set-cookie":
                value = is_set(field, self.cookie)
                if value is not None:
                    key, instant = self._keyring.key(value), now()
                    known = self.table.find(key, instant)
                    if known != backend.name:
                        self.made += 1
                        self.table.put(key, backend.name, instant)
                        self.share(key, backend.name)

    # -- what others say -----------------------------------------------------------------------------------------------

    def merge(self, key: bytes, name: str, life: float) -> None:
        """Another node pinned `key`, for `life` more seconds."""
        if life > 0:
            self.table.put(key, name, now() - max(0.0, self.table.lifetime - life))
        else:
            self.table.remove(key)

    def status(self) -> dict[str, Any]:
        """The row of /status."""
        return {
            "pool": self.pool.name,
            "mode": self.mode,
            "pins": self.table.count,
            "most": self.table.most,
            "made": self.made,
            "repins": {str(why): count for why, count in self.repins.items() if count},
            "refused": {str(why): count for why, count in self.refused.items() if count},
            "evicted": self.table.evicted,
            "memory": self.table.bytes,
        }
