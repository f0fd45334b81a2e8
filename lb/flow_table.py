"""The flow table: every flow at layer 4, who relays it, whence and whereto, and how long its entry lives.

It decides which backend a source belongs to, when an entry is over, which one gives way where there is no room, and
what other balancers are told. It must not know sockets, the store, nor what a flow carries. Time is a parameter:
seconds of the boot clock, and what to add for the calendar, which is what other balancers read.

    relay ── find, open, touch, close ──▶ table ── put, remove ──▶ publisher (flow_replica.py) ──▶ other balancers
                                            ▲                                                          │
                                            └──────────────── learn, unlearn ◀─────────────────────────┘

An entry is ACTIVE while this balancer relays its flow. What others relay, or we did before we lost the VIP, is a
REPLICA, and lives for as long as the flow would. Where a service has source affinity an entry outlives its flow as
CLOSED, since the client's next connection shall find it. How rows are kept, and why so: flow_rows.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from lb.flow_entry import (
    ENDPOINT,
    GRAIN,
    HANDED_OVER,
    Address,
    Ended,
    Peer,
    Row,
    Service,
    State,
    Told,
    endpoint,
    heard,
    show,
    shown,
)
from lb.flow_rows import Rows

#: Seconds for which a flow that ended stays to be seen, where nothing else needs its entry.
LINGER = 5.0
#: Seconds after which others hear for the second time of a flow: what it began with says little.
SOON = 1.0
#: Rows that are compared when a client is looked for by its prefix: one with thousands of flows may share its head.
KIN_STEPS = 64
#: Backends whose names a table learns: what is in the store may be anybody's.
NAMES_MAX = 4096

#: The names of the states by number.
STATES = tuple(state.name.lower() for state in State)
ACTIVE, REPLICA, CLOSED = int(State.ACTIVE), int(State.REPLICA), int(State.CLOSED)


class Publisher(Protocol):
    """Who tells other balancers. Neither call may block."""

    def put(self, key: bytes, value: bytes, life: float) -> object:
        """`key` has this value for `life` seconds."""

    def remove(self, key: bytes) -> object:
        """`key` has none any more."""


class FlowTable:
    """At most `most` entries. Live flows never give way; replicas and flows that ended do, the oldest first."""

    __slots__ = (
        "_down",
        "_last",
        "_names",
        "_peers",
        "_rows",
        "_services",
        "_up",
        "by_address",
        "by_label",
        "counts",
        "evicted",
        "full",
        "learned",
        "malformed",
        "most",
        "opened",
        "publisher",
        "to_wall",
    )

    def __init__(self, most: int, *, publisher: Publisher | None = None, to_wall: float = 0.0) -> None:
        """`to_wall`: what to add to the boot clock for the calendar."""
        self.most = most
        self.publisher = publisher
        self.to_wall = to_wall
        self.counts = [0] * len(STATES)
        """Entries by state."""
        self.opened = self.evicted = self.full = self.learned = self.malformed = 0
        rows = self._rows = Rows(most)
        self._last, self._up, self._down = rows.last, rows.up, rows.down
        self._services: list[Service] = []
        self.by_address: dict[tuple[str, str, int], Service] = {}
        self.by_label: dict[bytes, Service] = {}
        self._names: dict[tuple[str, str, int], int] = {}
        self._peers: list[tuple[str, str, int]] = []

    def __len__(self) -> int:
        """Entries now."""
        return sum(self.counts)

    def serve(
        self, name: str, protocol: str, vip: Address, life: float, prefixes: tuple[int, int] | None = None
    ) -> Service:
        """Take flows of `protocol` to `vip` under `name`; balancers have the same names for the same.

        `life`: seconds without a byte after which an entry is over. `prefixes`: bits of an IPv4 and of an IPv6 address
        that make one client, whose new flows go where its others went; None: only the same address and port do.
        """
        at = (protocol, str(vip[0]), int(vip[1]))
        known = self.by_address.get(at)
        number = len(self._services) if known is None else int.from_bytes(known.number, "big")
        if known is not None and (known.masks is None) is not (prefixes is None):
            raise ValueError(f"{name}: source affinity can't change while there are flows")
        service = Service(number, name, protocol, vip, life, prefixes)
        self._services[number : number + 1] = [service]
        self.by_address[at] = self.by_label[service.label] = service
        return service

    def _service(self, protocol: str, vip: Address) -> Service:
        """Who takes this; what nobody said it serves is one service for each protocol."""
        found = self.by_address.get((protocol, vip[0], vip[1])) or self.by_address.get((protocol, "", 0))
        return found or self.serve(protocol, protocol, ("", 0), 30.0 if protocol == "udp" else 300.0)

    # -- what a relay does -------------------------------------------------------------------------------------

    def find(self, protocol: str, client: Address, vip: Address, now: float) -> str | None:
        """The backend that this source belongs to, by an entry that lives: its own, or one of its prefix where the
        service has source affinity. None if there is no such entry."""
        service, rows = self._service(protocol, vip), self._rows
        key = service.key(client)
        row = rows.lookup(key)
        if not row and service.masks:
            row = self._relative(service, key, now)
        return self._peers[rows.backend[row]][0] if row and self._lives(row, now) else None

    def open(
        self, client: Address, vip: Address, local: Address, backend: Peer, protocol: str, now: float
    ) -> int | None:
        """Enter a flow from `client` to `vip` that goes on from `local` to `backend`: its handle, None if the table is
        full of live ones. An entry that was there before, such as a replica, goes on with its counts."""
        service, rows = self._service(protocol, vip), self._rows
        key = service.key(client)
        peer = self._peer((backend.name, backend.host, backend.port))
        row = rows.lookup(key)
        if row and rows.state[row] == ACTIVE:  # the relay says otherwise, and it knows its flows
            self.close(row, now)
            row = rows.lookup(key)
        if row:
            self._lift(row)
        else:
            row = self._enter(key, service) if peer is not None else 0
            if not row:
                self.full += 1
                return None
            rows.first[row] = now
            rows.up[row] = rows.down[row] = 0
        self.opened += 1
        rows.near[row * ENDPOINT : row * ENDPOINT + ENDPOINT] = endpoint(local)
        rows.backend[row], rows.last[row] = peer, now
        self._lay(row, ACTIVE, now + min(service.refresh, SOON))
        self._tell(row, service, now)
        return row

    def touch(self, handle: int, now: float, up: int, down: int) -> None:
        """Bytes went by: `up` towards the backend, `down` towards the client."""
        self._last[handle] = now
        if up:
            self._up[handle] += up
        if down:
            self._down[handle] += down

    def moved(self, handle: int, local: Address, backend: Peer, now: float) -> None:
        """A flow goes on to another backend."""
        rows, peer = self._rows, self._peer((backend.name, backend.host, backend.port))
        if peer is not None:
            rows.backend[handle] = peer
            rows.near[handle * ENDPOINT : handle * ENDPOINT + ENDPOINT] = endpoint(local)
            self._tell(handle, self._of(handle), now)

    def close(self, handle: int, now: float, why: str = Ended.DONE) -> None:
        """A flow ended. Where another balancer goes on with it, or new flows of its source shall follow it, the entry
        lives on; else it can be seen a little longer. The handle is worth nothing from here on."""
        rows = self._rows
        if rows.state[handle] != ACTIVE:
            return
        service = self._of(handle)
        handed = why in HANDED_OVER
        until = rows.last[handle] + service.life
        stays = until > now and (handed or service.masks is not None)
        self._lift(handle)
        rows.until[handle] = until = until if stays else now + LINGER
        self._lay(handle, REPLICA if handed else CLOSED, until)
        if not handed and self.publisher is not None:  # else whoever goes on with it has the word
            if stays:
                self.publisher.put(*self._told(handle, service, now))
            else:
                self.publisher.remove(service.label + rows.key(handle)[2:])
        if not stays:
            rows.leave(handle, service)

    # -- what passes by itself ---------------------------------------------------------------------------------

    def tick(self, now: float, limit: int = 1000) -> bool:
        """Visit up to `limit` rows that are due: end what is over, tell others what goes on. Whether more are due."""
        rows = self._rows
        for _ in range(limit):
            row = rows.next_due(now)
            if not row:
                return False
            if rows.state[row] == ACTIVE:
                service = self._of(row)
                if rows.last[row] > now - service.refresh - 2 * GRAIN:
                    self._tell(row, service, now)
                rows.plan(row, now + service.refresh)
            elif rows.until[row] > now:
                rows.plan(row, rows.until[row])
            else:
                self._drop(row)
        return True

    # -- what other balancers say ------------------------------------------------------------------------------

    def learn(self, key: bytes, value: bytes, life: float, now: float) -> bool:
        """Take in what another balancer said of a flow, if it is newer than what is known; whether it was taken.

        What is not understood is counted and left: the store may hold anything.
        """
        rows, octets = self._rows, key[-ENDPOINT:]
        service = self.by_label.get(key[:-ENDPOINT])
        told = heard(value)
        if service is None or told is None or not 0.0 < life < 1e9:
            self.malformed += 1
            return False
        peer, key = self._peer(told.backend), service.number + octets
        row = rows.lookup(key)
        if peer is None or (row and (rows.state[row] == ACTIVE or rows.last[row] + self.to_wall > told.last)):
            return False
        if row:
            self._lift(row)
        else:
            row = self._enter(key, service)
            if not row:
                return False
        rows.first[row], rows.last[row] = told.first - self.to_wall, told.last - self.to_wall
        rows.up[row], rows.down[row], rows.backend[row] = told.up, told.down, peer
        rows.near[row * ENDPOINT : row * ENDPOINT + ENDPOINT] = told.local
        rows.until[row] = now + life
        self._lay(row, REPLICA, now + life)
        self.learned += 1
        return True

    def unlearn(self, key: bytes) -> None:
        """Another balancer says that a flow is over."""
        service = self.by_label.get(key[:-ENDPOINT])
        row = self._rows.lookup(service.number + key[-ENDPOINT:]) if service is not None else 0
        if row and self._rows.state[row] != ACTIVE:
            self._rows.unplan(row)
            self._drop(row)

    def each(self, now: float) -> Iterator[tuple[bytes, bytes, float]]:
        """Every entry as (key, value, life) for the others; the table may change while this goes on."""
        rows, row = self._rows, 0
        while row < rows.high:
            row += 1
            if rows.state[row] and rows.entered(row):
                said = self._told(row, self._of(row), now)
                if said[2] > 0:
                    yield said

    def _tell(self, row: int, service: Service, now: float) -> None:
        if self.publisher is not None:
            self.publisher.put(*self._told(row, service, now))

    def _told(self, row: int, service: Service, now: float) -> tuple[bytes, bytes, float]:
        rows, shift = self._rows, self.to_wall
        near = rows.near[row * ENDPOINT : row * ENDPOINT + ENDPOINT]
        first, last = rows.first[row] + shift, rows.last[row] + shift
        told = Told(self._peers[rows.backend[row]], near, first, last, rows.up[row], rows.down[row])
        left = self._left(row, service, now)
        return (
            service.label + rows.key(row)[2:],
            told.write(),
            left + service.refresh if rows.state[row] == ACTIVE else left,
        )

    # -- what people see ---------------------------------------------------------------------------------------

    def rows(self, limit: int, now: float) -> list[Row]:
        """Up to `limit` entries: live flows first, the youngest of each kind first."""
        rows, found = self._rows, list[Row]()
        for live in (True, False):
            row = rows.ends[live][0]
            while row and len(found) < limit:
                found.append(self._row(row, now))
                row = rows.older[row]
        return found

    def _row(self, row: int, now: float) -> Row:
        rows, service = self._rows, self._of(row)
        name, host, port = self._peers[rows.backend[row]]
        return Row(
            service=service.name,
            protocol=service.protocol,
            client=shown(rows.key(row)[2:]),
            vip=show(service.address),
            local=shown(rows.near[row * ENDPOINT : row * ENDPOINT + ENDPOINT]),
            remote=show((host, port)),
            backend=name,
            state=STATES[rows.state[row]],
            first=round(rows.first[row] + self.to_wall, 3),
            last=round(rows.last[row] + self.to_wall, 3),
            up=rows.up[row],
            down=rows.down[row],
            left=round(max(0.0, self._left(row, service, now)), 3),
        )

    def _left(self, row: int, service: Service, now: float) -> float:
        """Seconds until the entry is over, if nothing comes."""
        rows = self._rows
        over: float = rows.last[row] + service.life if rows.state[row] == ACTIVE else rows.until[row]
        return over - now

    def _lives(self, row: int, now: float) -> bool:
        return bool(self._rows.state[row] == ACTIVE or self._rows.until[row] > now)

    # -- rows --------------------------------------------------------------------------------------------------

    def _enter(self, key: bytes, service: Service) -> int:
        """A row for a key that has none; 0 if all are live flows."""
        rows = self._rows
        row = rows.take()
        if not row:
            oldest = rows.ends[False][1]
            if not oldest:
                return 0
            self.evicted += 1
            rows.unplan(oldest)
            self._drop(oldest)
            row = rows.take()
        rows.enter(row, key, service)
        return row

    def _lay(self, row: int, state: int, due: float) -> None:
        """Put a row that is in no list and no bucket where `state` belongs."""
        self._rows.state[row] = state
        self.counts[state] += 1
        self._rows.add(row, live=state == ACTIVE)
        self._rows.plan(row, due)

    def _lift(self, row: int) -> None:
        """Undo that."""
        state = self._rows.state[row]
        self.counts[state] -= 1
        self._rows.remove(row, live=state == ACTIVE)
        self._rows.unplan(row)

    def _drop(self, row: int) -> None:
        """Free a row that may give way and is in no bucket."""
        rows = self._rows
        rows.leave(row, self._of(row))
        rows.remove(row, live=False)
        self.counts[rows.state[row]] -= 1
        rows.drop(row)

    def _of(self, row: int) -> Service:
        return self._services[int.from_bytes(self._rows.key(row)[:2], "big")]

    def _peer(self, peer: tuple[str, str, int]) -> int | None:
        """The number of a backend; None if there are too many."""
        number = self._names.get(peer)
        if number is None and len(self._peers) < NAMES_MAX:
            number = self._names[peer] = len(self._peers)
            self._peers.append(peer)
        return number

    def _relative(self, service: Service, key: bytes, now: float) -> int:
        """The youngest living row of a client's prefix."""
        rows, source = self._rows, service.source(key)
        row = rows.kin_heads[hash(source) & rows.mask]
        for _ in range(KIN_STEPS):
            if not row:
                break
            other = rows.key(row)
            same = other[:2] == key[:2] and service.source(other) == source
            if same and self._lives(row, now):
                return int(row)
            row = rows.kin[row]
        return 0
