"""What an entry of the flow table stands for: states, why flows end, ports under a VIP, addresses as octets and text.

It decides the words, and the form in which entries are kept, shown and told to other balancers. It must not know where
they lie.
"""

from __future__ import annotations

import struct
from enum import IntEnum, StrEnum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple, Protocol

#: Seconds of one bucket of the timing wheel: entries end that much late at most.
GRAIN = 0.25

#: Octets of an address and a port, and of a key: the number of the service before those.
ENDPOINT, KEY = 18, 20

_MAPPED = bytes(10) + b"\xff\xff"
_VERSION = 1
_TOLD = struct.Struct(">BBddQQ18sH")

Address = tuple[Any, ...]
"""(host, port), or the four of IPv6, as sockets give it."""


class State(IntEnum):
    """What an entry stands for."""

    sentence: str

    def __new__(cls, number: int, sentence: str) -> State:
        member = int.__new__(cls, number)
        member._value_ = number
        member.sentence = sentence
        return member

    FREE = 0, "no entry"
    ACTIVE = 1, "this balancer relays it"
    REPLICA = 2, "learned from the store: another balancer relays it, or did"
    CLOSED = 3, "over; where the service has source affinity, the client's next flow still goes there"


SHOWN = (State.ACTIVE, State.REPLICA, State.CLOSED)


class Ended(StrEnum):
    """Why a flow ended."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> Ended:
        member = str.__new__(cls, name)
        member._value_ = name
        member.sentence = sentence
        return member

    DONE = "done", "both sides had said all"
    IDLE = "idle", "nothing came for its lifetime"
    CLIENT = "client", "the client broke it off"
    BACKEND = "backend", "the backend broke it off"
    UNREACHABLE = "unreachable", "no backend could be reached"
    LIMIT = "limit", "a bound was reached"
    DRAINED = "drained", "the balancer drained, and its time was over: another one may go on with it"
    LOST = "lost", "the balancer lost the VIP: another one goes on with it"


#: After these another balancer goes on: the entry stays, here and in the store.
HANDED_OVER = frozenset({Ended.LOST, Ended.DRAINED})


class Peer(Protocol):
    """The side of a backend that is written down."""

    name: str
    host: str
    port: int


class Service:
    """A port under a VIP whose flows are in the table."""

    __slots__ = ("address", "label", "life", "masks", "name", "number", "protocol", "refresh")

    def __init__(
        self,
        number: int,
        name: str,
        protocol: str,
        address: Address,
        life: float,
        prefixes: tuple[int, int] | None = None,
    ) -> None:
        self.number = number.to_bytes(2, "big")
        self.name = name
        self.label = f"{name} {show(address)}\0".encode()
        """What begins the keys that balancers tell one another: a port stands under several VIPs by one name."""
        self.protocol = protocol
        self.address = address
        self.life = life
        self.refresh = min(max(life / 3, GRAIN), 10.0)
        """Seconds after which others hear again of a flow that goes on."""
        self.masks = None if prefixes is None else (_mask(96 + prefixes[0]), _mask(prefixes[1]))

    def key(self, client: Address) -> bytes:
        """A flow from `client` as KEY octets."""
        return self.number + endpoint(client)

    def source(self, key: bytes) -> bytes:
        """What makes a client, of one of our keys; only with source affinity."""
        octets = key[2:18]
        assert self.masks is not None
        masked = int.from_bytes(octets, "big") & self.masks[octets[:12] != _MAPPED]
        return self.number + masked.to_bytes(16, "big")


def _mask(bits: int) -> int:
    return ((1 << 128) - 1) ^ ((1 << (128 - bits)) - 1)


class Row(NamedTuple):
    """An entry as people read it: both four-tuples, what went by, and how long it lives.

    `local` is the balancer's side towards the backend, `remote` the backend's; `first` and `last` are calendar seconds,
    `up` (to the backend) and `down` bytes, `left` the seconds until it is over if nothing comes.
    """

    service: str
    protocol: str
    client: str
    vip: str
    local: str
    remote: str
    backend: str
    state: str
    first: float
    last: float
    up: int
    down: int
    left: float


class Told(NamedTuple):
    """What one balancer tells the others of a flow; times are of the calendar."""

    backend: tuple[str, str, int]
    local: bytes
    first: float
    last: float
    up: int
    down: int

    def write(self) -> bytes:
        """As the store keeps it."""
        name, host, port = self.backend
        numbers = (self.first, self.last, self.up, self.down, self.local, port)
        return _TOLD.pack(_VERSION, 0, *numbers) + f"{name}\0{host}".encode()


def heard(value: bytes) -> Told | None:
    """What another balancer wrote; None for anything else, since a store may hold what it will."""
    try:
        version, _, first, last, up, down, local, port = _TOLD.unpack_from(value)
        name, _, host = value[_TOLD.size :].decode().partition("\0")
    except (struct.error, UnicodeDecodeError):
        return None
    sane = 0.0 <= first <= last < 1e11 and len(name) < 256 and len(host) < 256  # no NaN passes a comparison
    return (
        Told((name, host, port), local, first, last, up, down)
        if version == _VERSION and name and sane
        else None
    )


def packed(host: str) -> bytes:
    """An address as 16 octets, IPv4 mapped into IPv6 (RFC 4291 §2.5.5.2); zeros for what is none, such as a path."""
    octets = host.split(".")
    if len(octets) == 4:
        try:
            return _MAPPED + bytes(map(int, octets))  # 0.5 µs, a sixth of what the library takes
        except ValueError:
            pass
    return _packed(host)


@lru_cache(maxsize=2048)
def _packed(host: str) -> bytes:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return bytes(16)
    return _MAPPED + address.packed if address.version == 4 else address.packed


def endpoint(address: Address) -> bytes:
    """A socket's address as ENDPOINT octets."""
    port: int = address[1]
    return packed(address[0]) + port.to_bytes(2, "big")


def shown(octets: bytes) -> str:
    """host:port of ENDPOINT octets; "" for none."""
    if not any(octets[:16]):
        return ""
    address = IPv6Address(octets[:16])
    port = int.from_bytes(octets[16:18], "big")
    return f"{address.ipv4_mapped}:{port}" if address.ipv4_mapped else f"[{address}]:{port}"


def show(address: Address) -> str:
    """host:port of a socket's address."""
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
