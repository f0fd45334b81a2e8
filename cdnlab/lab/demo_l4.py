"""`cdnlab demo l4`: what a flow table is for, measured by clients on a lab of its own.

Decides what is done, in which order, and what counts as shown. What clients do is demo_l4_clients.py's.

Exit code 0 when it was measured and shows what it is for; 1 when it does not, or when the lab did not start.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from cdnlab.lab import tables
from cdnlab.lab.demo_l4_clients import Seen, TcpSource, UdpSource
from cdnlab.lab.demo_lab import DemoLab, Folder
from cdnlab.lab.errors import FAILED, LabError
from cdnlab.net.clock import now

Say = Callable[[RenderableType], None]

UDP_LIFE = 3.0
"""Seconds: short, so that one flow can expire while somebody watches. The shipped topology has 30."""
PAUSE = 0.5  # seconds between the questions of a source that stays
LOOK = 0.05
KNOWN = 10.0  # seconds that another balancer may take to hear of the flows; it takes a thirtieth of one

TOPOLOGY: dict[str, Any] = {
    "name": "demo-l4",
    "distance": {"enabled": False},
    "nodes": {
        "lb-a": {"tier": "lb", "address": "127.0.1.10"},
        "lb-b": {"tier": "lb", "address": "127.0.1.11"},
        "origin-1": {"tier": "origin", "place": "iad", "address": "127.1.1.20"},
        "origin-2": {"tier": "origin", "place": "iad", "address": "127.1.1.21"},
        "origin-3": {"tier": "origin", "place": "iad", "address": "127.1.1.22"},
    },
    "pools": {
        "origins": {"tier": "origin"},
        "echo-udp": {"tier": "origin", "service": "udp", "algorithm": "round_robin"},
        "echo-tcp": {
            "tier": "origin", "service": "tcp", "algorithm": "round_robin", "sticky": {"mode": "source"},
        },
    },
    "routes": [{"pool": "origins"}],
    "l4": {
        "echo-udp": {"protocol": "udp", "pool": "echo-udp", "idle_timeout": UDP_LIFE},
        "echo-tcp": {"protocol": "tcp", "pool": "echo-tcp", "idle_timeout": 60},
    },
}  # fmt: skip


@dataclass
class Flow:
    """One line of the result."""

    name: str
    protocol: str
    client: str
    before: str
    """The backend."""
    after: str = ""
    by: str = ""
    """host:port of the balancer's side afterwards."""
    lived: bool = False
    same_backend: bool = False
    gap: float = 0.0
    """Seconds without an answer."""


@dataclass
class Result:
    """What was measured."""

    idle: float = 0.0
    """Seconds of silence after which the entry of the silent source was over."""
    picked_before: str = ""
    picked_after: str = ""
    holder: str = ""
    successor: str = ""
    flows: list[Flow] = field(default_factory=list)

    @property
    def shown(self) -> bool:
        """Whether it shows what it is for."""
        udp = [flow for flow in self.flows if flow.protocol == "udp"]
        tcp = [flow for flow in self.flows if flow.protocol == "tcp"]
        return (
            self.picked_before != self.picked_after
            and bool(udp and tcp)
            and all(flow.lived and flow.same_backend for flow in udp)
            and all(not flow.lived and flow.same_backend for flow in tcp)
        )


def command(
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Freeze the balancer that holds the VIP, instead of killing it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Open TCP and UDP flows, let one expire, take the VIP over, and say which flow lived.

    Example: cdnlab demo l4
    """
    console = tables.console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = asyncio.run(_measured(freeze, (lambda text: None) if as_json else console.print))
    except LabError as error:
        typer.echo(f"cdnlab: {error}", err=True)
        raise typer.Exit(error.code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps({**asdict(result), "shown": result.shown}, indent=2))
    raise typer.Exit(0 if result.shown else FAILED)


async def _measured(freeze: bool, say: Say) -> Result:
    say("Starting a lab of two balancers and three origins …")
    with Folder() as folder, ExitStack() as stack:
        async with DemoLab(folder, "l4", TOPOLOGY) as lab:
            demo = Demo(lab, say, stack)
            await demo.open()
            await demo.expire()
            await demo.take_over("pause" if freeze else "kill")
            return demo.result


class Demo:
    """The three acts."""

    def __init__(self, lab: DemoLab, say: Say, stack: ExitStack) -> None:
        self.lab = lab
        self.say = say
        self.result = Result()
        udp, tcp = ("127.0.0.1", lab.base + 2), ("127.0.0.1", lab.base + 1)
        self.udp = {name: UdpSource(f"127.82.1.{100 + number}", udp) for number, name in enumerate("ABC")}
        self.tcp = {name: TcpSource(f"127.49.1.{100 + number}", tcp) for number, name in enumerate("DE")}
        sources: list[UdpSource | TcpSource] = [*self.udp.values(), *self.tcp.values()]
        for each in sources:
            stack.callback(each.close)
        self.seen: dict[str, Seen] = {}

    # -- act one -----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Three flows over UDP, and two clients over TCP with two connections one after the other."""
        for name, source in self.udp.items():
            self.seen[name] = await source.ask()
        for name, client in self.tcp.items():
            first = await client.connect()
            client.close()
            self.seen[name] = await client.connect()
            assert first.node, name
        self.result.holder = await self._holder()
        self._title("1. A flow is a source, and the backend that it got")
        await self._table()
        self.say(
            f"\n{self.result.holder} holds the VIP. An origin sees the balancer's address, with a port of its own for "
            "each flow: the translation of addresses. D and E came twice; their second connections followed the "
            "entries of the first."
        )

    # -- act two -----------------------------------------------------------------------------------------------

    async def expire(self) -> None:
        """A and B go on, C is silent until its entry is over, and asks again."""
        silent, before = self.udp["C"], self.seen["C"]
        self._title(
            f"2. An entry lives while something goes by: C is silent for its lifetime of {UDP_LIFE:g} s"
        )
        while await self._lives(silent.name):
            for name in "AB":
                if now() - self.udp[name].last >= PAUSE:
                    await self.udp[name].ask()
            await asyncio.sleep(LOOK)
        self.result.idle = now() - silent.last
        self.seen["C"] = after = await silent.ask()
        self.result.picked_before, self.result.picked_after = before.node, after.node
        self.say(f"C's entry was over after {self.result.idle:.1f} s of silence; those of A and B go on.")
        self.say(
            f"C asks again: it was with {before.node}, now it is with {after.node}, on {after.balancer}."
        )

    async def _lives(self, client: str) -> bool:
        rows = await self._rows(self.result.holder)
        return any(row["client"] == client and row["state"] == "active" for row in rows)

    # -- act three ---------------------------------------------------------------------------------------------

    async def take_over(self, deed: str) -> None:
        """End or freeze the holder while all flows go on."""
        holder = self.result.holder
        successor = self.result.successor = next(name for name in ("lb-a", "lb-b") if name != holder)
        word = {"kill": "killed", "pause": "frozen"}[deed]
        self._title(
            f"3. {holder} is {word}: {successor} takes the VIP over, and knows the flows from the store"
        )
        await self._until_known(successor)
        begun = now()
        await self.lab.order(deed, holder)
        asked = [self._udp_after(name, begun) for name in "ABC"]
        asked += [self._tcp_after(name, begun) for name in "DE"]
        self.result.flows = list(await asyncio.gather(*asked))
        self.say(_result(self.result.flows))
        self.say(_verdict(self.result))

    async def _udp_after(self, name: str, begun: float) -> Flow:
        source, before = self.udp[name], self.seen[name]
        after = await source.ask()
        while after.balancer.partition(":")[0] == before.balancer.partition(":")[0]:
            await asyncio.sleep(LOOK)  # still the old holder's: an answer that was under way
            after = await source.ask()
        same = after.node == before.node
        gap = now() - begun
        return Flow(name, "udp", source.name, before.node, after.node, after.balancer, same, same, gap)

    async def _tcp_after(self, name: str, begun: float) -> Flow:
        client, before, was = self.tcp[name], self.seen[name], self.tcp[name].name
        lives = await client.lives(1.0)
        if not lives:
            client.close()
            self.seen[name] = await client.connect()
        after = self.seen[name]
        same = after.node == before.node
        gap = now() - begun
        return Flow(name, "tcp", was, before.node, after.node, after.balancer, lives, same, gap)

    async def _until_known(self, node: str) -> None:
        end = now() + KNOWN
        wanted = {source.name for source in self.udp.values()} | {client.name for client in self.tcp.values()}
        while not wanted <= {row["client"] for row in await self._rows(node)}:
            await asyncio.gather(*(source.ask() for source in self.udp.values()))
            if now() > end:
                raise LabError(f"{node} did not hear of the flows within {KNOWN:.0f} s", "", FAILED)
            await asyncio.sleep(LOOK)

    # -- what the lab says -------------------------------------------------------------------------------------

    async def _holder(self) -> str:
        for node in (await self.lab.ask("/status"))["nodes"]:
            if any(vip.get("state") == "active" for vip in node.get("vips") or ()):
                return str(node["name"])
        raise LabError("nobody holds the VIP", "", FAILED)

    async def _rows(self, node: str) -> list[dict[str, Any]]:
        nodes = (await self.lab.ask("/flows"))["nodes"]
        return [row for each in nodes if each["node"] == node for row in each["rows"]]

    async def _table(self) -> None:
        table = tables.plain_table("", "", "client", "VIP", "balancer", "backend", "lives")
        rows = {row["client"]: row for row in await self._rows(self.result.holder)}
        names = {name: source.name for name, source in self.udp.items()}
        names |= {name: client.name for name, client in self.tcp.items()}
        for name, client in names.items():
            row = rows[client]
            left = f"{row['left']:.0f} s"
            table.add_row(name, row["protocol"], client, row["vip"], row["local"], row["backend"], left)
        self.say(table)

    def _title(self, text: str) -> None:
        self.say("")
        self.say(Text(text, style="bold"))
        self.say("")


def _result(flows: list[Flow]) -> RenderableType:
    table = tables.plain_table("", "", "before", "after", "by", "the flow", "again after")
    for flow in flows:
        word = Text("lived", style="green") if flow.lived else Text("broke off, anew", style="yellow")
        gap = f"{flow.gap:.2f} s"
        table.add_row(flow.name, flow.protocol, flow.before, flow.after, flow.by, word, gap)
    return table


def _verdict(result: Result) -> str:
    udp = [flow for flow in result.flows if flow.protocol == "udp"]
    tcp = [flow for flow in result.flows if flow.protocol == "tcp"]
    lived, same = sum(flow.lived for flow in udp), sum(flow.same_backend for flow in tcp)
    return (
        f"\n{lived} of {len(udp)} UDP flows went on with their backends: a datagram knows no connection, and "
        f"{result.successor} knew whose it was. The {len(tcp)} TCP connections ended with {result.holder}, which "
        f"alone knew their state; {same} of {len(tcp)} clients came back to their backends."
    )
