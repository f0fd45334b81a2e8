"""UDP through the balancer's proxy on real sockets: flows, bounds, dead backends, strangers, the deadline."""

from __future__ import annotations

import asyncio
import math
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from cdnlab.forward.connect import Connector
from cdnlab.forward.forwarder import Forwarder
from cdnlab.net import tasks
from cdnlab.net.clock import now
from cdnlab.net.timers import Sweep
from cdnlab.plan.bounds import UpstreamSpec
from cdnlab.plan.layer4 import L4Spec
from cdnlab.pool.backend import Backend
from cdnlab.pool.pool import Pool
from lb.flow_table import FlowTable
from lb.udp_proxy import UdpProxy, udp_families
from lb.udp_stats import Drop
from tests.support.peers import until

PATIENCE = 10.0


class Udp:
    """A UDP socket in the test's hands; on the loop, since what it talks to runs there."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind((host, port))
        self.address = self.sock.getsockname()[:2]
        self.port: int = self.address[1]

    def send(self, data: bytes, to: Any) -> None:
        self.sock.sendto(data, to)

    async def heard(self) -> tuple[bytes, Any]:
        """The next datagram and who sent it."""
        return await asyncio.wait_for(
            asyncio.get_running_loop().run_in_executor(None, self._wait), PATIENCE + 1
        )

    def _wait(self) -> tuple[bytes, Any]:
        import select

        assert select.select([self.sock], [], [], PATIENCE)[0], "no datagram came"
        return self.sock.recvfrom(65536)

    def pending(self) -> list[bytes]:
        """What is there now."""
        found = []
        while True:
            try:
                found.append(self.sock.recv(65536))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self.sock.close()


class Echo(Udp):
    """A backend: answers each datagram with its name and the datagram, and remembers who asked."""

    def __init__(self, name: str, port: int = 0) -> None:
        super().__init__("127.0.0.1", port)
        self.name = name
        self.asked: list[tuple[bytes, Any]] = []
        self.mute = False
        asyncio.get_running_loop().add_reader(self.sock, self._answer)

    def _answer(self) -> None:
        try:
            data, peer = self.sock.recvfrom(65536)
        except OSError:
            return
        self.asked.append((data, peer))
        if not self.mute:
            self.sock.sendto(self.name.encode() + b" " + data, peer)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.sock)
        super().close()


class Holder:
    """Holds the VIP until told otherwise."""

    deadline = math.inf


class Bench:
    """A proxy before some backends."""

    def __init__(
        self, proxy: UdpProxy, vip: Udp, echoes: list[Echo], holder: Holder, table: FlowTable
    ) -> None:
        self.proxy = proxy
        self.vip = vip
        self.echoes = echoes
        self.holder = holder
        self.table = table
        self.clients: list[Udp] = []

    def client(self, host: str = "127.0.0.1") -> Udp:
        made = Udp(host)
        self.clients.append(made)
        return made

    async def ask(self, client: Udp, data: bytes = b"hello") -> bytes:
        """Send, and the answer, which must come from the VIP."""
        client.send(data, self.vip.address)
        answer, peer = await client.heard()
        assert peer[:2] == self.vip.address
        return answer

    def dropped(self, why: Drop) -> int:
        return self.proxy.counts.dropped[why]

    @property
    def backends(self) -> tuple[Backend, ...]:
        return self.proxy.forwarder.pool.backends


@asynccontextmanager
async def bench(
    count: int = 2,
    *,
    host: str = "127.0.0.1",
    backends: list[Backend] | None = None,
    algorithm: str = "round_robin",
    prefixes: tuple[int, int] | None = None,
    rtt: Callable[[str, str], float] | None = None,
    **spec: Any,
) -> AsyncIterator[Bench]:
    """Run it; `spec` are settings of the l4 entry."""
    loop = asyncio.get_running_loop()
    echoes = [Echo(f"echo-{number}") for number in range(1, count + 1)]
    members = backends or [Backend(each.name, "127.0.0.1", each.port, place="iad") for each in echoes]
    sweep = Sweep(loop)
    connector = Connector(loop, sweep, UpstreamSpec(), round_trip=rtt)
    vip, holder, table = Udp(host), Holder(), FlowTable(1000)
    l4 = L4Spec(protocol="udp", pool="echo", **spec)
    table.serve("echo", "udp", vip.address, l4.idle_timeout, prefixes)
    sweep.ticks.append(lambda instant: table.tick(instant) and None)
    proxy = UdpProxy(
        "echo", l4, Forwarder(Pool("echo", members, algorithm), connector), table,
        holder=holder, sweep=sweep, vip=vip.address, place_of=lambda host: "icn",
    )  # fmt: skip
    proxy.start_accepting(vip.sock)
    made = Bench(proxy, vip, echoes, holder, table)
    try:
        yield made
    finally:
        proxy.abort_all("the test ends")
        await until(lambda: proxy.count == 0, "all flows are closed")
        assert proxy.count == proxy.kept == proxy.delay.bytes == 0
        assert list(proxy.flows()) == []
        assert all(each.live == 0 for each in made.backends)
        assert not sweep.members
        sweep.stop()
        for each in (vip, *echoes, *made.clients):
            each.close()
        assert await tasks.cancel_all() == ()


async def test_answers_reach_the_client_that_asked() -> None:
    async with bench() as each:
        clients = [each.client() for _ in range(20)]
        answers = await asyncio.gather(*(each.ask(one, b"%d" % one.port) for one in clients))
        assert [answer.partition(b" ")[2] for answer in answers] == [b"%d" % one.port for one in clients]
        assert {answer.partition(b" ")[0] for answer in answers} == {b"echo-1", b"echo-2"}
        assert each.proxy.count == 20
        assert all(one.pending() == [] for one in clients)


async def test_a_flow_stays_with_its_backend_and_its_own_port() -> None:
    async with bench() as each:
        client = each.client()
        answers = {(await each.ask(client, b"%d" % number)).partition(b" ")[0] for number in range(5)}
        assert len(answers) == 1
        asked = [peer for echo in each.echoes for _, peer in echo.asked]
        assert len(set(asked)) == 1
        (row,) = each.table.rows(9, now())
        assert row.client == f"127.0.0.1:{client.port}"
        assert row.vip == f"127.0.0.1:{each.vip.port}"
        assert row.local == f"127.0.0.1:{asked[0][1]}"
        assert row.remote in {f"127.0.0.1:{echo.port}" for echo in each.echoes}
        assert (row.up, row.down) == (5, 5 * len(b"echo-1 0"))


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65507 - 7])
async def test_any_size_goes_through(size: int) -> None:
    async with bench() as each:
        data = random.Random(size).randbytes(size)
        assert (await each.ask(each.client(), data)).partition(b" ")[2] == data


async def test_an_idle_flow_ends_and_its_source_is_placed_anew() -> None:
    async with bench(idle_timeout=0.3) as each:
        client = each.client()
        first = await each.ask(client)
        await until(lambda: each.proxy.count == 0, "the flow ended")
        await until(
            lambda: len(each.table) == 0 or each.table.rows(9, now())[0].state == "closed", "its entry"
        )
        assert await each.ask(client) != first  # round robin has gone on
        assert len({peer for echo in each.echoes for _, peer in echo.asked}) == 2


async def test_what_goes_by_keeps_a_flow_alive() -> None:
    async with bench(idle_timeout=0.6) as each:
        client = each.client()
        begun = now()
        answers = set()
        while now() - begun < 1.2:
            answers.add(await each.ask(client))
            await asyncio.sleep(0.05)  # the time that goes by is what is tested
        assert len(answers) == 1
        assert each.table.opened == 1


@pytest.mark.parametrize(("prefixes", "same"), [(None, False), ((32, 64), True)])
async def test_source_affinity_keeps_a_clients_further_flows_together(
    prefixes: tuple[int, int] | None, same: bool
) -> None:
    async with bench(prefixes=prefixes) as each:
        answers = {await each.ask(each.client("127.0.0.9")) for _ in range(4)}
        assert (len(answers) == 1) is same


async def test_a_source_that_another_balancer_knew_reaches_the_same_backend() -> None:
    async with bench(algorithm="first") as each:
        client = each.client()
        other = FlowTable(10, to_wall=0.0)
        other.serve("echo", "udp", each.vip.address, 30.0)
        other.open(client.address, each.vip.address, ("127.0.0.1", 1), each.backends[1], "udp", now())
        for key, value, life in other.each(now()):
            each.table.learn(key, value, life, now())
        assert (await each.ask(client)).startswith(b"echo-2")
        assert (await each.ask(each.client())).startswith(b"echo-1")


@pytest.mark.parametrize("state", ["gone", "draining"])
async def test_an_entry_is_followed_while_its_backend_drains_and_not_when_it_is_gone(state: str) -> None:
    async with bench(algorithm="first") as each:
        client = each.client()
        handle = each.table.open(
            client.address, each.vip.address, ("127.0.0.1", 1), each.backends[1], "udp", now()
        )
        assert handle
        each.table.close(handle, now(), "lost")
        if state == "gone":
            each.backends[1].ejected_until = math.inf
        else:
            each.backends[1].draining = True
        each.proxy.forwarder.pool.usable_changed()
        assert (await each.ask(client)).startswith(b"echo-1" if state == "gone" else b"echo-2")


# -- bounds --------------------------------------------------------------------------------------------------------


async def test_flows_are_bounded_in_all_and_for_each_client() -> None:
    async with bench(max_flows=5, max_flows_per_client=3) as each:
        mine = [each.client() for _ in range(3)]
        for one in mine:
            await each.ask(one)
        each.client().send(b"a fourth", each.vip.address)
        await until(lambda: each.dropped(Drop.CLIENT_FLOWS) == 1, "the fourth is dropped")
        for number in (2, 3):
            await each.ask(each.client(f"127.0.0.{number}"))
        each.client("127.0.0.4").send(b"a sixth", each.vip.address)
        await until(lambda: each.dropped(Drop.FLOWS) == 1, "the sixth is dropped")
        for one in mine:
            await each.ask(one)  # those that were there go on
        assert each.proxy.count == 5


async def test_a_flood_of_sources_leaves_those_within_bounds_served() -> None:
    async with bench(max_flows=50) as each:
        known = each.client()
        await each.ask(known)
        rng = random.Random(1)
        flood = [each.client(f"127.{rng.randrange(1, 250)}.{rng.randrange(250)}.9") for _ in range(300)]
        for one in flood:
            one.send(b"flood", each.vip.address)
        await until(lambda: sum(each.proxy.counts.dropped.values()) >= 200, "most are dropped")
        assert await each.ask(known)
        assert each.proxy.count <= 50
        assert len(each.table) <= 50


async def test_a_full_table_refuses_a_flow() -> None:
    async with bench() as each:
        for port in range(1, 1001):
            each.table.open(
                ("10.0.0.1", port), each.vip.address, ("127.0.0.1", 1), each.backends[0], "udp", now()
            )
        each.client().send(b"one more", each.vip.address)
        await until(lambda: each.dropped(Drop.FLOWS) == 1, "it is refused")
        assert each.proxy.count == 0


# -- backends that are not there -----------------------------------------------------------------------------------


async def test_a_dead_backends_datagram_reaches_the_next() -> None:
    async with bench(1) as each:
        free = Udp()
        dead = Backend("dead", "127.0.0.1", free.port)
        free.close()
        alive = each.backends[0]
        pool = each.proxy.forwarder.pool = Pool("echo", [dead, alive], "first")
        assert (await each.ask(each.client(), b"first")) == b"echo-1 first"
        assert dead.failures == 1
        assert each.proxy.counts.moved == 1
        (row,) = each.table.rows(9, now())
        assert row.backend == "echo-1"
        assert pool.backend("dead").live == 0


async def test_a_backend_that_dies_within_a_flow_is_left_and_its_datagram_goes_to_the_next() -> None:
    async with bench(2) as each:
        client = each.client()
        name = (await each.ask(client)).partition(b" ")[0].decode()
        victim = next(echo for echo in each.echoes if echo.name == name)
        asyncio.get_running_loop().remove_reader(victim.sock)
        victim.sock.close()
        answer = await each.ask(client, b"again")
        assert answer.partition(b" ")[2] == b"again"
        assert not answer.startswith(name.encode())
        each.echoes.remove(victim)


async def test_without_any_backend_a_datagram_is_dropped_and_nothing_stays() -> None:
    free = Udp()
    dead = Backend("dead", "127.0.0.1", free.port)
    free.close()
    async with bench(0, backends=[dead]) as each:
        each.client().send(b"hello", each.vip.address)
        await until(lambda: each.dropped(Drop.NO_BACKEND) == 1, "it is dropped")
        assert each.proxy.count == 0
        dead.draining = True
        each.proxy.forwarder.pool.usable_changed()
        each.client().send(b"hello", each.vip.address)
        await until(lambda: each.dropped(Drop.NO_BACKEND) == 2, "it is dropped")


async def test_a_flow_leaves_a_backend_that_its_checks_call_down_and_not_one_that_drains() -> None:
    async with bench(2) as each:
        client = each.client()
        name = (await each.ask(client)).partition(b" ")[0].decode()
        backend = next(one for one in each.backends if one.name == name)
        backend.draining = True
        each.proxy.forwarder.pool.usable_changed()
        assert (await each.ask(client)).startswith(name.encode())
        backend.ejected_until = math.inf
        each.proxy.forwarder.pool.usable_changed()
        assert not (await each.ask(client)).startswith(name.encode())
        assert each.proxy.count == 1


async def test_in_a_panic_a_flow_stays_with_its_backend() -> None:
    async with bench(1) as each:
        client, pool = each.client(), each.proxy.forwarder.pool
        pool.panic_below = 0.5
        each.backends[0].ejected_until = math.inf
        pool.usable_changed()
        assert pool.panic
        for _ in range(3):
            assert await each.ask(client) == b"echo-1 hello"
        assert len({peer for _, peer in each.echoes[0].asked}) == 1
        assert each.dropped(Drop.NO_BACKEND) == 0


async def test_a_backend_may_have_a_name() -> None:
    async with bench(1) as each:
        backend = Backend("named", "localhost", each.echoes[0].port)
        each.proxy.forwarder.pool = Pool("echo", [backend])
        client = each.client()
        for number in range(20):
            client.send(b"%d" % number, each.vip.address)
        answers = {(await client.heard())[0] for _ in range(8)}
        assert b"echo-1 0" in answers
        await until(lambda: backend.live == 1, "it is connected")


async def test_a_name_that_means_nothing_is_passed_over() -> None:
    async with bench(1) as each:
        unknown = Backend("unknown", "nobody.invalid", 9)
        each.proxy.forwarder.pool = Pool("echo", [unknown, each.backends[0]], "first")
        assert await each.ask(each.client(), b"x") == b"echo-1 x"


async def test_what_waits_for_a_name_is_bounded_and_goes_on_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    import lb.udp_flow

    async with bench(1) as each:
        echo, answer = each.echoes[0], asyncio.get_running_loop().create_future()
        each.proxy.forwarder.pool = Pool("echo", [Backend("slow", "slow.invalid", echo.port)])
        resolver: Any = each.proxy.forwarder.connector.resolver
        each.proxy.forwarder.connector.resolver = resolver_of(answer)
        client, other = each.client(), each.client()
        for number in range(10):
            client.send(b"%d" % number, each.vip.address)
        await until(lambda: each.dropped(Drop.QUEUE) == 2, "two of ten are too many")
        monkeypatch.setattr(lb.udp_flow, "KEPT_MAX", 100)
        other.send(bytes(200), each.vip.address)
        await until(lambda: each.dropped(Drop.QUEUE) == 3, "more bytes than may wait in all")
        assert each.proxy.kept == 8
        answer.set_result([(socket.AF_INET, ("127.0.0.1", echo.port))])
        assert [(await client.heard())[0] for _ in range(8)] == [b"echo-1 %d" % number for number in range(8)]
        each.proxy.forwarder.connector.resolver = resolver


def resolver_of(answer: asyncio.Future[Any]) -> Any:
    """A resolver whose answer comes when the test wants it."""

    class Resolver:
        async def addresses(self, host: str, port: int) -> Any:
            return await asyncio.shield(answer)

    return Resolver()


# -- strangers and bad input ---------------------------------------------------------------------------------------


async def test_what_a_stranger_sends_to_a_flows_socket_does_not_reach_the_client() -> None:
    async with bench(1) as each:
        client, stranger = each.client(), each.client()
        await each.ask(client)
        (_, peer) = each.echoes[0].asked[0]
        for _ in range(5):
            stranger.send(b"spoofed", peer)
        assert await each.ask(client, b"after") == b"echo-1 after"
        assert client.pending() == []
        assert each.proxy.counts.down == 2


async def test_what_comes_in_before_connect_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger who is quick enough to hit the moment between bind and connect: here it is always quick enough."""
    import lb.udp_socket

    stranger = Udp()

    class Hit(socket.socket):
        def connect(self, address: Any) -> None:
            if self.getsockname()[1] == 0:
                self.bind(("127.0.0.1", 0))
            for _ in range(3):
                stranger.send(b"spoofed", self.getsockname())
            super().connect(address)

    async with bench(1) as each:
        client = each.client()
        monkeypatch.setattr(lb.udp_socket.socket, "socket", Hit)
        client.send(b"hello", each.vip.address)
        answer, _ = await client.heard()
        monkeypatch.undo()
        assert answer == b"echo-1 hello"
        assert each.dropped(Drop.STRANGER) == 3
        assert client.pending() == []
    stranger.close()


async def test_a_source_that_answers_itself_begins_no_endless_talk() -> None:
    """Anybody may write the VIP or a backend as the source of a datagram: each answer would be the next question."""
    async with bench(1) as each:
        each.vip.sock.sendto(b"to myself", each.vip.address)
        await until(lambda: each.dropped(Drop.LOOP) == 1, "the VIP's own is dropped")
        each.echoes[0].sock.sendto(b"from a backend", each.vip.address)
        await until(lambda: each.dropped(Drop.LOOP) == 2, "a backend's is dropped")
        assert await each.ask(each.client(), b"x") == b"echo-1 x"
        assert (each.proxy.count, len(each.echoes[0].asked)) == (1, 1)


async def test_random_bytes_are_passed_on_as_they_are() -> None:
    async with bench(1) as each:
        rng = random.Random(3)
        client = each.client()
        for _ in range(100):
            data = rng.randbytes(rng.randrange(0, 1400))
            assert await each.ask(client, data) == b"echo-1 " + data


# -- who holds the VIP ---------------------------------------------------------------------------------------------


async def test_past_its_deadline_a_balancer_neither_reads_nor_answers() -> None:
    async with bench(1) as each:
        client, echo = each.client(), each.echoes[0]
        await each.ask(client)
        echo.mute = True
        client.send(b"asked in time", each.vip.address)
        await until(lambda: len(echo.asked) == 2, "it was relayed")
        each.holder.deadline = now() - 0.001
        echo.sock.sendto(b"too late", echo.asked[1][1])
        client.send(b"for the successor", each.vip.address)
        await until(lambda: each.dropped(Drop.NOT_HOLDER) == 1, "the answer was dropped")
        await until(lambda: not each.proxy._reading, "it has stopped reading")
        assert each.vip.pending() == [b"for the successor"]
        assert client.pending() == []


async def test_what_was_under_way_when_the_time_ended_does_not_arrive() -> None:
    async with bench(1, rtt=lambda a, b: 0.1) as each:
        client, echo = each.client(), each.echoes[0]
        await each.ask(client)
        client.send(b"too late", each.vip.address)
        await until(lambda: each.proxy.delay.bytes > 0, "it is under way")
        each.holder.deadline = now() - 0.001
        await until(lambda: each.dropped(Drop.NOT_HOLDER) == 1, "it is dropped")
        assert len(echo.asked) == 1


async def test_two_balancers_share_the_socket_and_the_queue_waits_for_the_successor() -> None:
    async with bench(1) as first, bench(1) as second:
        second.proxy.stop_accepting()
        client = first.client()
        await first.ask(client)
        first.proxy.abort_all("lost the VIP")
        client.send(b"waits", first.vip.address)
        assert (first.proxy.count, first.table.rows(9, now())[0].state) == (0, "replica")
        with first.vip.sock.dup() as same:
            second.proxy.start_accepting(same)
            answer, peer = await client.heard()
            second.proxy.abort_all("the test ends")
        assert (answer, peer) == (b"echo-1 waits", first.vip.address)


async def test_many_flows_are_left_a_few_at_a_time_and_their_entries_stay() -> None:
    async with bench(1) as each:
        clients = [each.client() for _ in range(250)]
        for one in clients:
            await each.ask(one)
        each.proxy.abort_all("lost the VIP")
        assert 0 < each.proxy.count < 250
        await until(lambda: each.proxy.count == 0, "all are closed")
        assert {row.state for row in each.table.rows(999, now())} == {"replica"}


async def test_a_flow_that_ran_out_while_its_balancer_was_frozen_is_not_told_to_be_over() -> None:
    class Told:
        """Who tells other balancers."""

        removed = 0

        def put(self, key: bytes, value: bytes, life: float) -> None: ...

        def remove(self, key: bytes) -> None:
            self.removed += 1

    async with bench(1, idle_timeout=0.3) as each:
        told = each.table.publisher = Told()
        await each.ask(each.client())
        each.holder.deadline = now()  # it thaws, and its lease was over long ago
        await until(lambda: each.proxy.count == 0, "the sweep found it")
        assert told.removed == 0
        each.holder.deadline = math.inf
        each.proxy.start_accepting(each.vip.sock)
        await each.ask(each.client())
        await until(lambda: each.proxy.count == 0, "the sweep found it")
        assert told.removed == 1


async def test_a_drain_lets_the_answer_that_is_due_come_through() -> None:
    async with bench(1) as each:
        echo, client = each.echoes[0], each.client()
        echo.mute = True
        client.send(b"asked", each.vip.address)
        await until(lambda: echo.asked, "it was relayed")
        draining = asyncio.ensure_future(each.proxy.drain(now() + 5))
        await asyncio.sleep(0)
        echo.sock.sendto(b"answer", echo.asked[0][1])
        assert (await client.heard())[0] == b"answer"
        await asyncio.wait_for(draining, PATIENCE)
        assert each.proxy.count == 0
        assert [row.state for row in each.table.rows(9, now())] == ["replica"]


# -- wildcard addresses, distance, the machine's limits ---------------------------------------------------------------


@pytest.mark.parametrize(("host", "asked"), [("0.0.0.0", ("127.0.0.1", "127.9.9.9")), ("::", ("::1",))])
async def test_under_a_wildcard_answers_come_from_the_address_that_was_asked(
    host: str, asked: tuple[str, ...]
) -> None:
    async with bench(1, host=host) as each:
        client = each.client("::1" if ":" in host else "127.0.0.1")
        for address in asked:
            client.send(address.encode(), (address, each.vip.port))
            answer, peer = await client.heard()
            assert (answer, peer[0]) == (b"echo-1 " + address.encode(), address)
        assert each.proxy.count == len(asked)


async def test_distance_is_felt_and_what_is_under_way_is_bounded() -> None:
    async with bench(1, rtt=lambda a, b: 0.12 if (a, b) == ("icn", "iad") else 9.0) as each:
        client = each.client()
        await each.ask(client, b"first")
        begun = now()
        assert await each.ask(client, b"second") == b"echo-1 second"
        assert 0.11 <= now() - begun < 2.0
        for number in range(400):
            client.send(bytes(1400), each.vip.address)
            if number % 20 == 0:  # a receive buffer holds some ninety of them
                await asyncio.sleep(0)
        await until(lambda: each.dropped(Drop.QUEUE) > 0, "what exceeds the window is dropped")
        assert each.proxy.delay.bytes <= 262_144


@contextmanager
def few_descriptors() -> Iterator[None]:
    """No descriptor is left."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        assert highest > 1
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_a_descriptor_a_flow_is_refused_and_others_go_on() -> None:
    async with bench(1) as each:
        known, new = each.client(), each.client()
        await each.ask(known)
        with few_descriptors():
            new.send(b"x", each.vip.address)
            await until(lambda: each.dropped(Drop.NO_SOCKET) == 1, "it is refused")
            known.send(b"y", each.vip.address)
            await until(lambda: len(each.echoes[0].asked) == 2, "the other flow goes on")
        assert each.backends[0].failures == 0
        assert await each.ask(new, b"x") == b"echo-1 x"


async def test_what_is_counted() -> None:
    async with bench(1) as each:
        await each.ask(each.client(), b"12345")
        said = {
            (sample.name, tuple(value for _, value in sample.labels)): sample.value
            for family in udp_families([each.proxy])
            for sample in family.samples
        }
        assert said["cdnlab_lb_udp_datagrams_total", ("echo", "up")] == 1
        assert said["cdnlab_lb_udp_bytes_total", ("echo", "up")] == 5
        assert said["cdnlab_lb_udp_bytes_total", ("echo", "down")] == 12
        assert said["cdnlab_lb_udp_flows", ("echo",)] == 1
        assert each.proxy.status()["flows"] == 1
