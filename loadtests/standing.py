"""Where users stand: how many at each place, and from which address or with which field they say so.

Decides shares and addresses. Must not know connections, pages, nor Locust. Pure.

On loopback a client stands where its source address lies, .100 and up of the place's prefix. Anywhere else it says
`Cdnlab-From: <place>`, which a lab honours where clients may choose their place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_network

from cdnlab.plan.topology import Topology

FIELD = "Cdnlab-From"
SHARES: Mapping[str, int] = {
    "icn": 4, "nrt": 3, "sin": 2, "bom": 2, "fra": 3, "lhr": 2, "cdg": 2, "iad": 4, "sjc": 2, "gru": 2, "syd": 2,
    "jnb": 2,
}  # fmt: skip
"""The shipped places, by their share of the users. loadtests/README.md has the same table."""
SHARE_MAX = 1000


class BadPlaces(ValueError):
    """`--places` that can't be read; the text says why."""


def shares(text: str, topology: Topology) -> dict[str, int]:
    """`icn=3,fra` as {"icn": 3, "fra": 1}; all shipped places for "". BadPlaces, or PlanError for no such place."""
    found: dict[str, int] = {}
    for member in text.replace(",", " ").split():
        code, equals, share = member.partition("=")
        if equals and not (share.isascii() and share.isdigit() and 1 <= int(share) <= SHARE_MAX):
            raise BadPlaces(f"--places {member}: a share is a number from 1 to {SHARE_MAX}, as in icn=3")
        if code in found:
            raise BadPlaces(f"--places: {code} is given twice; once is enough")
        topology.place(code)
        found[code] = int(share) if equals else 1
    return found or {code: share for code, share in SHARES.items() if code in topology.place_codes()}


def addresses(code: str, topology: Topology) -> tuple[str, ...]:
    """The addresses of clients at a place: .100 to the last of its first IPv4 prefix; none without one."""
    networks = [ip_network(prefix) for prefix in topology.place(code).prefixes]
    network = next((network for network in networks if network.version == 4), None)
    if network is None:
        return ()
    first = IPv4Address(topology.client_address(code))
    last = int(network.broadcast_address) - (1 if network.prefixlen < 31 else 0)
    return tuple(str(IPv4Address(number)) for number in range(int(first), max(int(first), last) + 1))


class Crowd:
    """The users who are there, by place; each new one takes the place that lacks most."""

    def __init__(
        self, wanted: Mapping[str, int], places: Mapping[str, tuple[str, ...]], offset: int = 0
    ) -> None:
        """`wanted`: shares. `places`: addresses. `offset`: this process's number, so that several begin elsewhere."""
        codes = list(wanted)
        turn = (offset * 5) % len(codes)
        self._wanted = {code: wanted[code] for code in (*codes[turn:], *codes[:turn])}
        self._addresses = places
        self._turns: Counter[str] = Counter(dict.fromkeys(codes, offset * 17))
        self.present: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        """The most users there were at each place at once."""

    @property
    def codes(self) -> tuple[str, ...]:
        """Every place that users can stand at."""
        return tuple(self._wanted)

    def enter(self) -> str:
        """The place of one more user."""
        code = min(self._wanted, key=lambda code: (self.present[code] + 1) / self._wanted[code])
        self.present[code] += 1
        self.most[code] = max(self.most[code], self.present[code])
        return code

    def leave(self, code: str) -> None:
        """One user less at a place."""
        self.present[code] -= 1

    @property
    def addressed(self) -> bool:
        """Whether every place has addresses of loopback, which any client on this machine can take."""
        first = [self._addresses[code][:1] for code in self._wanted]
        return all(found and IPv4Address(found[0]).is_loopback for found in first)

    def address(self, code: str) -> str:
        """The address of the next client there: its neighbour's successor, the first again after the last."""
        addresses = self._addresses[code]
        self._turns[code] += 1
        return addresses[(self._turns[code] - 1) % len(addresses)]
