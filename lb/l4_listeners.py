"""The ports at layer 4 of a balancer's VIPs: their sockets, who serves each, and the flow table they share.

Decides how a port's socket is come by, as for HTTP: inherited from the lab, opened anew by each holder, or opened by a
balancer alone. It must not know how flows are relayed, nor who holds a VIP.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cdnlab.forward.upstreams import make_pace, place_finder
from cdnlab.net.clock import now
from cdnlab.node.metrics import Family, family
from lb.flow_entry import Ended
from lb.flow_replica import Flows
from lb.l4_stats import BYTES, ENDED, FLOWS, REFUSED, RETRIES, SPLICED, Refused
from lb.steer import Steered
from lb.tcp_proxy import Around, TcpProxy
from lb.udp_proxy import UdpProxy, udp_families
from lb.vip import Vip, inherited, open_own, open_steered

if TYPE_CHECKING:
    from cdnlab.forward.connect import Connector
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.net.timers import Sweep
    from cdnlab.node.node import Node
    from cdnlab.plan.layer4 import L4Spec
    from cdnlab.plan.settings import Vip as VipSpec
    from cdnlab.plan.topology import Topology

log = logging.getLogger("cdnlab.lb")

SPARE_DESCRIPTORS = 1024
"""For everything that is no flow; where few are to be had, half of those."""

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def pools_of(topology: Topology) -> set[str]:
    """The pools that its ports at layer 4 lead to."""
    return {pool for spec in topology.l4.values() for pool in (spec.pool, *spec.sni.values())}


class Layer4:
    """All ports at layer 4 of one balancer. `open` them for each VIP, then `start`."""

    def __init__(
        self, node: Node, connector: Connector, forwarders: Mapping[str, Forwarder], sweep: Sweep
    ) -> None:
        topology = node.topology
        self.tcp: list[TcpProxy] = []
        self.udp: list[UdpProxy] = []
        self.flows = Flows(node)
        self._node = node
        self._sweep = sweep
        self._around = Around(
            connector,
            forwarders,
            sweep,
            place_finder(topology),
            topology.trusted_peers(node.name),
            self.flows.table,
        )
        self.take_up(topology)

    def take_up(self, topology: Topology) -> None:
        """Go by another topology's limits and pools; which ports there are does not change."""
        around = self._around
        around.opening_timeout = topology.limits.header_timeout
        around.pace = make_pace(topology.limits)
        around.send_proxy = {name: topology.pool(name).send_proxy for name in pools_of(topology)}

    def open(self, vip: Vip, spec: VipSpec) -> None:
        """Open this VIP's ports, or take them over. PlanError."""
        for name, l4 in self._node.topology.l4.items():
            sock = self._socket(spec, name, l4)
            if sock is None:
                log.warning("VIP %s: no socket was opened for %s, so it is not served", spec.name, name)
                continue
            address = sock.address if isinstance(sock, Steered) else sock.getsockname()[:2]
            self.flows.serve(name, l4, address)
            vip.add_port(sock, self._door(name, l4, vip, address))

    def _door(self, name: str, l4: L4Spec, vip: Vip, address: tuple[str, int]) -> TcpProxy | UdpProxy:
        around = self._around
        if l4.protocol == "tcp":
            self.tcp.append(TcpProxy(name, l4, around, address, vip))
            return self.tcp[-1]
        self.udp.append(
            UdpProxy(
                name,
                l4,
                around.forwarders[l4.pool],
                self.flows.table,
                holder=vip,
                sweep=self._sweep,
                vip=address,
                place_of=around.place_of,
            )
        )
        return self.udp[-1]

    def _socket(self, spec: VipSpec, name: str, l4: L4Spec) -> socket.socket | Steered | None:
        descriptors = self._node.inherited
        key = inherited_key(spec.name, name)
        if key in descriptors or spec.name in descriptors:
            return inherited(descriptors[key]) if key in descriptors else None
        topology = self._node.topology
        host, port = topology.vip_address(spec)[0], topology.l4_port(l4)
        if spec.provider == "reuseport":
            return open_steered(host, port, KINDS[l4.protocol])
        return open_own(host, port, KINDS[l4.protocol])

    def start(self) -> None:
        """Begin to keep the flow table, and to hear of others' flows."""
        wanted = sum(each.spec.max_flows for each in self.tcp)
        self._around.most = most_flows(wanted)
        if self._around.most < wanted:
            log.info("descriptors are enough for %d of %d flows (ulimit -n)", self._around.most, wanted)
        self.flows.start(self._sweep)

    async def drain(self, deadline: float) -> None:
        """Accept nothing new, and let flows finish: each listener for as long as it says."""
        await asyncio.gather(*(each.drain(deadline) for each in self._all))
        await self.flows.flush(max(0.0, min(1.0, deadline - now())))

    def stop(self) -> None:
        """End everything."""
        for tcp in self.tcp:
            tcp.close()
        for udp in self.udp:
            udp.stop_accepting()
            udp.abort_all("the balancer ends")
        self.flows.stop()

    @property
    def _all(self) -> list[TcpProxy | UdpProxy]:
        return [*self.tcp, *self.udp]

    @property
    def connections(self) -> int:
        """TCP connections of clients now."""
        return sum(len(each.flows) for each in self.tcp)

    def status(self) -> dict[str, Any]:
        """The "l4" and "flows" of /status."""
        return {"l4": [each.status() for each in self._all], "flows": self.flows.status()}

    def families(self) -> Iterator[Family]:
        """The rows of the tables for TCP, UDP and the flow table."""
        yield from tcp_families(self.tcp)
        yield from udp_families(self.udp)
        yield from self.flows.families()


def most_flows(wanted: int) -> int:
    """How many flows there is room for at two descriptors each; raises the soft limit as far as that takes.

    A shell's soft limit is often 1,024. Past the hard one every accept and every connect would fail in turns, and no
    flow come to be; so what is left over is refused at once, as HAProxy does by a maxconn that it derives.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        return wanted
    limit = max(soft, min(hard, 2 * wanted + SPARE_DESCRIPTORS))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (OSError, ValueError):
        limit = soft
    return min(wanted, (limit - min(SPARE_DESCRIPTORS, limit // 2)) // 2)


def inherited_key(vip: str, name: str) -> str:
    """By which name a VIP's socket at layer 4 is handed down."""
    return f"{vip}/{name}"


def tcp_families(proxies: Iterable[TcpProxy]) -> Iterator[Family]:
    """The rows of l4_stats.TABLE; what stands under several VIPs by one name is one listener."""
    named: dict[str, list[TcpProxy]] = {}
    for proxy in proxies:
        named.setdefault(proxy.name, []).append(proxy)
    rows = named.items()
    yield family(FLOWS, [((name,), sum(len(each.flows) for each in all_)) for name, all_ in rows])
    yield family(
        ENDED,
        [((name, str(why)), sum(each.ends[why] for each in all_)) for name, all_ in rows for why in Ended],
    )
    yield family(
        REFUSED,
        [
            ((name, str(why)), sum(each.refusals[why] for each in all_))
            for name, all_ in rows
            for why in Refused
        ],
    )
    yield family(BYTES, [((name, "up"), sum(each.up for each in all_)) for name, all_ in rows]
                 + [((name, "down"), sum(each.down for each in all_)) for name, all_ in rows])  # fmt: skip
    yield family(
        SPLICED, [((name,), sum(each.relay.spliced for each in all_ if each.relay)) for name, all_ in rows]
    )
    yield family(RETRIES, [((name,), sum(each.retries for each in all_)) for name, all_ in rows])
